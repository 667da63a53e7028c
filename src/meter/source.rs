//! What one source of counts said in the course of a stream, and which of it holds.

use crate::dialect::counts::later;
use crate::domain::usage::Reported;

/// What one source said in the course of a stream.
///
/// Numbers are cumulative, so a later one replaces an earlier one. What was said before the end is
/// taken with care, for a client may leave at any event: Ollama sends zeros all along and the numbers at
/// the end, others send a first usage and then none for a thousand tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source {
    said: Reported,
    /// No output came since.
    is_fresh: bool,
    is_final: bool,
}

impl Source {
    /// Takes in another report. `is_final`: nothing is generated after it, so its zeros are meant.
    pub fn note(&mut self, new: Reported, is_final: bool) {
        self.said = if is_final {
            new.or(self.reported())
        } else {
            Reported {
                prompt_tokens: later(self.said.prompt_tokens, new.prompt_tokens),
                cached_tokens: later(self.said.cached_tokens, new.cached_tokens),
                cache_writes: new.cache_writes.filter(|said| said.all() > 0).or(self.said.cache_writes),
                completion_tokens: later(self.said.completion_tokens, new.completion_tokens),
            }
        };
        self.is_fresh = true;
        self.is_final |= is_final;
    }

    /// Output came after the last report.
    pub const fn outdate(&mut self) {
        self.is_fresh = false;
    }

    /// The numbers that hold at this moment.
    pub fn reported(&self) -> Reported {
        if self.is_final {
            return self.said;
        }
        let nonzero = |n: &u64| *n > 0;
        let prompt_tokens = self.said.prompt_tokens.filter(nonzero);
        Reported {
            prompt_tokens,
            cached_tokens: self.said.cached_tokens.filter(|_| prompt_tokens.is_some()),
            cache_writes: self.said.cache_writes.filter(|_| prompt_tokens.is_some()),
            completion_tokens: self.said.completion_tokens.filter(nonzero).filter(|_| self.is_fresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(prompt: Option<u64>, cached: Option<u64>, completion: Option<u64>) -> Reported {
        Reported { prompt_tokens: prompt, cached_tokens: cached, completion_tokens: completion, ..Reported::default() }
    }

    #[test]
    fn a_report_holds_until_more_output_comes() {
        let zeros = said(Some(0), None, Some(0));
        let mut source = Source::default();
        source.note(zeros, false);
        assert_eq!(source.reported(), said(None, None, None), "zeros in mid-stream say nothing");
        source.note(said(Some(9), Some(4), Some(2)), false);
        assert_eq!(source.reported(), said(Some(9), Some(4), Some(2)));
        source.outdate();
        assert_eq!(source.reported(), said(Some(9), Some(4), None));
        source.note(zeros, false);
        assert_eq!(source.reported(), said(Some(9), Some(4), Some(2)), "a zero replaces nothing");
        source.note(zeros, true);
        assert_eq!(source.reported(), said(Some(0), Some(4), Some(0)), "but at the end it is meant");
    }

    #[test]
    fn the_end_takes_no_outdated_number() {
        let mut source = Source::default();
        source.note(said(Some(9), None, Some(1)), false);
        source.outdate();
        source.note(said(None, None, None), true);
        assert_eq!(source.reported(), said(Some(9), None, None));
    }
}
