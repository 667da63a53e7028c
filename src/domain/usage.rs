//! Tokens: what a request used, what it may use at most, and who says so.

use std::fmt;

use serde::Serialize;

/// The part of a prompt that a provider wrote to its cache, by how long it keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheWrites {
    /// For five minutes, or for a time that was not said.
    pub short: u64,
    /// For an hour.
    pub hour: u64,
}

impl CacheWrites {
    /// `all` that was written, `hour` of it for an hour.
    pub fn of(all: Option<u64>, hour: Option<u64>) -> Option<Self> {
        let all = all?;
        let hour = hour.unwrap_or(0).min(all);
        Some(Self { short: all - hour, hour })
    }

    /// All of it; at most `u64::MAX`.
    pub const fn all(self) -> u64 {
        self.short.saturating_add(self.hour)
    }

    /// At most `tokens` of it.
    pub fn within(self, tokens: u64) -> Self {
        let hour = self.hour.min(tokens);
        Self { short: self.short.min(tokens - hour), hour }
    }
}

/// The tokens of one request. `cached_tokens` and `cache_writes` are parts of `prompt_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Prompt tokens, the cached ones included.
    pub prompt_tokens: u64,
    /// The part of the prompt that the provider read from its cache.
    pub cached_tokens: u64,
    /// The part that it wrote to it.
    pub cache_writes: CacheWrites,
    /// Generated tokens.
    pub completion_tokens: u64,
}

/// What a provider said of its usage; each part may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// Prompt tokens, the cached ones included.
    pub prompt_tokens: Option<u64>,
    /// Prompt tokens read from the provider's cache.
    pub cached_tokens: Option<u64>,
    /// Prompt tokens written to it.
    pub cache_writes: Option<CacheWrites>,
    /// Generated tokens.
    pub completion_tokens: Option<u64>,
}

impl Reported {
    /// Both counts a charge needs are there, so nothing has to be estimated.
    pub const fn is_whole(&self) -> bool {
        self.prompt_tokens.is_some() && self.completion_tokens.is_some()
    }

    /// This report, with what it leaves open taken from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.or(other.prompt_tokens),
            cached_tokens: self.cached_tokens.or(other.cached_tokens),
            cache_writes: self.cache_writes.or(other.cache_writes),
            completion_tokens: self.completion_tokens.or(other.completion_tokens),
        }
    }
}

/// What a provider said, judged by what was sent to it and delivered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// What can be believed of it.
    pub believed: Reported,
    /// It said that the prompt had no tokens.
    no_prompt: bool,
    /// It said that the output it delivered had no tokens.
    no_output: bool,
    /// Its output went beyond what was bought, and was stopped there.
    stopped: bool,
}

impl Judged {
    /// Judges a report. No prompt is nothing, and no output that was `delivered`: such a zero was not reported.
    pub fn of(said: Reported, delivered: bool) -> Self {
        let no_prompt = said.prompt_tokens == Some(0);
        let no_output = delivered && said.completion_tokens == Some(0);
        let believed = Reported {
            prompt_tokens: said.prompt_tokens.filter(|_| !no_prompt),
            cached_tokens: said.cached_tokens.filter(|_| !no_prompt),
            cache_writes: said.cache_writes.filter(|_| !no_prompt),
            completion_tokens: said.completion_tokens.filter(|_| !no_output),
        };
        Self { believed, no_prompt, no_output, stopped: false }
    }

    /// This report, of an answer that was stopped when it cannot have had fewer than `bound` tokens.
    pub const fn stopped_at(mut self, bound: u64) -> Self {
        self.believed.completion_tokens = Some(bound);
        self.stopped = true;
        self
    }

    /// Its output went beyond what was bought.
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// This report, with what cannot be believed or was not said taken from `other`.
    pub fn or(self, other: Self) -> Self {
        Self { believed: self.believed.or(other.believed), ..self }
    }

    /// It said zero where tokens are billed, or delivered more than was bought.
    pub const fn denies(&self, billed: Usage) -> bool {
        self.stopped || (self.no_prompt && billed.prompt_tokens > 0) || (self.no_output && billed.completion_tokens > 0)
    }
}

/// The most tokens a request may be charged for. Fixed when its hold is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most prompt tokens.
    pub prompt_tokens: u64,
    /// The most generated tokens.
    pub completion_tokens: u64,
}

impl Bounds {
    /// The usage with nothing above the bounds, and no more read from a cache and written to it than the prompt has.
    pub fn clamp(&self, usage: Usage) -> Usage {
        let prompt_tokens = usage.prompt_tokens.min(self.prompt_tokens);
        let cached_tokens = usage.cached_tokens.min(prompt_tokens);
        Usage {
            prompt_tokens,
            cached_tokens,
            cache_writes: usage.cache_writes.within(prompt_tokens - cached_tokens),
            completion_tokens: usage.completion_tokens.min(self.completion_tokens),
        }
    }
}

/// Whose count a row was billed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeteredBy {
    /// The provider reported every number.
    Provider,
    /// At least one number was counted here with a tokenizer.
    Estimate,
}

/// The tokens a request is billed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metered {
    /// Within the bounds.
    pub usage: Usage,
    /// Whose count it is.
    pub metered_by: MeteredBy,
    /// The provider reported more than the request could have used.
    pub flagged: bool,
}

impl Metered {
    /// Believes what was reported, within the bounds; counts what was not with the given counters.
    pub fn of(
        reported: Reported,
        bounds: Bounds,
        count_prompt: impl FnOnce() -> u64,
        count_completion: impl FnOnce() -> u64,
    ) -> Self {
        let usage = Usage {
            prompt_tokens: reported.prompt_tokens.unwrap_or_else(count_prompt),
            cached_tokens: reported.cached_tokens.unwrap_or(0),
            cache_writes: reported.cache_writes.unwrap_or_default(),
            completion_tokens: reported.completion_tokens.unwrap_or_else(count_completion),
        };
        let above = |said: Option<u64>, bound| said.is_some_and(|n| n > bound);
        Self {
            usage: bounds.clamp(usage),
            metered_by: if reported.is_whole() { MeteredBy::Provider } else { MeteredBy::Estimate },
            flagged: above(reported.prompt_tokens, bounds.prompt_tokens.saturating_add(TEMPLATES_OWN_WORDS))
                || above(reported.completion_tokens, bounds.completion_tokens)
                || above(reported.cached_tokens, usage.prompt_tokens)
                || above(reported.cache_writes.map(CacheWrites::all), usage.prompt_tokens),
        }
    }
}

/// What a template may add of its own, in tokens: it is not billed, but who reports it tells no untruth.
const TEMPLATES_OWN_WORDS: u64 = 512;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider finished its answer. Charged in full.
    Completed,
    /// The client went away after output began. Charged for the prompt and what was delivered.
    ClientDisconnected,
    /// The provider broke off after its answer began. Not charged.
    ProviderError,
}

macro_rules! text_form {
    ($type:ty { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $type {
            /// The text used in the database and in answers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            /// Reads the text form back.
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text_form!(MeteredBy { Provider = "provider", Estimate = "estimate" });
text_form!(Outcome {
    Completed = "completed",
    ClientDisconnected = "client_disconnected",
    ProviderError = "provider_error",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_charged_above_the_bounds() {
        let bounds = Bounds { prompt_tokens: 100, completion_tokens: 50 };
        let usage = |prompt_tokens, cached_tokens, completion_tokens| Usage {
            prompt_tokens,
            cached_tokens,
            completion_tokens,
            ..Usage::default()
        };
        let rows = [
            (usage(10, 5, 20), usage(10, 5, 20)),
            (usage(100, 100, 50), usage(100, 100, 50)),
            (usage(1_000_000_000, 1_000_000_000, u64::MAX), usage(100, 100, 50)),
            (usage(10, 11, 0), usage(10, 10, 0)),
        ];
        for (said, charged) in rows {
            assert_eq!(bounds.clamp(said), charged);
        }
    }

    #[test]
    fn what_is_written_to_a_cache_is_a_part_of_the_prompt() {
        let writes = |short, hour| CacheWrites { short, hour };
        let bounds = Bounds { prompt_tokens: 100, completion_tokens: 50 };
        // prompt, cached, said → kept
        let rows = [
            (80, 10, writes(30, 20), writes(30, 20)),
            (80, 10, writes(60, 20), writes(50, 20)),
            (80, 10, writes(u64::MAX, u64::MAX), writes(0, 70)),
            (200, 100, writes(5, 5), writes(0, 0)),
        ];
        for (prompt_tokens, cached_tokens, cache_writes, kept) in rows {
            let usage = Usage { prompt_tokens, cached_tokens, cache_writes, completion_tokens: 0 };
            assert_eq!(bounds.clamp(usage).cache_writes, kept, "{cache_writes:?} of {prompt_tokens}");
        }
        assert_eq!(writes(u64::MAX, 1).all(), u64::MAX);
    }

    #[test]
    fn a_second_source_fills_only_what_the_first_leaves_open() {
        let first = Reported { prompt_tokens: Some(0), ..Reported::default() };
        let second =
            Reported { prompt_tokens: Some(9), cached_tokens: Some(1), cache_writes: None, completion_tokens: Some(8) };
        let both = first.or(second);
        assert_eq!(
            both,
            Reported { prompt_tokens: Some(0), cached_tokens: Some(1), cache_writes: None, completion_tokens: Some(8) }
        );
        assert!(both.is_whole() && !first.is_whole());
    }

    #[test]
    fn a_zero_is_believed_where_there_was_nothing() {
        let said = |p, c, o| Reported { prompt_tokens: p, cached_tokens: c, cache_writes: None, completion_tokens: o };
        let usage = |prompt_tokens, completion_tokens| Usage { prompt_tokens, completion_tokens, ..Usage::default() };
        // reported, delivered → believed; and whether it denies a bill of 5 and 2, and one of nothing
        let rows = [
            (said(Some(9), Some(4), Some(2)), true, said(Some(9), Some(4), Some(2)), false),
            (said(Some(0), Some(4), Some(2)), true, said(None, None, Some(2)), true),
            (said(Some(9), None, Some(0)), true, said(Some(9), None, None), true),
            (said(Some(9), None, Some(0)), false, said(Some(9), None, Some(0)), false),
            (said(None, None, None), true, said(None, None, None), false),
        ];
        for (report, delivered, believed, denies) in rows {
            let judged = Judged::of(report, delivered);
            assert_eq!((judged.believed, judged.denies(usage(5, 2))), (believed, denies), "{report:?}");
            assert!(!judged.denies(usage(0, 0)));
        }
        let zeros = Judged::of(said(Some(0), None, Some(0)), true).or(Judged::of(said(Some(7), Some(1), None), true));
        assert_eq!((zeros.believed, zeros.denies(usage(7, 1))), (said(Some(7), Some(1), None), true));
    }

    #[test]
    fn what_is_reported_is_believed_within_reason() {
        let bounds = Bounds { prompt_tokens: 100, completion_tokens: 50 };
        let reported =
            |p, c, o| Reported { prompt_tokens: p, cached_tokens: c, completion_tokens: o, ..Reported::default() };
        // reported → prompt, cached, completion, by, flagged; the counters say 7 and 8
        let rows = [
            (reported(Some(10), Some(4), Some(5)), (10, 4, 5, MeteredBy::Provider, false)),
            (reported(Some(0), None, Some(0)), (0, 0, 0, MeteredBy::Provider, false)),
            (reported(None, None, None), (7, 0, 8, MeteredBy::Estimate, false)),
            (reported(Some(10), None, None), (10, 0, 8, MeteredBy::Estimate, false)),
            (reported(Some(100), Some(100), Some(50)), (100, 100, 50, MeteredBy::Provider, false)),
            (reported(Some(612), None, Some(5)), (100, 0, 5, MeteredBy::Provider, false)),
            (reported(Some(613), None, Some(5)), (100, 0, 5, MeteredBy::Provider, true)),
            (reported(Some(100), None, Some(1_000_000_000)), (100, 0, 50, MeteredBy::Provider, true)),
            (reported(Some(10), Some(11), Some(5)), (10, 10, 5, MeteredBy::Provider, true)),
        ];
        for (said, (prompt_tokens, cached_tokens, completion_tokens, metered_by, flagged)) in rows {
            let usage = Usage { prompt_tokens, cached_tokens, completion_tokens, ..Usage::default() };
            assert_eq!(Metered::of(said, bounds, || 7, || 8), Metered { usage, metered_by, flagged }, "{said:?}");
        }
    }

    #[test]
    fn text_forms_are_read_back() {
        for outcome in [Outcome::Completed, Outcome::ClientDisconnected, Outcome::ProviderError] {
            assert_eq!(Outcome::from_text(outcome.as_str()), Some(outcome));
        }
        for by in [MeteredBy::Provider, MeteredBy::Estimate] {
            assert_eq!(MeteredBy::from_text(by.as_str()), Some(by));
        }
        assert_eq!(Outcome::from_text("refunded"), None);
    }
}
