//! Whether the arguments of a call are all there, seen from the pieces they come in.

/// Looks on while a JSON text passes that is written between the quotes of JSON strings, piece by piece. A piece never
/// ends within an escape.
#[derive(Debug, Default)]
pub(super) struct Completeness {
    depth: u32,
    in_string: bool,
    escaped: bool,
    begun: bool,
    complete: bool,
}

impl Completeness {
    /// Looks at the next piece.
    pub fn see(&mut self, piece: &str) {
        let mut bytes = piece.bytes();
        while let Some(byte) = bytes.next() {
            let byte = match byte {
                b'\\' => match bytes.next() {
                    Some(b'u') => {
                        let code = bytes
                            .by_ref()
                            .take(4)
                            .fold(0_u32, |code, hex| (code << 4) | char::from(hex).to_digit(16).unwrap_or(0));
                        u8::try_from(code).unwrap_or(b'x')
                    }
                    Some(quote @ (b'"' | b'\\')) => quote,
                    Some(b'n' | b'r' | b't') if !self.in_string => b' ',
                    _ => b'x',
                },
                byte => byte,
            };
            self.step(byte);
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.begun = true;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.complete = self.begun && self.depth == 0;
            }
            _ => {}
        }
    }

    /// The object is closed.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::translate::raw::escaped;

    #[test]
    fn arguments_are_complete_where_their_object_ends() {
        let rows = [
            ("", false),
            ("{}", true),
            ("[1]", true),
            (r#"{"a":"}"#, false),
            (r#"{"a":"}"}"#, true),
            (r#"{"a":"\"}"#, false),
            (r#"{"a":"\\"}"#, true),
            ("{\n \"a\": [{}], \"b\": \"é\\u0022}\"", false),
            ("{\n \"a\": [{}], \"b\": \"é\\u0022}\" }\n", true),
            ("7", false),
        ];
        for (text, complete) in rows {
            let mut seen = Completeness::default();
            // In pieces of a character each.
            text.chars().for_each(|c| seen.see(&escaped(&c.to_string())));
            assert_eq!(seen.is_complete(), complete, "{text}");
        }
        let mut seen = Completeness::default();
        seen.see(r"\u007b\u0022}\u0022\u007d");
        assert!(seen.is_complete());
    }
}
