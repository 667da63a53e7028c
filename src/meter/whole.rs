//! One answer that came whole.

use std::ops::Range;

use bytes::Bytes;

use super::rename::PublicName;
use super::text::OutputText;
use crate::dialect::receipt::{self, Receipt};
use crate::dialect::usage;
use crate::domain::endpoint::Endpoint;
use crate::domain::json::fields::{error_text, given, object, pick, place_of};
use crate::domain::usage::Judged;

/// Why a body with status 200 is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not a JSON object.
    #[error("the provider's answer is not a JSON object: {0}")]
    NotAnObject(String),
    /// An error object.
    // Not what it says: that may quote a prompt, and this goes to the log.
    #[error("the provider answered with an error")]
    Error(String),
    /// The field that holds the output is missing.
    #[error("the provider's answer has no {0}")]
    Missing(&'static str),
}

/// One answer that came whole. Its clone shares the body.
#[derive(Debug, Clone)]
pub struct WholeAnswer {
    endpoint: Endpoint,
    body: Bytes,
    /// Where in the body the output lies.
    output: Range<usize>,
    /// Where its `usage` lies, whatever that is.
    usage: Option<Range<usize>>,
    judged: Judged,
    /// What the client calls the model, if it shall see no other name.
    public_name: Option<PublicName>,
}

/// An answer up to this size is copied into one piece, in bytes.
const SMALL: usize = 64 << 10;

impl WholeAnswer {
    /// Reads a body with status 200.
    ///
    /// # Errors
    /// Not a JSON object, an error object, or an object without the field that holds the output.
    pub fn read(endpoint: Endpoint, bytes: Bytes) -> Result<Self, BadAnswer> {
        let body = std::str::from_utf8(&bytes).map_err(|e| BadAnswer::NotAnObject(e.to_string()))?;
        let field = endpoint.dialect().answer.output;
        let [error, output, usage, timings] =
            pick(body, ["error", field, "usage", "timings"]).map_err(|e| BadAnswer::NotAnObject(e.to_string()))?;
        if let Some(error) = given(error) {
            return Err(BadAnswer::Error(error_text(error)));
        }
        let output = given(output).ok_or(BadAnswer::Missing(field))?;
        let timings = object(timings).map(usage::read_timings).unwrap_or_default();
        let place = usage.map(|usage| place_of(body.as_bytes(), usage.as_bytes()));
        // Embeddings generate nothing, whether or not anything is reported.
        let usage = object(usage).or_else(|| usage::elsewhere(body, Some(output))).unwrap_or("{}");
        let usage = usage::read(endpoint, usage);
        // Looked for only where somebody says that there is none.
        let says_none = [usage, timings].iter().any(|said| said.completion_tokens == Some(0));
        let delivered = says_none && OutputText::is_in(endpoint, output);
        let judged = Judged::of(usage, delivered).or(Judged::of(timings, delivered));
        let output = place_of(body.as_bytes(), output.as_bytes());
        Ok(Self { endpoint, output, usage: place, judged, public_name: None, body: bytes })
    }

    /// The client gets to see `model` as the name of the model, whatever the server calls it.
    #[must_use]
    pub fn named(self, model: &str) -> Self {
        Self { public_name: Some(PublicName::new(model)), ..self }
    }

    /// What the provider said.
    pub const fn judged(&self) -> Judged {
        self.judged
    }

    /// The tokenizer's count of the output text.
    pub fn estimate_completion(&self) -> u64 {
        let mut text = OutputText::default();
        text.take_whole(self.endpoint, self.text().get(self.output.clone()).unwrap_or_default());
        text.count()
    }

    /// The body with the receipt in its `usage` object and the public name of the model; every other byte is as it
    /// came. In pieces: nothing of a large body is copied.
    pub fn with_receipt(&self, receipt: &Receipt) -> Vec<Bytes> {
        let (place, by) = receipt::edit(self.endpoint, self.text(), self.usage(), receipt);
        let mut edits = vec![(place, by)];
        if let Some(public) = &self.public_name
            && let Some(place) = public.place(&self.body)
        {
            edits.push((place, public.quoted().to_owned()));
        }
        edits.sort_by_key(|(place, _)| place.start);
        let (mut pieces, mut at) = (Vec::with_capacity(5), 0);
        for (place, by) in edits {
            // They never overlap: one is the model's name, the other one the usage.
            pieces.push(self.body.slice(at.min(place.start)..place.start));
            pieces.push(by.into());
            at = place.end;
        }
        pieces.push(self.body.slice(at..));
        if self.body.len() <= SMALL { vec![pieces.concat().into()] } else { pieces }
    }

    /// The usage that [`Self::with_receipt`] writes into the body.
    pub fn usage_with(&self, receipt: &Receipt) -> String {
        receipt::billed(self.endpoint, self.usage(), receipt)
    }

    fn usage(&self) -> Option<&str> {
        self.text().get(self.usage.clone()?)
    }

    /// It was read as text once.
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::Reported;

    #[test]
    fn a_body_that_is_no_answer_is_told() {
        use Endpoint::{ChatCompletions as Chat, Embeddings, Messages, Responses};
        let error = |text: &str| BadAnswer::Error(text.to_owned());
        let rows = [
            (Chat, r#"{"error":{"message":"m"}}"#, error("m")),
            (Chat, r#"{"error":"m"}"#, error("m")),
            (Messages, r#"{"type":"error","error":{"type":"t","message":"m"},"content":[]}"#, error("m")),
            (Responses, r#"{"status":"failed","error":{"code":"c","message":"m"},"output":[]}"#, error("m")),
            (Chat, r#"{"usage":{}}"#, BadAnswer::Missing("choices")),
            (Chat, r#"{"choices":null}"#, BadAnswer::Missing("choices")),
            (Embeddings, "{}", BadAnswer::Missing("data")),
            (Responses, "{}", BadAnswer::Missing("output")),
            (Messages, "{}", BadAnswer::Missing("content")),
        ];
        for (endpoint, body, expected) in rows {
            assert_eq!(
                WholeAnswer::read(endpoint, Bytes::from_static(body.as_bytes())).err(),
                Some(expected),
                "{body}"
            );
        }
        for body in [&b""[..], b"[]", b"null", b"<html>", b"{\"choices\":[]", b"{\"choices\":\"\xff\"}"] {
            let read = WholeAnswer::read(Chat, Bytes::from_static(body));
            assert!(matches!(read, Err(BadAnswer::NotAnObject(_))), "{}", body.escape_ascii());
        }
        assert!(WholeAnswer::read(Responses, Bytes::from_static(br#"{"error":null,"output":[]}"#)).is_ok());
    }

    #[test]
    fn embeddings_generate_nothing() {
        let read = |body: &'static str| {
            WholeAnswer::read(Endpoint::Embeddings, Bytes::from_static(body.as_bytes())).map(|a| a.judged().believed)
        };
        let said = |prompt_tokens| Reported {
            prompt_tokens,
            cached_tokens: None,
            completion_tokens: Some(0),
            ..Reported::default()
        };
        assert_eq!(read(r#"{"data":[],"usage":{"prompt_tokens":3}}"#), Ok(said(Some(3))));
        assert_eq!(read(r#"{"data":[]}"#), Ok(said(None)));
    }
}
