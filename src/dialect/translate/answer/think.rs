//! Reasoning that stands in the content between `<think>` and `</think>`, of servers that are marked to write it so.

use crate::dialect::translate::raw::{decoded, escaped};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// After this many blanks there are no thoughts to come.
const MOST_BLANKS: usize = 1_000;

/// Tells reasoning from what is said, as the content comes. Keeps a few bytes that may be the start of a mark.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    kept: String,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing came that is no blank.
    #[default]
    Before,
    Thinking,
    /// Blank lines after the reasoning are no part of what is said.
    Between,
    Speaking,
}

impl Thoughts {
    /// The next piece of the content, and what of it is to be passed on: whether it is reasoning, and the text, as
    /// written between quotes.
    pub fn read(&mut self, piece: &str) -> Vec<(bool, String)> {
        if self.stage == Stage::Speaking {
            return vec![(false, piece.to_owned())];
        }
        self.kept.push_str(&decoded(piece).unwrap_or_default());
        let mut told = Vec::new();
        while self.step(&mut told) {}
        told
    }

    fn step(&mut self, told: &mut Vec<(bool, String)>) -> bool {
        match self.stage {
            Stage::Before => {
                let rest = self.kept.trim_ascii_start();
                if let Some(rest) = rest.strip_prefix(OPEN) {
                    self.kept = rest.to_owned();
                    self.stage = Stage::Thinking;
                } else if OPEN.starts_with(rest) && self.kept.len() < MOST_BLANKS {
                    return false;
                } else {
                    self.stage = Stage::Speaking;
                }
                true
            }
            Stage::Thinking => {
                if let Some((thought, rest)) = self.kept.split_once(CLOSE) {
                    told.push((true, escaped(thought)));
                    self.kept = rest.to_owned();
                    self.stage = Stage::Between;
                    return true;
                }
                let end = (0..CLOSE.len()).rev().find_map(|length| {
                    let start = CLOSE.get(..length)?;
                    self.kept.ends_with(start).then(|| self.kept.len() - length)
                });
                let whole: String = self.kept.drain(..end.unwrap_or(0)).collect();
                told.push((true, escaped(&whole)));
                false
            }
            Stage::Between => {
                let rest = self.kept.trim_ascii_start().to_owned();
                self.kept = rest;
                if self.kept.is_empty() {
                    return false;
                }
                self.stage = Stage::Speaking;
                true
            }
            Stage::Speaking => {
                if !self.kept.is_empty() {
                    told.push((false, escaped(&std::mem::take(&mut self.kept))));
                }
                false
            }
        }
    }

    /// What is left when all has come.
    pub fn rest(&mut self) -> (bool, String) {
        (self.stage == Stage::Thinking, escaped(&std::mem::take(&mut self.kept)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_however_the_content_is_cut() {
        let rows = [
            ("<think>a < b</think>\n\nc </think>", "a < b", "c </think>"),
            ("\n<think>\na</th", "\na</th", ""),
            ("<thin", "", "<thin"),
            ("<b>c", "", "<b>c"),
            ("a<think>b</think>", "", "a<think>b</think>"),
            ("<think></think>é", "", "é"),
        ];
        for (content, thought, said) in rows {
            for step in 1..=8 {
                let (mut thoughts, mut told) = (Thoughts::default(), [String::new(), String::new()]);
                let letters: Vec<char> = content.chars().collect();
                let mut pieces: Vec<_> = Vec::new();
                for piece in letters.chunks(step) {
                    pieces.extend(thoughts.read(&escaped(&piece.iter().collect::<String>())));
                }
                pieces.push(thoughts.rest());
                pieces.iter().for_each(|(is_thought, text)| told[usize::from(*is_thought)] += text);
                let told = told.map(|text| decoded(&text).unwrap_or_default().into_owned());
                assert_eq!(told, [said, thought], "{content:?} by {step}");
            }
        }
    }
}
