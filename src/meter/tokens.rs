//! A real tokenizer, for what no provider counted.

use crate::domain::request::InferenceRequest;

/// The tokens of a text. Takes about 0.1 ms for 1 KiB, and some 100 ms the first time.
pub fn count(text: &str) -> u64 {
    u64::try_from(bpe_openai::o200k_base().count(text)).unwrap_or(u64::MAX)
}

/// The tokens of a request's prompt.
pub fn prompt_estimate(request: &InferenceRequest<'_>) -> u64 {
    request.prompt_parts().map(count).sum()
}
