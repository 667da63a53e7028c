//! Counting the tokens of a prompt, for free: by a provider if one can, else by the tokenizer here.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Asked, Caller, Refusal, Relay};
use crate::domain::json::TopLevel;
use crate::domain::request::InferenceRequest;
use crate::upstream::{Client, On, Target};

/// Where a provider counts.
const PATH: &str = "/messages/count_tokens";
/// A provider that thinks longer about a count is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// A count is not worth asking more of them.
const MOST_ASKED: usize = 2;
/// A longer answer is no count.
const LONGEST_ANSWER: usize = 64 << 10;

#[derive(serde::Deserialize)]
struct Counted {
    input_tokens: u64,
}

impl Relay {
    /// The input tokens of a request to `/v1/messages`. Nothing is held, charged or written down.
    ///
    /// # Errors
    /// The body cannot be read, or the model is not served, or not for this key.
    pub async fn count_tokens(&self, client: &Client, caller: &Caller, asked: &Asked) -> Result<u64, Refusal> {
        self.open_for_work()?;
        let request = InferenceRequest::read(asked.endpoint, &asked.body)?;
        let offered = self.offered(caller, &request)?;
        let targets = offered.offers.iter().map(|offer| self.target(offer)).collect();
        // What cannot be asked is counted here.
        let ranked = self.providers.rank(targets, Instant::now()).unwrap_or_default();
        for target in ranked.iter().take(MOST_ASKED) {
            let Some(_slot) = self.providers.take(target) else { continue };
            let answer = tokio::time::timeout(PATIENCE, ask(client, target, asked)).await;
            if let Ok(Some(count)) = answer {
                return Ok(count);
            }
        }
        Ok(self.count_prompt(caller, &offered, (asked.endpoint, asked.body.clone()), u64::MAX).await)
    }
}

/// One provider's count. Many servers have no such endpoint: that is no failure of theirs.
async fn ask(client: &Client, target: &Target, asked: &Asked) -> Option<u64> {
    let top = TopLevel::read(&asked.body).ok()?;
    let mut edits = top.edit();
    edits.set("model", serde_json::Value::from(target.upstream_model.as_str()).to_string());
    let body = edits.apply().map_or_else(|| asked.body.clone(), Bytes::from);
    let path = if asked.query.is_empty() { PATH.to_owned() } else { format!("{PATH}?{}", asked.query) };
    let answer = client.post(target, &path, &asked.headers, body, On::Any).await.ok()?;
    if !(200..=299).contains(&answer.status) || answer.is_encoded {
        return None;
    }
    let body = answer.body.whole(LONGEST_ANSWER).await.ok()?;
    serde_json::from_slice(&body).ok().map(|counted: Counted| counted.input_tokens)
}
