//! Content codings undone: gzip, deflate, br and zstd, as their bytes come, within a bound.

use std::io::Write;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use zstd::Frames;

/// A content coding that can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952, of one member or several.
    Gzip,
    /// zlib's format, or what some send for it: bare deflate.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with the window that RFC 9659 allows.
    Zstd,
}

/// For an `Accept-Encoding` that says what can be undone.
pub const ACCEPTED: &str = "gzip, deflate, br, zstd";
/// More codings on top of each other are nobody's.
const MOST_CODINGS: usize = 3;
/// What is compressed already hardly becomes smaller: so much, and twice what comes, may be made of it. Else a few
/// bytes could be hours of work that makes nothing in the end.
const SLACK: usize = 64 << 10;
/// More members of gzip or frames of zstd are too many: each is work, however little is in it.
const MOST_MEMBERS: usize = 8_192;
/// How much is inflated at a time.
const STEP: usize = 16 << 10;

impl Coding {
    /// The codings that the values of `Content-Encoding` headers name, in the order in which they were applied. A
    /// charset, which some put there, is none.
    ///
    /// # Errors
    /// The name of one that is not known, or all of them where they are too many.
    pub fn all_of(header: &str) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for name in header.split(',').map(str::trim) {
            match name.to_ascii_lowercase().as_str() {
                "" | "identity" | "utf-8" | "utf8" => {}
                "gzip" | "x-gzip" => all.push(Self::Gzip),
                "deflate" => all.push(Self::Deflate),
                "br" => all.push(Self::Brotli),
                "zstd" => all.push(Self::Zstd),
                _ => return Err(name.to_owned()),
            }
        }
        if all.len() > MOST_CODINGS { Err(header.to_owned()) } else { Ok(all) }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// Why bytes cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError<E> {
    /// They are not what the coding says, or end too early.
    #[error("not valid {0}")]
    Corrupt(&'static str),
    /// More than the bound comes out of them.
    #[error("too many bytes once inflated")]
    TooLarge,
    /// Who takes them takes no more.
    #[error("no room for the bytes inflated")]
    Taker(E),
}

/// Undoes codings. At most its bound comes out of each, so nothing that it is given costs more memory or time.
pub struct Inflater {
    /// The last coding applied comes first.
    stages: Vec<Stage>,
}

struct Stage {
    coding: Coding,
    decoder: Decoder,
    room: usize,
    /// What it makes is compressed too.
    is_inner: bool,
}

enum Decoder {
    Gzip { member: Box<GzDecoder<Vec<u8>>>, members: usize },
    Deflate { inflate: Option<Decompress>, first: Vec<u8>, ended: bool },
    Brotli { state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>, ended: bool },
    Zstd(Box<Frames>),
}

/// The bytes are no such format.
struct Corrupt;

/// Why a decoder stopped, before anybody says which it was.
enum Stopped<E> {
    Corrupt,
    Taker(InflateError<E>),
}

impl<E> Stopped<E> {
    fn named(self, name: &'static str) -> InflateError<E> {
        match self {
            Self::Corrupt => InflateError::Corrupt(name),
            Self::Taker(e) => e,
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.stages.iter().map(|stage| stage.coding)).finish()
    }
}

impl Inflater {
    /// Undoes `codings`, given in the order in which they were applied. `most` is the bound in bytes.
    pub fn new(codings: &[Coding], most: usize) -> Self {
        let stage = |(place, coding): (usize, &Coding)| {
            let is_inner = place > 0;
            let room = if is_inner { SLACK.min(most) } else { most };
            Stage { coding: *coding, decoder: Decoder::new(*coding), room, is_inner }
        };
        Self { stages: codings.iter().enumerate().rev().map(stage).collect() }
    }

    /// Inflates the next bytes, and hands what comes out to `take`, in pieces.
    ///
    /// # Errors
    /// [`InflateError`]; then nothing more can be inflated.
    pub fn push<E>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), InflateError<E>> {
        push(&mut self.stages, bytes, false, &mut |out| take(out).map_err(InflateError::Taker))
    }

    /// After the last bytes: hands out what is left.
    ///
    /// # Errors
    /// As [`Self::push`]; the bytes ended too early.
    pub fn finish<E>(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), InflateError<E>> {
        push(&mut self.stages, &[], true, &mut |out| take(out).map_err(InflateError::Taker))
    }
}

type Take<'a, E> = &'a mut dyn FnMut(&[u8]) -> Result<(), InflateError<E>>;

fn push<E>(stages: &mut [Stage], bytes: &[u8], is_end: bool, take: Take<'_, E>) -> Result<(), InflateError<E>> {
    let Some((stage, rest)) = stages.split_first_mut() else {
        return if bytes.is_empty() { Ok(()) } else { take(bytes) };
    };
    let Stage { coding, decoder, room, is_inner } = stage;
    if *is_inner {
        *room = room.saturating_add(bytes.len().saturating_mul(2));
    }
    let mut on = |out: &[u8]| {
        *room = room.checked_sub(out.len()).ok_or(InflateError::TooLarge)?;
        push(rest, out, false, take)
    };
    let name = coding.name();
    decoder.feed(bytes, name, &mut on)?;
    if is_end {
        decoder.end(name, &mut on)?;
        push(rest, &[], true, take)?;
    }
    Ok(())
}

impl Decoder {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip { member: Box::new(GzDecoder::new(Vec::new())), members: 1 },
            Coding::Deflate => Self::Deflate { inflate: None, first: Vec::new(), ended: false },
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Self::Brotli { state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())), ended: false }
            }
            Coding::Zstd => Self::Zstd(Box::new(Frames::new())),
        }
    }

    fn feed<E>(&mut self, mut bytes: &[u8], name: &'static str, take: Take<'_, E>) -> Result<(), InflateError<E>> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self {
            Self::Gzip { member, members } => {
                let corrupt = |_| InflateError::Corrupt(name);
                while !bytes.is_empty() {
                    let read = member.write(bytes).map_err(corrupt)?;
                    bytes = bytes.get(read..).unwrap_or_default();
                    take_from(member, take)?;
                    if read == 0 {
                        // The next one begins.
                        member.try_finish().map_err(corrupt)?;
                        take_from(member, take)?;
                        **member = GzDecoder::new(Vec::new());
                        *members += 1;
                        if *members > MOST_MEMBERS {
                            return Err(InflateError::TooLarge);
                        }
                    }
                }
                Ok(())
            }
            Self::Deflate { inflate: Some(inflate), ended, .. } => {
                in_steps(bytes, ended, name, take, |bytes, out| deflate_step(inflate, bytes, out))
            }
            // Two bytes tell whether it is zlib's format.
            Self::Deflate { inflate, first, ended } => {
                first.extend_from_slice(bytes);
                let [one, two, ..] = first.as_slice() else { return Ok(()) };
                let is_zlib = one & 15 == 8 && (u32::from(*one) << 8 | u32::from(*two)) % 31 == 0;
                let inflate = inflate.insert(Decompress::new(is_zlib));
                let first = std::mem::take(first);
                in_steps(&first, ended, name, take, |bytes, out| deflate_step(inflate, bytes, out))
            }
            Self::Brotli { state, ended } => {
                in_steps(bytes, ended, name, take, |bytes, out| brotli_step(state, bytes, out))
            }
            // A step takes whole blocks, so what waits for its rest stays short.
            Self::Zstd(frames) => {
                for piece in bytes.chunks(STEP) {
                    frames.feed(piece, false, &mut |out| take(out)).map_err(|e| e.named(name))?;
                }
                Ok(())
            }
        }
    }

    fn end<E>(&mut self, name: &'static str, take: Take<'_, E>) -> Result<(), InflateError<E>> {
        let ended = match self {
            Self::Gzip { member, .. } => {
                let finished = member.try_finish().is_ok();
                take_from(member, take)?;
                finished
            }
            Self::Zstd(frames) => return frames.feed(&[], true, &mut |out| take(out)).map_err(|e| e.named(name)),
            Self::Deflate { ended, .. } | Self::Brotli { ended, .. } => *ended,
        };
        if ended { Ok(()) } else { Err(InflateError::Corrupt(name)) }
    }
}

fn take_from<E>(decoder: &mut GzDecoder<Vec<u8>>, take: Take<'_, E>) -> Result<(), InflateError<E>> {
    let out = decoder.get_mut();
    if !out.is_empty() {
        take(out)?;
        out.clear();
    }
    Ok(())
}

/// What one step of a decoder did.
struct Step {
    read: usize,
    made: usize,
    /// Nothing may follow.
    ended: bool,
}

/// Runs a decoder until it has read all bytes and has no more to give.
fn in_steps<E>(
    mut bytes: &[u8],
    ended: &mut bool,
    name: &'static str,
    take: Take<'_, E>,
    mut step: impl FnMut(&[u8], &mut [u8]) -> Result<Step, Corrupt>,
) -> Result<(), InflateError<E>> {
    let mut out = vec![0; STEP];
    loop {
        if *ended {
            return if bytes.is_empty() { Ok(()) } else { Err(InflateError::Corrupt(name)) };
        }
        let done = step(bytes, &mut out).map_err(|Corrupt| InflateError::Corrupt(name))?;
        *ended = done.ended;
        bytes = bytes.get(done.read..).unwrap_or_default();
        let made = out.get(..done.made).unwrap_or_default();
        if !made.is_empty() {
            take(made)?;
        }
        if bytes.is_empty() && done.made < out.len() {
            return Ok(());
        }
        if done.read == 0 && done.made == 0 && !done.ended {
            return Err(InflateError::Corrupt(name));
        }
    }
}

fn deflate_step(inflate: &mut Decompress, bytes: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
    let before = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(bytes, out, FlushDecompress::None).map_err(|_| Corrupt)?;
    let size = |after: u64, before: u64| usize::try_from(after - before).map_err(|_| Corrupt);
    let (read, made) = (size(inflate.total_in(), before.0)?, size(inflate.total_out(), before.1)?);
    Ok(Step { read, made, ended: status == Status::StreamEnd })
}

fn brotli_step(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    bytes: &[u8],
    out: &mut [u8],
) -> Result<Step, Corrupt> {
    let (mut left, mut read, mut room, mut made, mut total) = (bytes.len(), 0, out.len(), 0, 0);
    let result = BrotliDecompressStream(&mut left, &mut read, bytes, &mut room, &mut made, out, &mut total, state);
    match result {
        BrotliResult::ResultFailure => Err(Corrupt),
        BrotliResult::ResultSuccess => Ok(Step { read, made, ended: true }),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok(Step { read, made, ended: false }),
    }
}

mod zstd;
#[cfg(test)]
mod tests;
