//! What a scripted upstream answers: steps on the wire, and builders for the usual ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::upstream::Seen;

/// One step of an answer.
#[derive(Debug, Clone)]
pub enum Step {
    /// Write these bytes.
    Send(Vec<u8>),
    /// Wait that long.
    Pause(Duration),
    /// Wait until the story opens the gate.
    Gate(Gate),
    /// Never do anything again.
    Silence,
}

/// What happens to the connection after the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It waits for the next request.
    KeepAlive,
    /// It waits for the next request and closes when it comes: a pooled connection gone stale.
    DropNextRequest,
    /// It is closed.
    Fin,
    /// It is reset.
    Reset,
}

/// A door that the story opens.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// An answer: steps, then an end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub steps: Vec<Step>,
    pub end: End,
}

impl Answer {
    /// These bytes, whatever they are.
    pub fn raw(bytes: impl Into<Vec<u8>>, end: End) -> Self {
        Self { steps: vec![Step::Send(bytes.into())], end }
    }

    /// A JSON answer with a length.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", &body.to_string(), "")
    }

    /// An answer with a length; `headers` are whole lines, each with its CRLF.
    pub fn text(status: u16, kind: &str, body: &str, headers: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        Self::raw(head + body, End::KeepAlive)
    }

    /// A whole chat completion with that `usage` (`Null`: none).
    pub fn chat(usage: Value) -> Self {
        Self::json(200, &completion(usage))
    }

    /// The answer after a step.
    pub fn after(mut self, step: Step) -> Self {
        self.steps.insert(0, step);
        self
    }

    /// The answer, and after it another one's steps and end.
    pub fn after_all(mut self, last: Self) -> Self {
        self.steps.extend(last.steps);
        Self { end: last.end, ..self }
    }

    pub fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Nothing ever comes.
    pub fn never() -> Self {
        Self { steps: vec![Step::Silence], end: End::Fin }
    }

    /// The connection ends without a byte.
    pub fn nothing(end: End) -> Self {
        Self { steps: Vec::new(), end }
    }
}

/// The usual usage object.
pub fn usage(prompt: u64, completion: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt.saturating_add(completion)})
}

/// What a whole chat completion says.
pub const SAID: &str = "The quick brown fox jumps over the lazy dog.";

/// A whole chat completion.
pub fn completion(usage: Value) -> Value {
    let mut body = json!({
        "id": "chatcmpl-up", "object": "chat.completion", "created": 1_777_558_921, "model": "whatever",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}],
    });
    if !usage.is_null() {
        body["usage"] = usage;
    }
    body
}

/// Answers every request by the book: streamed if asked, usage in the stream if asked, never more
/// than the output bound.
pub fn honest(prompt: u64, completion: u64) -> impl Fn(&Seen) -> Answer + Send + Sync + Clone + 'static {
    move |seen| {
        let body = seen.json();
        let bound = body["max_tokens"].as_u64().unwrap_or(u64::MAX);
        let said = usage(prompt, completion.min(bound));
        if body["stream"] != true {
            return Answer::chat(said);
        }
        let stream = Stream::new(usize::try_from(completion.min(bound)).unwrap());
        if body["stream_options"]["include_usage"] == true { stream.usage(said) } else { stream }.answer()
    }
}

/// How a stream breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Fin,
    Reset,
    Silence,
}

/// A chat stream: a role event, `events` content events, a finish event, usage, `[DONE]`.
#[derive(Debug, Clone)]
pub struct Stream {
    events: usize,
    usage: Option<Value>,
    timings: Option<Value>,
    finish: Option<&'static str>,
    done: bool,
    pause: Duration,
    gate: Option<(usize, Gate)>,
    cut: Option<(usize, Cut)>,
}

/// The head of a scripted event stream.
pub const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

impl Stream {
    pub fn new(events: usize) -> Self {
        Self {
            events,
            usage: None,
            timings: None,
            finish: Some("stop"),
            done: true,
            pause: Duration::ZERO,
            gate: None,
            cut: None,
        }
    }

    /// Sends a usage chunk (`"choices":[]`).
    pub fn usage(self, usage: Value) -> Self {
        Self { usage: Some(usage), ..self }
    }

    /// Puts llama.cpp's `timings` on the finish event.
    pub fn timings(self, timings: Value) -> Self {
        Self { timings: Some(timings), ..self }
    }

    /// Without a finish reason.
    pub fn unfinished(self) -> Self {
        Self { finish: None, ..self }
    }

    /// Cut off at its bound.
    pub fn cut_off(self) -> Self {
        Self { finish: Some("length"), ..self }
    }

    /// Without `[DONE]`.
    pub fn without_done(self) -> Self {
        Self { done: false, ..self }
    }

    /// Waits between events.
    pub fn slow(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Waits at the gate before the content event with that number.
    pub fn gate(self, before: usize, gate: &Gate) -> Self {
        Self { gate: Some((before, gate.clone())), ..self }
    }

    /// Breaks off after that many content events.
    pub fn cut(self, after: usize, how: Cut) -> Self {
        Self { cut: Some((after, how)), ..self }
    }

    pub fn answer(self) -> Answer {
        let mut steps = vec![Step::Send(STREAM_HEAD.into())];
        let send = |data: &Value| Step::Send(http_chunk(&format!("data: {data}\n\n")));
        let role = json!({"role": "assistant", "content": ""});
        let reached = |at: usize| self.cut.is_some_and(|(after, _)| after == at);
        for event in 0..=self.events {
            if let Some((_, gate)) = self.gate.as_ref().filter(|(before, _)| *before == event) {
                steps.push(Step::Gate(gate.clone()));
            }
            if event == 0 {
                if !reached(0) || self.cut == Some((0, Cut::Silence)) {
                    steps.push(send(&chunk(&role, &Value::Null)));
                }
            } else {
                if !self.pause.is_zero() {
                    steps.push(Step::Pause(self.pause));
                }
                steps.push(send(&chunk(&json!({"content": format!(" word{event}")}), &Value::Null)));
            }
            if reached(event) {
                return self.broken(steps);
            }
        }
        if let Some(finish) = self.finish {
            let mut last = chunk(&json!({}), &json!(finish));
            if let Some(timings) = &self.timings {
                last["timings"] = timings.clone();
            }
            steps.push(send(&last));
        }
        if let Some(usage) = &self.usage {
            steps.push(send(&usage_chunk(usage)));
        }
        if self.done {
            steps.push(Step::Send(http_chunk("data: [DONE]\n\n")));
        }
        steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        Answer { steps, end: End::KeepAlive }
    }

    fn broken(self, mut steps: Vec<Step>) -> Answer {
        let end = match self.cut {
            Some((_, Cut::Reset)) => End::Reset,
            Some((_, Cut::Silence)) => {
                steps.push(Step::Silence);
                End::Fin
            }
            _ => End::Fin,
        };
        Answer { steps, end }
    }
}

/// One event of a chat stream.
pub fn chunk(delta: &Value, finish: &Value) -> Value {
    json!({
        "id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1_777_558_921, "model": "whatever",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    })
}

/// The usage chunk of a chat stream.
pub fn usage_chunk(usage: &Value) -> Value {
    json!({
        "id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1_777_558_921, "model": "whatever",
        "choices": [], "usage": usage,
    })
}

/// A text as one chunk of a chunked body.
pub fn http_chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}
