//! The events of a stream, out of bytes that were cut anywhere.

use super::Broken;

/// A longer event is not waited for, in bytes.
const LONGEST: usize = 16 << 20;

/// What stands in a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// An event: its name, and its data.
    Event(&'a [u8], &'a [u8]),
    /// A comment: somebody is alive.
    Comment,
}

/// Cuts a stream into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
}

impl Events {
    /// Takes the next bytes, and hands out what is complete.
    ///
    /// # Errors
    /// As `see` fails, or an event is too long.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut see: impl FnMut(Seen<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        loop {
            bytes = self.pass_whole(bytes, &mut see)?;
            let Some(at) = memchr::memchr2(b'\n', b'\r', bytes) else { break };
            let (line, rest) = bytes.split_at_checked(at).unwrap_or_default();
            self.line.extend_from_slice(line);
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
                [] => rest,
            };
            self.after_cr = rest == b"\r";
            self.end_line(&mut see)?;
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() + self.data.len() > LONGEST { Err(Broken::new("an event is too long")) } else { Ok(()) }
    }

    /// Hands out the events that are there in one piece and one line, as nearly all are, without a copy; returns what
    /// follows them.
    fn pass_whole<'a>(
        &self,
        mut bytes: &'a [u8],
        see: &mut impl FnMut(Seen<'_>) -> Result<(), Broken>,
    ) -> Result<&'a [u8], Broken> {
        if !self.line.is_empty() || !self.name.is_empty() || self.has_data || self.after_cr {
            return Ok(bytes);
        }
        while let Some(from_data) = bytes.strip_prefix(b"data: ")
            && let Some((data, end)) =
                memchr::memchr2(b'\n', b'\r', from_data).and_then(|at| from_data.split_at_checked(at))
            && let Some(rest) = end.strip_prefix(b"\n\n")
        {
            see(Seen::Event(b"", data))?;
            bytes = rest;
        }
        Ok(bytes)
    }

    fn end_line(&mut self, see: &mut impl FnMut(Seen<'_>) -> Result<(), Broken>) -> Result<(), Broken> {
        let line = std::mem::take(&mut self.line);
        let seen = self.read_line(&line, see);
        // The room is used again.
        self.line = line;
        self.line.clear();
        seen
    }

    fn read_line(&mut self, line: &[u8], see: &mut impl FnMut(Seen<'_>) -> Result<(), Broken>) -> Result<(), Broken> {
        if line.is_empty() {
            let seen = if self.has_data { see(Seen::Event(&self.name, &self.data)) } else { Ok(()) };
            self.name.clear();
            self.data.clear();
            self.has_data = false;
            return seen;
        }
        let (field, value) = match memchr::memchr(b':', line).and_then(|at| line.split_at_checked(at)) {
            Some((field, value)) => (field, value.strip_prefix(b":").unwrap_or(value)),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"" => return see(Seen::Comment),
            b"event" => self.name = value.to_vec(),
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives up what is not complete.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is kept of events that are not complete, in bytes.
    pub fn kept(&self) -> usize {
        self.line.len() + self.data.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(stream: &str, step: usize) -> Vec<String> {
        let (mut events, mut all) = (Events::default(), Vec::new());
        for piece in stream.as_bytes().chunks(step) {
            let read = events.push(piece, |seen| {
                all.push(match seen {
                    Seen::Comment => "comment".to_owned(),
                    Seen::Event(name, data) => {
                        format!("{}|{}", String::from_utf8_lossy(name), String::from_utf8_lossy(data))
                    }
                });
                Ok(())
            });
            assert_eq!(read, Ok(()));
        }
        all
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let stream = "\n: hi\ndata: a\n\nevent: e\r\ndata:b\r\ndata: c\r\n\r\nid: 1\rdata\r\rdata: d\n\ndata: f\n\nevent: x\ndata: g\n\ndata: \n\ndata: h\rdata: cut";
        let expected = ["comment", "|a", "e|b\nc", "|", "|d", "|f", "x|g", "|"];
        for step in 1..=stream.len() {
            assert_eq!(seen(stream, step), expected, "{step}");
        }
    }
}
