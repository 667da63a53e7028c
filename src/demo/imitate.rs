//! The habits of real servers: where they put usage in the OpenAI dialects, and what they add.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::Job;
use super::sse::{DONE, data};

/// The server whose habits on the wire are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Imitate {
    /// OpenAI itself.
    #[default]
    Plain,
    /// vLLM.
    Vllm,
    /// llama-server of llama.cpp.
    LlamaCpp,
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// SGLang.
    Sglang,
    /// mlx_lm.server: it speaks chat and legacy completions, and nothing else.
    MlxLm,
}

/// No server has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown server {0:?}: plain, vllm, llama.cpp, ollama, lmstudio, sglang or mlx-lm")]
pub struct UnknownServer(String);

impl Imitate {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Vllm, Self::LlamaCpp, Self::Ollama, Self::LmStudio, Self::Sglang, Self::MlxLm];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama.cpp",
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
            Self::Sglang => "sglang",
            Self::MlxLm => "mlx-lm",
        }
    }

    /// It keeps prompts, and says how much of one it had.
    pub const fn caches(self) -> bool {
        matches!(self, Self::LlamaCpp | Self::Sglang | Self::MlxLm)
    }

    /// It has neither of the newer dialects, nor embeddings.
    pub const fn is_chat_alone(self) -> bool {
        matches!(self, Self::MlxLm)
    }

    /// Every delta of a chat says `"role":"assistant"`.
    pub const fn repeats_role(self) -> bool {
        matches!(self, Self::Ollama | Self::MlxLm)
    }
}

impl FromStr for Imitate {
    type Err = UnknownServer;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|s| s.as_str() == name).ok_or_else(|| UnknownServer(name.to_owned()))
    }
}

/// The usage of the two older OpenAI dialects when `completion` tokens are out.
pub fn usage(job: &Job, completion: usize) -> Value {
    let mut usage = json!({"prompt_tokens": job.prompt, "completion_tokens": completion,
        "total_tokens": job.prompt.saturating_add(completion)});
    let cached = json!({"cached_tokens": job.cached});
    let mut set = |name: &str, value: Value| {
        if let Value::Object(fields) = &mut usage {
            fields.insert(name.to_owned(), value);
        }
    };
    match job.style {
        Imitate::Plain | Imitate::LmStudio => {
            set("prompt_tokens_details", cached);
            set("completion_tokens_details", json!({"reasoning_tokens": 0}));
        }
        Imitate::Vllm => set("prompt_tokens_details", if job.cached == 0 { Value::Null } else { cached }),
        Imitate::LlamaCpp | Imitate::MlxLm => set("prompt_tokens_details", cached),
        Imitate::Sglang => {
            set("prompt_tokens_details", cached);
            set("reasoning_tokens", json!(0));
        }
        Imitate::Ollama => {}
    }
    usage
}

/// llama.cpp's own counters: the prompt is `cache_n` + `prompt_n`.
pub fn timings(job: &Job) -> Value {
    let ms = job.ask.delay.as_millis().try_into().unwrap_or(u64::MAX);
    let predicted = u64::try_from(job.answer.tokens).unwrap_or(u64::MAX).saturating_mul(ms);
    json!({"cache_n": job.cached, "prompt_n": job.prompt.saturating_sub(job.cached), "prompt_ms": 1,
        "predicted_n": job.answer.tokens, "predicted_ms": predicted})
}

/// What every document of the two older OpenAI dialects begins with.
pub fn envelope(job: &Job, object: &str, choices: Value) -> Map<String, Value> {
    let prefix = if object == "text_completion" { "cmpl" } else { "chatcmpl" };
    let mut fields = Map::new();
    fields.insert("id".into(), json!(format!("{prefix}-{}", job.id)));
    fields.insert("object".into(), json!(object));
    fields.insert("created".into(), json!(job.created));
    fields.insert("model".into(), json!(job.ask.model));
    fields.insert("system_fingerprint".into(), json!("demo"));
    fields.insert("choices".into(), choices);
    fields
}

/// A whole answer: the usage, and what the server adds to it.
pub fn whole(job: &Job, object: &str, choice: &Value) -> Value {
    let mut fields = envelope(job, object, json!([choice]));
    fields.insert("usage".into(), usage(job, job.answer.tokens));
    extras(job, &mut fields);
    Value::Object(fields)
}

fn extras(job: &Job, fields: &mut Map<String, Value>) {
    match job.style {
        Imitate::LlamaCpp => fields.insert("timings".into(), timings(job)),
        Imitate::LmStudio => {
            let stats = json!({"tokens_per_second": 125, "time_to_first_token": 0.008, "stop_reason": "eosFound"});
            fields.insert("stats".into(), stats)
        }
        _ => None,
    };
}

/// Comes before the first event.
pub fn opening(style: Imitate) -> Option<String> {
    (style == Imitate::MlxLm).then(|| ": keepalive 1/1\n\n".to_owned())
}

/// A chunk in mid-stream, `so_far` tokens out.
pub fn chunk(job: &Job, object: &str, choice: &Value, so_far: usize) -> String {
    let mut fields = envelope(job, object, json!([choice]));
    let shown = match job.style {
        Imitate::Vllm if job.ask.continuous_usage => Some(usage(job, so_far)),
        Imitate::Plain if job.ask.include_usage => Some(Value::Null),
        Imitate::Ollama if job.ask.include_usage => {
            Some(json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}))
        }
        _ => None,
    };
    if let Some(usage) = shown {
        fields.insert("usage".into(), usage);
    }
    data(&Value::Object(fields))
}

/// The end of a stream: the chunk with the finish reason, the usage where this server puts it, `[DONE]`.
pub fn closing(job: &Job, object: &str, choice: &Value) -> Vec<String> {
    let total = job.answer.tokens;
    let legacy = object == "text_completion";
    let mut frames = Vec::new();
    if job.style == Imitate::LlamaCpp && (legacy || !job.ask.include_usage) {
        let mut last = envelope(job, object, json!([choice]));
        if legacy {
            // llama.cpp sends it here asked for or not.
            last.insert("usage".into(), usage(job, total));
        }
        extras(job, &mut last);
        frames.push(data(&Value::Object(last)));
    } else {
        frames.push(chunk(job, object, choice, total));
        if job.ask.include_usage {
            let label = if job.style == Imitate::MlxLm && !legacy { "chat.completion" } else { object };
            let mut last = envelope(job, label, json!([]));
            last.insert("usage".into(), usage(job, total));
            extras(job, &mut last);
            frames.push(data(&Value::Object(last)));
        }
    }
    frames.push(DONE.to_owned());
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for style in Imitate::ALL {
            assert_eq!(style.as_str().parse(), Ok(style));
        }
        assert!("tgi".parse::<Imitate>().is_err());
    }
}
