//! The one text that a custom tool takes, out of the arguments of the function that stands for it.

use crate::dialect::translate::raw::{decoded, escaped};

/// What has not begun as it should by then has another form, in bytes.
const LONGEST_START: usize = 200;

/// Reads `{"input":"…"}` as it comes. What has another form is the text itself, written at the end.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// What came and was not read: all of it until the text begins, and the start of an escape.
    pending: String,
    stage: Stage,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Inside,
    Behind,
    /// They have another form.
    Plain,
}

impl Input {
    /// The next piece of the arguments, and the text in it, both as they are written between quotes.
    pub fn read(&mut self, piece: &str) -> String {
        let text = decoded(piece).unwrap_or_default();
        self.pending.push_str(&text);
        if self.stage == Stage::Before {
            if let Some(start) = start(&self.pending) {
                self.pending.drain(..start);
                self.stage = Stage::Inside;
            } else if self.pending.len() > LONGEST_START {
                self.stage = Stage::Plain;
            }
        }
        match self.stage {
            Stage::Inside => self.inside(),
            Stage::Plain => escaped(&std::mem::take(&mut self.pending)),
            Stage::Before => String::new(),
            Stage::Behind => {
                self.pending.clear();
                String::new()
            }
        }
    }

    /// Reads on in the text, which is a JSON string itself: up to its quote, or as far as escapes are whole.
    fn inside(&mut self) -> String {
        let (mut end, mut bytes) = (0, self.pending.bytes().enumerate());
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.stage = Stage::Behind;
                    end = at;
                    break;
                }
                b'\\' => {
                    let Some((_, kind)) = bytes.next() else { break };
                    let more = usize::from(kind == b'u') * self.unicode(at);
                    if at + 1 + more >= self.pending.len() {
                        break;
                    }
                    (0..more).for_each(|_| {
                        bytes.next();
                    });
                    end = at + 2 + more;
                }
                _ => end = at + 1,
            }
        }
        let text = self.pending.get(..end).and_then(decoded).map(|text| escaped(&text));
        match text {
            Some(text) => {
                self.pending.drain(..end);
                text
            }
            // Half a pair, which never gets its other half.
            None => {
                self.pending.drain(..end);
                escaped("\u{fffd}")
            }
        }
    }

    /// How much of an escape with a number follows its `u`: a pair is one.
    fn unicode(&self, at: usize) -> usize {
        let is_first_half = self
            .pending
            .get(at + 2..at + 4)
            .is_some_and(|hex| matches!(hex.as_bytes(), [b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B']));
        if is_first_half { 10 } else { 4 }
    }

    /// What is left when all has come: arguments of another form.
    pub fn rest(&mut self) -> String {
        match self.stage {
            Stage::Before => escaped(&std::mem::take(&mut self.pending)),
            Stage::Inside | Stage::Behind | Stage::Plain => String::new(),
        }
    }
}

/// Where the text begins: behind `{"input":"`.
fn start(arguments: &str) -> Option<usize> {
    let mut rest = arguments;
    for sign in ["{", "\"input\"", ":", "\""] {
        rest = rest.trim_ascii_start().strip_prefix(sign)?;
    }
    Some(arguments.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = concat!(
        "A text that is no object, and longer than the start of one can be: 0123456789 0123456789 0123456789 0123456789 ",
        "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789",
    );

    #[test]
    fn the_text_is_read_out_of_arguments_however_they_are_cut() {
        let rows = [
            (r#"{"input":"*** Begin\n+a \"b\" \\ é 😀 \ud83d\ude00\u00e9"}"#, "*** Begin\n+a \"b\" \\ é 😀 😀é"),
            (" {\n\"input\" : \"x\"}\n", "x"),
            (r#"{"input":""}"#, ""),
            (r#"{"patch":"x"}"#, r#"{"patch":"x"}"#),
            ("plain", "plain"),
            (LONG, LONG),
            ("", ""),
        ];
        for (arguments, expected) in rows {
            for step in 1..=7 {
                let (mut input, mut said) = (Input::default(), String::new());
                let letters: Vec<char> = arguments.chars().collect();
                for piece in letters.chunks(step) {
                    said += &input.read(&escaped(&piece.iter().collect::<String>()));
                }
                said += &input.rest();
                assert_eq!(decoded(&said).as_deref(), Some(expected), "{arguments} by {step}");
            }
        }
    }

    #[test]
    fn half_a_character_is_no_panic() {
        for arguments in [r#"{"input":"\ud83d"}"#, r#"{"input":"\ud83dx\u"}"#, r#"{"input":"\"#, r#"{"input":"\ud83d\"#]
        {
            let mut input = Input::default();
            for letter in arguments.chars() {
                input.read(&escaped(&letter.to_string()));
            }
            input.rest();
        }
    }
}
