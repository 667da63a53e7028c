//! Which of the fields for the output bound a server takes, as a probe found it.
//!
//! Servers differ in one dialect: OpenAI's newer models refuse `max_tokens` in a chat, and llama-cpp-python ignores
//! `max_completion_tokens` and generates without a bound.

use super::fields::OUTPUT;
use crate::domain::endpoint::Endpoint;

/// What is known of the fields in which a server may take the bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputFields {
    /// In these it was kept, the best first; empty: nothing is known.
    taken: Vec<&'static str>,
    /// With these a request is refused.
    refused: Vec<&'static str>,
}

/// What a server did when it was asked for a long text within a small bound, in one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// It was cut off at the bound, and said so.
    Kept,
    /// The answer was short, but not said to be cut off.
    Short,
    /// The answer was longer than the bound.
    Exceeded,
    /// It refused the request.
    Refused,
    /// There was no answer that tells.
    Unclear,
}

impl Trial {
    const fn is_answer(self) -> bool {
        matches!(self, Self::Kept | Self::Short | Self::Exceeded)
    }
}

impl OutputFields {
    /// The fields of an endpoint that are worth a trial, the one that is sent to an unknown server first.
    pub const fn candidates(endpoint: Endpoint) -> &'static [&'static str] {
        endpoint.dialect().request.output_trials
    }

    /// What follows from trials of all the candidates. A field in which the bound was kept is taken; otherwise one
    /// that is left when the others are refused or ignored. An answer that is merely short proves nothing.
    pub fn found(trials: &[(&'static str, Trial)]) -> Self {
        let fitting = |fits: &dyn Fn(Trial) -> bool| {
            trials.iter().filter(|(_, trial)| fits(*trial)).map(|(field, _)| *field).collect::<Vec<_>>()
        };
        let is_refused = |trial| trial == Trial::Refused;
        let those = |fits: &dyn Fn(Trial) -> bool| Self { taken: fitting(fits), refused: fitting(&is_refused) };
        let is_left_by = |others: &dyn Fn(Trial) -> bool, left: &dyn Fn(Trial) -> bool| {
            let any = |fits: &dyn Fn(Trial) -> bool| trials.iter().any(|(_, trial)| fits(*trial));
            any(others) && any(left) && trials.iter().all(|(_, trial)| left(*trial) || others(*trial))
        };
        let is_short = |trial| trial == Trial::Short;
        if trials.iter().any(|(_, trial)| *trial == Trial::Kept) {
            those(&|trial| trial == Trial::Kept)
        } else if is_left_by(&|trial| matches!(trial, Trial::Refused | Trial::Exceeded), &is_short) {
            those(&is_short)
        } else if is_left_by(&is_refused, &Trial::is_answer) {
            those(&Trial::is_answer)
        } else {
            Self::default()
        }
    }

    /// Reads [`Self::text`] back.
    pub fn from_text(text: &str) -> Self {
        let known = |name: &str| OUTPUT.iter().find(|field| **field == name).copied();
        let (refused, taken): (Vec<_>, Vec<_>) = text.split_ascii_whitespace().partition(|name| name.starts_with('-'));
        Self {
            taken: taken.into_iter().filter_map(known).collect(),
            refused: refused.into_iter().filter_map(|name| known(name.trim_start_matches('-'))).collect(),
        }
    }

    /// The names with blanks between them, a minus before those that are refused; `None` if nothing is known.
    pub fn text(&self) -> Option<String> {
        let refused = self.refused.iter().map(|name| format!("-{name}"));
        let names = self.taken.iter().map(|name| (*name).to_owned()).chain(refused).collect::<Vec<_>>();
        (!self.is_empty()).then(|| names.join(" "))
    }

    /// One is refused, and the other is to be used in its place.
    pub fn instead(refused: &'static str, taken: &'static str) -> Self {
        Self { taken: vec![taken], refused: vec![refused] }
    }

    /// Nothing is known.
    pub const fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// The one that is written where the client used none of them.
    pub(super) fn best(&self, endpoint: Endpoint) -> Option<&'static str> {
        self.taken.first().copied().or_else(|| endpoint.output_field())
    }

    /// A bound in this field is sure to be kept. An unknown server is believed to keep the dialect's own.
    pub(super) fn holds(&self, field: &str, endpoint: Endpoint) -> bool {
        if self.is_empty() { endpoint.output_field() == Some(field) } else { self.taken.contains(&field) }
    }

    /// A request with this field is refused.
    pub(super) fn refuses(&self, field: &str) -> bool {
        !self.is_empty() && self.refused.contains(&field)
    }
}

#[cfg(test)]
mod tests {
    use super::Trial::{Exceeded, Kept, Refused, Short, Unclear};
    use super::*;
    use crate::dialect::request::InferenceRequest;
    use crate::dialect::request::hosted::Allow;

    #[test]
    fn what_was_kept_is_taken_and_what_is_merely_short_proves_nothing() {
        // max_tokens, max_completion_tokens → taken
        let rows = [
            (Kept, Kept, "max_tokens max_completion_tokens"),
            (Kept, Exceeded, "max_tokens"),
            (Kept, Short, "max_tokens"),
            (Kept, Refused, "max_tokens -max_completion_tokens"),
            (Kept, Unclear, "max_tokens"),
            (Refused, Kept, "max_completion_tokens -max_tokens"),
            (Short, Kept, "max_completion_tokens"),
            (Short, Exceeded, "max_tokens"),
            (Refused, Short, "max_completion_tokens -max_tokens"),
            (Refused, Exceeded, "max_completion_tokens -max_tokens"),
            (Short, Short, ""),
            (Exceeded, Exceeded, ""),
            (Refused, Refused, ""),
            (Refused, Unclear, ""),
            (Short, Unclear, ""),
            (Unclear, Unclear, ""),
        ];
        for (one, two, taken) in rows {
            let found = OutputFields::found(&[("max_tokens", one), ("max_completion_tokens", two)]);
            assert_eq!(found.text().unwrap_or_default(), taken, "{one:?} {two:?}");
            assert_eq!(OutputFields::from_text(taken), found, "{taken}");
        }
        assert!(OutputFields::from_text("anything else").is_empty());
    }

    #[test]
    fn the_bound_goes_where_the_client_put_it_and_the_server_reads_it() {
        const BOTH: &str = r#""max_tokens":50,"max_completion_tokens":50,"#;
        // the client's fields, what the server takes → the fields that it gets
        let rows = [
            ("", "", r#""max_tokens":9,"#),
            ("", "max_completion_tokens -max_tokens", r#""max_completion_tokens":9,"#),
            ("", "max_tokens max_completion_tokens", r#""max_tokens":9,"#),
            (r#""max_tokens":50,"#, "", r#""max_tokens":9,"#),
            (r#""max_tokens":50,"#, "max_tokens", r#""max_tokens":9,"#),
            (r#""max_tokens":50,"#, "max_completion_tokens -max_tokens", r#""max_completion_tokens":9,"#),
            (r#""max_tokens":50,"#, "max_completion_tokens", r#""max_completion_tokens":9,"max_tokens":9,"#),
            // Nothing is known of the server: with a field that it ignores, it would run on.
            (r#""max_completion_tokens":50,"#, "", r#""max_tokens":9,"max_completion_tokens":9,"#),
            (r#""max_completion_tokens":50,"#, "max_tokens", r#""max_tokens":9,"max_completion_tokens":9,"#),
            (r#""max_completion_tokens":50,"#, "max_tokens -max_completion_tokens", r#""max_tokens":9,"#),
            (r#""max_completion_tokens":50,"#, "max_completion_tokens -max_tokens", r#""max_completion_tokens":9,"#),
            (r#""max_completion_tokens":50,"#, "max_tokens max_completion_tokens", r#""max_completion_tokens":9,"#),
            (BOTH, "", r#""max_tokens":9,"max_completion_tokens":9,"#),
            (BOTH, "max_completion_tokens -max_tokens", r#""max_completion_tokens":9,"#),
            (r#""max_completion_tokens":-1,"#, "max_completion_tokens", r#""max_completion_tokens":9,"#),
            (r#""max_completion_tokens":null,"#, "max_completion_tokens", r#""max_completion_tokens":9,"#),
            (r#""n_predict":50,"#, "max_completion_tokens", r#""max_completion_tokens":9,"n_predict":9,"#),
            (r#""n_predict":50,"#, "", r#""max_tokens":9,"n_predict":9,"#),
        ];
        for (asked, takes, sent) in rows {
            let body = |fields: &str| format!(r#"{{{fields}"model":"m","messages":[1]}}"#);
            let text = body(asked);
            let request = InferenceRequest::read(Endpoint::ChatCompletions, text.as_bytes());
            let request = request.unwrap_or_else(|e| panic!("{text}: {e}"));
            let takes = OutputFields::from_text(takes);
            assert_eq!(request.for_upstream("m", 9, &Allow::default(), &takes), body(sent), "{asked} {takes:?}");
        }
    }
}
