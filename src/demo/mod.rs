//! The built-in demo provider: an inference server without a model, on a loopback port of its own.
//!
//! The coordinator uses it over a socket like any other provider. It speaks every dialect, streams at a
//! model's pace, counts its tokens honestly, and can take on the habits of real servers ([`Imitate`]).
//! Beside the fields of the dialects it knows `ignore_eos`, and for tests `demo_tokens` (exactly that many),
//! `demo_delay_ms` (a token, 0 to 1000) and `demo_cached_tokens` (how many of the prompt come from a cache). A user who
//! writes `Call the tool NAME {"its":"arguments"}` gets that call.

mod tokens;
mod synth;
mod prompt;
mod generate;
mod ask;
mod reading;
mod sse;
mod imitate;
mod chat;
mod completions;
mod responses;
mod messages;
mod embeddings;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::dev::Server;
use actix_web::web::{self, Bytes, Data, PayloadConfig, ServiceConfig};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer};
use serde_json::{Value, json};

pub use self::imitate::{Imitate, UnknownServer};

use self::ask::{Ask, Unanswerable};
use self::generate::{Generated, Want};
use self::prompt::Prompt;
use self::sse::Script;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// The largest body that is read, in bytes.
const LARGEST_BODY: usize = 32 << 20;
/// How many prompts the servers that cache them remember.
const REMEMBERED: usize = 4096;

/// Starts the demo provider on 127.0.0.1, on a free port: its address, and the server to await or stop.
///
/// Call it in an async runtime of actix. It takes no signals: it stops when the caller stops it.
///
/// # Errors
/// No port can be had, or no thread.
pub fn start(models: Vec<String>, style: Imitate, api_key: Option<Secret>) -> std::io::Result<(SocketAddr, Server)> {
    // Loading the tokenizer takes half a second in a debug build: not at the cost of the first request.
    std::thread::Builder::new().name("demo-tokens".into()).spawn(|| tokens::count("warm"))?;
    let demo = Data::from(Arc::new(Demo::new(models, style, api_key)));
    let server = HttpServer::new(move || App::new().configure(|app| routes(app, demo.clone())))
        .workers(1)
        .tcp_nodelay(true)
        // Or a caller who has gone would be noticed only when there is something to write.
        .h1_allow_half_closed(false)
        // Its only client is the coordinator, which may hold connections without using them at once.
        .client_request_timeout(std::time::Duration::ZERO)
        .disable_signals()
        .shutdown_timeout(1)
        .bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = server.addrs().first().copied().ok_or_else(|| std::io::Error::other("the demo has no address"))?;
    Ok((address, server.run()))
}

fn routes(app: &mut ServiceConfig, demo: Data<Demo>) {
    let more = !demo.style.is_chat_alone();
    app.app_data(demo)
        .app_data(PayloadConfig::new(LARGEST_BODY))
        .route("/health", web::get().to(|| async { HttpResponse::Ok().json(json!({"status": "ok"})) }))
        .route("/v1/models", web::get().to(models))
        .route("/v1/models/{id:.+}", web::get().to(model))
        .route("/v1/chat/completions", web::post().to(infer::<chat::Chat>))
        .route("/v1/completions", web::post().to(infer::<completions::Completions>))
        .default_service(web::to(nothing_here));
    if more {
        app.route("/v1/responses", web::post().to(infer::<responses::Responses>))
            .route("/v1/messages", web::post().to(infer::<messages::Messages>))
            .route("/v1/messages/count_tokens", web::post().to(count_tokens))
            .route("/v1/embeddings", web::post().to(embed));
    }
}

/// What the server knows.
struct Demo {
    models: Vec<String>,
    style: Imitate,
    api_key: Option<Secret>,
    started: i64,
    answered: AtomicU64,
    /// Seeds of prompts seen before, for the servers that cache them.
    seen: Mutex<HashSet<u64>>,
}

/// A request understood and answered; what is left is to write it down.
struct Job {
    /// Makes the ids of the answer; without a prefix.
    id: String,
    /// Seconds since 1970.
    created: i64,
    ask: Ask,
    /// Tokens of the prompt, and how many of them count as cached.
    prompt: usize,
    cached: usize,
    answer: Generated,
    style: Imitate,
}

/// What makes a dialect of the inference API.
trait Dialect: 'static {
    /// The fields that bound the output; the lowest counts.
    const MAX_FIELDS: &[&str];
    /// The field with the texts that end it.
    const STOP_FIELD: &str = "stop";
    /// Understands and answers.
    fn job(demo: &Demo, ask: Ask) -> Result<Job, Unanswerable>;
    /// The answer as one document.
    fn whole(job: &Job) -> Value;
    /// The answer as a stream.
    fn script(job: Job) -> Script;
}

impl Demo {
    fn new(models: Vec<String>, style: Imitate, api_key: Option<Secret>) -> Self {
        let started = Timestamp::now().seconds();
        Self { models, style, api_key, started, answered: AtomicU64::new(0), seen: Mutex::default() }
    }

    fn job(&self, ask: Ask, prompt: &Prompt, want: &Want) -> Job {
        let number = self.answered.fetch_add(1, Ordering::Relaxed);
        let answer = generate::answer(prompt, want, &ask.limits);
        let cached = ask.cached.unwrap_or_else(|| self.remembered(prompt)).min(prompt.tokens);
        let id = format!("demo{:016x}{number:08x}", prompt.seed);
        let created = Timestamp::now().seconds();
        Job { id, created, prompt: prompt.tokens, cached, answer, style: self.style, ask }
    }

    /// Tokens of a prompt that were seen before. As in llama.cpp, one is always computed anew.
    fn remembered(&self, prompt: &Prompt) -> usize {
        if !self.style.caches() {
            return 0;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        if seen.insert(prompt.seed) { 0 } else { prompt.tokens.saturating_sub(1) }
    }

    fn check_key(&self, request: &HttpRequest) -> Result<(), Unanswerable> {
        let Some(key) = &self.api_key else { return Ok(()) };
        let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
        let bearer = header("authorization").and_then(|v| v.strip_prefix("Bearer "));
        match bearer.or_else(|| header("x-api-key")) {
            Some(given) if same(given.as_bytes(), key.expose().as_bytes()) => Ok(()),
            _ => Err(Unanswerable::plain(401, "authentication_error", Some("invalid_api_key"), "invalid API key")),
        }
    }

    fn check_model(&self, name: &str) -> Result<(), Unanswerable> {
        if self.models.iter().any(|m| m == name) {
            return Ok(());
        }
        let message = format!("the model {name:?} does not exist");
        let (kind, code) = ("invalid_request_error", Some("model_not_found"));
        Err(Unanswerable { param: Some("model".into()), ..Unanswerable::plain(404, kind, code, message) })
    }

    fn ask(&self, body: Result<Bytes, Error>, max: &[&str], stop: &str) -> Result<Ask, Unanswerable> {
        let body = body.map_err(|e| {
            let status = e.as_response_error().status_code().as_u16();
            Unanswerable::plain(status, "invalid_request_error", None, format!("the body cannot be read: {e}"))
        })?;
        let ask = Ask::read(&body, max, stop)?;
        self.check_model(&ask.model)?;
        Ok(ask)
    }

    fn entry(&self, model: &str) -> Value {
        // Anthropic's SDK reads the same list and looks for its own fields.
        json!({"id": model, "object": "model", "created": self.started, "owned_by": "demo",
            "type": "model", "display_name": model, "created_at": "2026-01-01T00:00:00Z"})
    }
}

/// Compares in a time that does not depend on where two texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

async fn infer<D: Dialect>(
    demo: Data<Demo>,
    request: HttpRequest,
    body: Result<Bytes, Error>,
) -> Result<HttpResponse, Unanswerable> {
    demo.check_key(&request)?;
    let job = D::job(&demo, demo.ask(body, D::MAX_FIELDS, D::STOP_FIELD)?)?;
    let delay = job.ask.delay;
    if job.ask.stream {
        return Ok(D::script(job).respond(delay));
    }
    sse::wait(delay, job.answer.tokens).await;
    Ok(HttpResponse::Ok().json(D::whole(&job)))
}

async fn count_tokens(
    demo: Data<Demo>,
    request: HttpRequest,
    body: Result<Bytes, Error>,
) -> Result<HttpResponse, Unanswerable> {
    demo.check_key(&request)?;
    let ask = demo.ask(body, &[], "stop_sequences")?;
    Ok(HttpResponse::Ok().json(messages::count_tokens(&ask)?))
}

async fn embed(
    demo: Data<Demo>,
    request: HttpRequest,
    body: Result<Bytes, Error>,
) -> Result<HttpResponse, Unanswerable> {
    demo.check_key(&request)?;
    let ask = demo.ask(body, &[], "stop")?;
    Ok(HttpResponse::Ok().json(embeddings::answer(&ask)?))
}

async fn models(demo: Data<Demo>, request: HttpRequest) -> Result<HttpResponse, Unanswerable> {
    demo.check_key(&request)?;
    let data: Vec<Value> = demo.models.iter().map(|m| demo.entry(m)).collect();
    let (first, last) = (demo.models.first(), demo.models.last());
    let list = json!({"object": "list", "data": data, "has_more": false, "first_id": first, "last_id": last});
    Ok(HttpResponse::Ok().json(list))
}

async fn model(demo: Data<Demo>, request: HttpRequest, id: web::Path<String>) -> Result<HttpResponse, Unanswerable> {
    demo.check_key(&request)?;
    demo.check_model(&id)?;
    Ok(HttpResponse::Ok().json(demo.entry(&id)))
}

async fn nothing_here(request: HttpRequest, demo: Data<Demo>) -> Result<HttpResponse, Unanswerable> {
    if demo.style.is_chat_alone() {
        return Ok(HttpResponse::NotFound().content_type("text/html").body("Not Found"));
    }
    let message = format!("{} {} is not implemented", request.method(), request.path());
    Err(Unanswerable::plain(404, "invalid_request_error", None, message))
}

#[cfg(test)]
fn test_job<D: Dialect>(style: Imitate, body: &Value) -> Job {
    let demo = Demo::new(vec!["m".into()], style, None);
    D::job(&demo, demo.ask(Ok(Bytes::from(body.to_string())), D::MAX_FIELDS, D::STOP_FIELD).unwrap()).unwrap()
}

#[cfg(test)]
mod tests;
