//! What comes out of a coding, whole or in pieces, honest or not.

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::*;

const TEXT: &str =
    r#"{"model":"m","messages":[{"role":"user","content":"Why is the sky blue? Why is the sea blue?"}]}"#;
/// [`TEXT`], and a mebibyte of zeros: there is no encoder here.
const BROTLI: &str = "1b5f00702c8e77186e6623a88808ef67ca2ed52220797bbb0c6d6d4e5f75b5f529169d16f9d90aeb941309d8b2b6246c9ef8490f0e39d2\
                      b830f9528c975601ac3b54aa0cf311aeab21b766a7043c76";
/// [`TEXT`] by the zstd command, with a checksum.
const ZSTD: &str = "28b52ffd04586d0200e2841016905907cc25356e37fc88830fb0f6ef48a7c4a4bb57087188364fe00e11f992cd9f968be43b81d54dbda9\
                    55b8987d9dd5478b190aeafd61769f5c9cac463756320c0200604004b9790652cc8abf";
const BROTLI_ZEROS: &str = "5bffff8f7f02201e0b0472ef1f00";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()).collect()
}

fn written(mut encoder: impl Write, bytes: &[u8]) {
    assert!(encoder.write_all(bytes).is_ok() && encoder.flush().is_ok());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    written(GzEncoder::new(&mut out, Compression::default()), bytes);
    out
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    written(ZlibEncoder::new(&mut out, Compression::default()), bytes);
    out
}

fn bare(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    written(DeflateEncoder::new(&mut out, Compression::default()), bytes);
    out
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Inflates `bytes` in pieces of `piece` bytes, to `most` at the most.
fn inflate(codings: &[Coding], bytes: &[u8], piece: usize, most: usize) -> Result<Vec<u8>, InflateError<()>> {
    let (mut inflater, mut all) = (Inflater::new(codings, most), Vec::new());
    let mut take = |out: &[u8]| {
        all.extend_from_slice(out);
        Ok(())
    };
    for piece in bytes.chunks(piece) {
        inflater.push(piece, &mut take)?;
    }
    inflater.finish(&mut take)?;
    Ok(all)
}

fn samples() -> Vec<(Coding, Vec<u8>)> {
    let text = TEXT.as_bytes();
    vec![
        (Coding::Gzip, gzip(text)),
        (Coding::Deflate, zlib(text)),
        (Coding::Deflate, bare(text)),
        (Coding::Brotli, unhex(BROTLI)),
        (Coding::Zstd, zstd(text)),
        (Coding::Zstd, unhex(ZSTD)),
    ]
}

#[test]
fn each_coding_is_undone_in_pieces_of_any_size() {
    for (coding, bytes) in samples() {
        for piece in [1, 2, 7, bytes.len()] {
            let out = inflate(&[coding], &bytes, piece, TEXT.len());
            assert_eq!(out.as_deref(), Ok(TEXT.as_bytes()), "{coding:?} by {piece}");
        }
    }
    // Members and frames one after another, and more than one step at once.
    let long = TEXT.repeat(10_000);
    let (gzipped, zstd_frames) =
        ([gzip(long.as_bytes()), gzip(b"!")].concat(), [zstd(long.as_bytes()), zstd(b"!")].concat());
    let whole = format!("{long}!").into_bytes();
    assert!(inflate(&[Coding::Gzip], &gzipped, 1_000, whole.len()) == Ok(whole.clone()));
    assert!(inflate(&[Coding::Zstd], &zstd_frames, 1_000, whole.len()) == Ok(whole));
    let exact = vec![7; STEP];
    for (coding, bytes) in [(Coding::Gzip, gzip(&exact)), (Coding::Zstd, zstd(&exact)), (Coding::Deflate, bare(&exact))]
    {
        assert!(inflate(&[coding], &bytes, 1_000, STEP).as_ref() == Ok(&exact), "{coding:?}");
    }
}

#[test]
fn codings_lie_on_top_of_each_other() {
    let twice = zstd(&gzip(TEXT.as_bytes()));
    let codings = Coding::all_of("gzip, zstd").unwrap();
    assert_eq!(inflate(&codings, &twice, 5, 1_000).as_deref(), Ok(TEXT.as_bytes()));
    let rows: [(&str, Result<&[Coding], &str>); 9] = [
        ("", Ok(&[])),
        ("identity", Ok(&[])),
        ("UTF-8", Ok(&[])),
        ("GZIP", Ok(&[Coding::Gzip])),
        ("x-gzip,identity, br", Ok(&[Coding::Gzip, Coding::Brotli])),
        ("deflate,zstd,", Ok(&[Coding::Deflate, Coding::Zstd])),
        ("gzip, compress", Err("compress")),
        ("aws-chunked", Err("aws-chunked")),
        ("br,br,br,br", Err("br,br,br,br")),
    ];
    for (header, expected) in rows {
        assert_eq!(Coding::all_of(header).as_deref(), expected.map_err(str::to_owned).as_ref().copied(), "{header}");
    }
}

#[test]
fn what_is_cut_or_wrong_or_followed_by_more_is_corrupt() {
    for (coding, bytes) in samples() {
        let corrupt = Err(InflateError::Corrupt(coding.name()));
        for cut in 0..bytes.len() {
            assert_eq!(inflate(&[coding], &bytes[..cut], 64, 1_000), corrupt, "{coding:?} cut at {cut}");
        }
        let more = [&bytes[..], b"more of it"].concat();
        assert_eq!(inflate(&[coding], &more, more.len(), 1_000), corrupt, "{coding:?} and more");
        assert_eq!(inflate(&[coding], TEXT.as_bytes(), 1_000, 1_000), corrupt, "plain text as {coding:?}");
    }
    // A window of 128 MiB is not allocated.
    let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 1, 0, 0];
    assert_eq!(inflate(&[Coding::Zstd], &wide, 100, 1_000), Err(InflateError::Corrupt("zstd")));
}

#[test]
fn a_bomb_ends_at_the_bound_in_every_stage() {
    let zeros = vec![0; 1 << 20];
    let bombs = [
        (Coding::Gzip, gzip(&zeros)),
        (Coding::Deflate, zlib(&zeros)),
        (Coding::Brotli, unhex(BROTLI_ZEROS)),
        (Coding::Zstd, zstd(&zeros)),
    ];
    for (coding, bytes) in bombs {
        let most = 100_000;
        let (mut inflater, mut made) = (Inflater::new(&[coding], most), 0);
        let pushed = inflater.push(&bytes, |out| {
            made += out.len();
            Ok::<_, ()>(())
        });
        assert_eq!(pushed, Err(InflateError::TooLarge), "{coding:?}");
        assert!(made <= most, "{coding:?} {made}");
        assert_eq!(inflate(&[coding], &bytes, 1_000, zeros.len()).map(|out| out.len()), Ok(zeros.len()), "{coding:?}");
    }
    // Many empty members: nothing comes out in the end, but much in between.
    let empty = gzip(&gzip(b"").repeat(100_000));
    assert_eq!(inflate(&[Coding::Gzip, Coding::Gzip], &empty, 1_000, 100_000), Err(InflateError::TooLarge));
    let mut inflater = Inflater::new(&[Coding::Gzip], 1_000);
    let refused = inflater.push(&gzip(b"text"), |_| Err(7)).and_then(|()| inflater.finish(|_| Err(7)));
    assert_eq!(refused, Err(InflateError::Taker(7)));
}

#[test]
fn nothing_that_comes_makes_a_decoder_panic() {
    // A small generator is enough: every run tries the same bytes.
    let mut state = 0x9e37_79b9_u32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    for (coding, bytes) in samples() {
        for round in 0..2_000 {
            let mut bytes = bytes.clone();
            for _ in 0..=round % 4 {
                let at = random() as usize % bytes.len();
                bytes[at] = random().to_le_bytes()[0];
            }
            drop(inflate(&[coding], &bytes, 1 + random() as usize % 100, 10_000));
        }
    }
}

#[test]
fn what_makes_much_work_of_little_is_refused() {
    use Coding::{Deflate, Gzip, Zstd};
    // Members and frames with nothing in them.
    let (member, frame) = (gzip(b""), zstd(b""));
    for (coding, one) in [(Gzip, &member), (Zstd, &frame)] {
        assert_eq!(inflate(&[coding], &one.repeat(MOST_MEMBERS), 4_096, 10), Ok(Vec::new()), "{coding:?}");
        assert_eq!(inflate(&[coding], &one.repeat(MOST_MEMBERS + 1), 4_096, 10), Err(InflateError::TooLarge));
    }
    // What would be inflated is large, and nothing comes out of it in the end.
    let empty_blocks = [b"\0\0\0\xff\xff".repeat(1 << 20), vec![3, 0]].concat();
    assert_eq!(inflate(&[Deflate], &empty_blocks, 4_096, 10), Ok(Vec::new()));
    assert_eq!(inflate(&[Deflate, Deflate], &bare(&empty_blocks), 4_096, 64 << 20), Err(InflateError::TooLarge));
    assert_eq!(inflate(&[Deflate, Gzip], &gzip(&empty_blocks), 4_096, 64 << 20), Err(InflateError::TooLarge));
    // What somebody compressed twice in earnest passes, however well it can be compressed.
    let long = TEXT.repeat(100_000);
    let twice = inflate(&[Gzip, Zstd], &zstd(&gzip(long.as_bytes())), 4_096, 64 << 20);
    assert!(twice.is_ok_and(|text| text == long.as_bytes()));
}
