//! The counts in a usage object, under all the names that servers give them.

use crate::domain::json::fields::{count, each, object};
use crate::domain::usage::{CacheWrites, Reported};

/// The counts as they were written; what they add up to is [`Counts::reported`]'s business.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The prompt, what came from the cache included.
    prompt: Option<u64>,
    /// The prompt; some servers leave out what came from the cache or went into it.
    pub input: Option<u64>,
    /// Read from the cache, as a part of the prompt.
    cached: Option<u64>,
    /// Read from the cache, in the words of those who may count it apart.
    pub cache_read: Option<u64>,
    /// Written to the cache, in the words of those who may count it apart.
    pub cache_written: Option<u64>,
    /// The parts of that which are kept for some minutes and for an hour.
    written_for_minutes: Option<u64>,
    /// As above.
    pub written_for_an_hour: Option<u64>,
    /// The prompt without what came from the cache (DeepSeek).
    missed: Option<u64>,
    /// Prompt tokens of tools' results, counted apart (Gemini).
    tool_prompt: Option<u64>,
    /// What was generated.
    pub completion: Option<u64>,
    /// What of it was reasoning; most servers count it in the completion, a few apart.
    reasoning: Option<u64>,
    /// Reasoning that is counted apart by all who use this word (Gemini).
    thoughts: Option<u64>,
    total: Option<u64>,
}

/// A later word for the same thing; a zero says less than a number.
pub fn later(old: Option<u64>, new: Option<u64>) -> Option<u64> {
    new.filter(|n| *n > 0).or(old).or(new)
}

impl Counts {
    /// Reads a usage object: OpenAI's, DeepSeek's, Gemini's, Anthropic's, Bedrock's, Cohere's, LiteLLM's.
    pub fn read(usage: &str) -> Self {
        let (mut counts, mut tokens, mut billed) = (Self::default(), None, None);
        each(usage, |key, raw| match key {
            // Cohere counts twice: what ran, and what it bills.
            "tokens" => tokens = object(Some(raw)),
            "billed_units" => billed = object(Some(raw)),
            _ => counts.note(key, raw),
        });
        if counts.reported() == Reported::default()
            && let Some(nested) = tokens.or(billed)
        {
            each(nested, |key, raw| counts.note(key, raw));
        }
        let parts = [counts.written_for_minutes, counts.written_for_an_hour];
        let sum = parts.into_iter().flatten().reduce(u64::saturating_add);
        counts.cache_written = later(sum, counts.cache_written);
        counts
    }

    fn note(&mut self, key: &str, raw: &str) {
        let slot = match key {
            "prompt_tokens" | "promptTokenCount" => &mut self.prompt,
            "input_tokens" | "inputTokens" | "inputTokenCount" => &mut self.input,
            "completion_tokens" | "output_tokens" | "candidatesTokenCount" | "outputTokens" | "outputTokenCount" => {
                &mut self.completion
            }
            "total_tokens" | "totalTokens" | "totalTokenCount" => &mut self.total,
            "cached_tokens" | "prompt_cache_hit_tokens" | "cachedContentTokenCount" | "num_cached_tokens" => {
                &mut self.cached
            }
            "prompt_cache_miss_tokens" => &mut self.missed,
            "cache_read_input_tokens" | "cacheReadInputTokens" | "cacheReadInputTokenCount" => &mut self.cache_read,
            "cache_creation_input_tokens" | "cacheWriteInputTokens" | "cacheWriteInputTokenCount" => {
                &mut self.cache_written
            }
            "reasoning_tokens" => &mut self.reasoning,
            "thoughtsTokenCount" => &mut self.thoughts,
            "toolUsePromptTokenCount" => &mut self.tool_prompt,
            "ephemeral_5m_input_tokens" => &mut self.written_for_minutes,
            "ephemeral_1h_input_tokens" => &mut self.written_for_an_hour,
            "cache_write_tokens" => &mut self.cache_written,
            "cache_creation" => {
                return each(raw, |key, raw| {
                    if key.starts_with("ephemeral_") {
                        self.note(key, raw)
                    }
                });
            }
            "prompt_tokens_details" | "input_tokens_details" => {
                return each(raw, |key, raw| {
                    if matches!(key, "cached_tokens" | "cache_write_tokens") {
                        self.note(key, raw)
                    }
                });
            }
            "completion_tokens_details" | "output_tokens_details" => {
                return each(raw, |key, raw| {
                    if key == "reasoning_tokens" {
                        self.note(key, raw)
                    }
                });
            }
            _ => return,
        };
        // Of a key given twice the last counts, whatever it says.
        *slot = later(*slot, count(Some(raw)));
    }

    /// Prompt tokens read from the cache.
    pub fn cache_read(&self) -> Option<u64> {
        let not_missed = || self.prompt?.checked_sub(self.missed?);
        later(self.cache_read, self.cached).or_else(not_missed)
    }

    /// The prompt without what came from the cache or went into it.
    pub fn apart(&self) -> Option<u64> {
        self.input.or_else(|| self.prompt?.checked_sub(self.cache_read().unwrap_or(0)))
    }

    /// What the counts of embeddings add up to: all is prompt.
    pub fn reported_of_embeddings(&self) -> Reported {
        Reported {
            prompt_tokens: later(self.total, self.whole_prompt()),
            cached_tokens: self.cache_read(),
            cache_writes: CacheWrites::of(self.cache_written, self.written_for_an_hour),
            completion_tokens: Some(0),
        }
    }

    /// What the counts add up to, where `input_tokens` counts the whole prompt unless the total says otherwise.
    pub fn reported(&self) -> Reported {
        let cached_tokens = self.cache_read();
        let cache_writes = CacheWrites::of(self.cache_written, self.written_for_an_hour);
        let mut prompt = self.whole_prompt();
        let mut completion = match (self.completion, self.thoughts) {
            (Some(text), Some(thoughts)) => text.checked_add(thoughts),
            (text, thoughts) => text.or(thoughts),
        };
        match self.total {
            Some(total) => (prompt, completion) = self.by_total(total, prompt, completion),
            // A part cannot be more than the whole: it was counted apart.
            None if self.reasoning > completion => {
                completion = completion.and_then(|n| n.checked_add(self.reasoning?));
            }
            None => {}
        }
        Reported { prompt_tokens: prompt, cached_tokens, cache_writes, completion_tokens: completion }
    }

    fn whole_prompt(&self) -> Option<u64> {
        let prompt = later(self.input.and_then(|n| self.with_cache(n)), self.prompt);
        let prompt = prompt.and_then(|n| n.checked_add(self.tool_prompt.unwrap_or(0)));
        prompt.or_else(|| self.cached?.checked_add(self.missed?))
    }

    /// `input_tokens` beside counts of the cache: these are apart, unless the total says that they are in it.
    fn with_cache(&self, input: u64) -> Option<u64> {
        let apart = self.cache_read.unwrap_or(0).checked_add(self.cache_written.unwrap_or(0))?;
        let all = input.checked_add(self.completion.unwrap_or(0))?;
        if self.total == Some(all) { Some(input) } else { input.checked_add(apart) }
    }

    /// The total knows what the parts leave out: a count that is missing or zero, or reasoning that was counted
    /// apart (Gemini's, xAI's).
    fn by_total(&self, total: u64, prompt: Option<u64>, completion: Option<u64>) -> (Option<u64>, Option<u64>) {
        let more = |part: u64| total.checked_sub(part).filter(|rest| *rest > 0);
        match (prompt.filter(|n| *n > 0), completion) {
            (Some(p), Some(c)) => {
                let Some(left_out) = p.checked_add(c).and_then(more) else { return (prompt, completion) };
                let cache = self.cache_read().unwrap_or(0).saturating_add(self.cache_written.unwrap_or(0));
                if left_out == cache && self.reasoning != Some(left_out) {
                    return (p.checked_add(left_out), completion);
                }
                (prompt, c.checked_add(left_out))
            }
            (Some(p), None) => (prompt, more(p)),
            (None, Some(c)) => (more(c).or(prompt), completion),
            (None, None) => (prompt, completion),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::usage::read;
    use crate::domain::endpoint::Endpoint;
    use Endpoint::{ChatCompletions as Chat, Embeddings, Responses};

    fn said(
        prompt: impl Into<Option<u64>>,
        cached: impl Into<Option<u64>>,
        completion: impl Into<Option<u64>>,
    ) -> Reported {
        let (prompt_tokens, cached_tokens) = (prompt.into(), cached.into());
        Reported { prompt_tokens, cached_tokens, cache_writes: None, completion_tokens: completion.into() }
    }

    #[test]
    fn servers_say_it_in_many_words() {
        #[rustfmt::skip]
        let rows = [
            // Integral floats; a fraction is none.
            (Chat, r#"{"prompt_tokens":100.0,"completion_tokens":2e1}"#, said(100, None, 20)),
            (Chat, r#"{"prompt_tokens":1.5,"completion_tokens":20.5}"#, said(None, None, None)),
            // Gemini behind OpenAI's API, xAI, Perplexity: reasoning is in the total alone.
            (Chat, r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":420,"completion_tokens_details":{"reasoning_tokens":300}}"#, said(100, None, 320)),
            (Chat, r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":420}"#, said(100, None, 320)),
            // OpenAI, vLLM: it is in the completion, and in the total once.
            (Chat, r#"{"prompt_tokens":100,"completion_tokens":320,"total_tokens":420,"completion_tokens_details":{"reasoning_tokens":300}}"#, said(100, None, 320)),
            (Chat, r#"{"prompt_tokens":100,"completion_tokens":320,"total_tokens":42,"reasoning_tokens":300}"#, said(100, None, 320)),
            (Chat, r#"{"prompt_tokens":100,"completion_tokens":20,"reasoning_tokens":300}"#, said(100, None, 320)),
            (Chat, r#"{"prompt_tokens":100,"completion_tokens":20,"reasoning_tokens":20}"#, said(100, None, 20)),
            // A total without a part.
            (Chat, r#"{"prompt_tokens":100,"total_tokens":120}"#, said(100, None, 20)),
            (Chat, r#"{"completion_tokens":20,"total_tokens":120}"#, said(100, None, 20)),
            (Chat, r#"{"prompt_tokens":0,"completion_tokens":20,"total_tokens":120}"#, said(100, None, 20)),
            (Chat, r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#, said(0, None, 0)),
            (Chat, r#"{"total_tokens":120}"#, said(None, None, None)),
            (Chat, r#"{"prompt_tokens":9,"completion_tokens":18446744073709551615,"total_tokens":120}"#, said(9, None, u64::MAX)),
            // DeepSeek.
            (Chat, r#"{"prompt_tokens":100,"completion_tokens":20,"prompt_cache_hit_tokens":90,"prompt_cache_miss_tokens":10,"total_tokens":120}"#, said(100, 90, 20)),
            (Chat, r#"{"prompt_cache_hit_tokens":90,"prompt_cache_miss_tokens":10,"completion_tokens":20}"#, said(100, 90, 20)),
            (Chat, r#"{"prompt_tokens":100,"prompt_cache_miss_tokens":10,"completion_tokens":20}"#, said(100, 90, 20)),
            // LiteLLM, OpenRouter: Anthropic's words beside OpenAI's.
            (Chat, r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"cache_read_input_tokens":90,"cache_creation_input_tokens":0,"prompt_tokens_details":{"cached_tokens":null}}"#, Reported { cache_writes: CacheWrites::of(Some(0), None), ..said(100, 90, 20) }),
            (Chat, r#"{"prompt_tokens":10,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":90}}"#, said(100, 90, 20)),
            // Anthropic's and Bedrock's: the cache is apart.
            (Chat, r#"{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":90}"#, said(100, 90, 20)),
            (Chat, r#"{"inputTokens":10,"outputTokens":20,"totalTokens":125,"cacheReadInputTokens":90,"cacheWriteInputTokens":5}"#, Reported { cache_writes: CacheWrites::of(Some(5), None), ..said(105, 90, 20) }),
            (Responses, r#"{"input_tokens":100,"output_tokens":20,"total_tokens":120,"cache_read_input_tokens":90}"#, said(100, 90, 20)),
            (Responses, r#"{"prompt_tokens":100,"completion_tokens":20}"#, said(100, None, 20)),
            // Gemini's own.
            (Chat, r#"{"promptTokenCount":100,"candidatesTokenCount":20,"thoughtsTokenCount":300,"totalTokenCount":420,"cachedContentTokenCount":50}"#, said(100, 50, 320)),
            (Chat, r#"{"promptTokenCount":100,"thoughtsTokenCount":300,"toolUsePromptTokenCount":7,"totalTokenCount":407}"#, said(107, None, 300)),
            // Cohere.
            (Chat, r#"{"billed_units":{"input_tokens":5,"output_tokens":2},"tokens":{"input_tokens":71,"output_tokens":4}}"#, said(71, None, 4)),
            (Chat, r#"{"billed_units":{"input_tokens":5,"output_tokens":2}}"#, said(5, None, 2)),
            // Voyage, Jina.
            (Embeddings, r#"{"total_tokens":10}"#, said(10, None, 0)),
            (Embeddings, r#"{"prompt_tokens":10,"total_tokens":12}"#, said(10, None, 0)),
        ];
        for (endpoint, usage, expected) in rows {
            assert_eq!(read(endpoint, usage), expected, "{usage}");
        }
    }
}
