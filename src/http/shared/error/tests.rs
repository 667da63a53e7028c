//! The table of errors, row by row.

use std::time::Duration;

use super::*;
use crate::dialect::request::BadRequest;
use crate::relay::Refusal;
use crate::store::StoreError;

#[test]
fn each_refusal_has_its_row_in_the_table() {
    let rows = [
        (
            Refusal::BadRequest(BadRequest { param: Some("n".into()), message: "n".into() }),
            400,
            "invalid_request_error",
            None,
        ),
        (Refusal::ModelNotFound("m".into()), 404, "not_found_error", Some("model_not_found")),
        (Refusal::ModelNotAllowed("m".into()), 403, "permission_error", None),
        (Refusal::HeldByOthers, 402, "insufficient_funds", Some("insufficient_quota")),
        (Refusal::InsufficientFunds, 402, "insufficient_funds", Some("insufficient_quota")),
        (Refusal::SpendLimitReached(None), 402, "insufficient_quota", Some("insufficient_quota")),
        (Refusal::TooManyAtOnce, 429, "rate_limit_error", Some("rate_limit_exceeded")),
        (Refusal::ProvidersFull(None), 429, "rate_limit_error", Some("rate_limit_exceeded")),
        (Refusal::ProvidersDown(Duration::from_millis(1_500)), 503, "service_unavailable", None),
        (by_server(400), 400, "invalid_request_error", None),
        (by_server(404), 404, "not_found_error", None),
        (by_server(409), 409, "conflict_error", None),
        (by_server(413), 413, "invalid_request_error", Some("payload_too_large")),
        (by_server(422), 422, "invalid_request_error", None),
        (busy(429), 429, "rate_limit_error", Some("rate_limit_exceeded")),
        (busy(503), 503, "service_unavailable", None),
        (busy(529), 529, "overloaded_error", None),
        (Refusal::NoRoom, 503, "service_unavailable", None),
        (Refusal::NoRoomToTranslate, 503, "service_unavailable", None),
        (Refusal::ProviderFailed("x".into()), 502, "provider_error", None),
        (Refusal::ProviderError { says: "x".into(), is_final: false }, 502, "provider_error", None),
        (Refusal::ProviderTimeout("x".into()), 504, "provider_error", None),
        (Refusal::Draining, 503, "service_unavailable", None),
        (Refusal::Store(StoreError::Full), 503, "service_unavailable", None),
        (Refusal::Store(StoreError::Unwritable), 503, "service_unavailable", None),
    ];
    for (refusal, status, kind, code) in rows {
        let text = refusal.to_string();
        let e = ApiError::from(refusal);
        assert_eq!((e.status.as_u16(), e.kind, e.code), (status, kind, code), "{text}");
        let response = e.response(Envelope::OpenAi, None);
        let headers = response.headers();
        assert_eq!(headers.contains_key("retry-after"), matches!(status, 429 | 503 | 529), "{text}");
        assert_eq!(headers.contains_key("x-should-retry"), matches!(status, 402 | 504), "{text}");
    }
    let at_fault = Refusal::ProviderError { says: "x".into(), is_final: true };
    let response = ApiError::from(at_fault).response(Envelope::OpenAi, None);
    assert_eq!(response.headers().get("x-should-retry").map(HeaderValue::as_bytes), Some(&b"false"[..]));
}

fn by_server(status: u16) -> Refusal {
    let reason = Reason { message: "x".into(), ..Reason::default() };
    Refusal::ByServer(Box::new(ServerError { status, reason }))
}

fn busy(status: u16) -> Refusal {
    Refusal::ProviderBusy { status, says: None, wait: None }
}

#[test]
fn a_servers_words_are_kept_in_the_callers_dialect() {
    let kept = |kind: &str, envelope| {
        let reason = Reason {
            message: "too long".into(),
            code: Some("context_length_exceeded".into()),
            kind: Some(kind.into()),
            param: Some("messages".into()),
            numbers: [("n_ctx".to_owned(), json!(4_096)), ("type".to_owned(), json!(1))].into_iter().collect(),
        };
        let e = ApiError::from(Refusal::ByServer(Box::new(ServerError { status: 400, reason })));
        let body: Value = serde_json::from_str(&e.body(envelope, None)).unwrap_or_default();
        body.get("error").cloned().unwrap_or_default()
    };
    let words = |kind: &str| {
        json!({"message": "too long", "type": kind, "code": "context_length_exceeded", "param": "messages",
            "n_ctx": 4_096})
    };
    assert_eq!(kept("BadRequestError", Envelope::OpenAi), words("BadRequestError"));
    assert_eq!(kept("BadRequestError", Envelope::Anthropic), words("invalid_request_error"));
    assert_eq!(kept("exceed_context_size_error", Envelope::Anthropic), words("exceed_context_size_error"));
}

#[test]
fn what_is_repeated_of_a_request_is_shortened() {
    let long = "é".repeat(100_000);
    let e = ApiError::invalid(Some(&long), format!("{long} is not implemented"));
    for envelope in [Envelope::OpenAi, Envelope::Anthropic] {
        let body = e.body(envelope, None);
        assert!(body.len() < 5_000 && body.contains("(200019 bytes)"), "{} bytes", body.len());
    }
    for (text, short) in [("", ""), ("ab", "ab"), ("abc", "ab… (3 bytes)"), ("aéb", "a… (4 bytes)")] {
        assert_eq!(shortened(text, 2), short);
    }
}

#[test]
fn the_envelope_is_that_of_the_dialect() {
    for (path, envelope) in [
        ("/v1/messages", Envelope::Anthropic),
        ("/v1/messages/count_tokens", Envelope::Anthropic),
        ("/v1/messagesx", Envelope::OpenAi),
        ("/v1/chat/completions", Envelope::OpenAi),
    ] {
        assert_eq!(envelope_of(path), envelope, "{path}");
    }
    let e = ApiError::invalid(Some("n"), "n must be 1");
    assert_eq!(
        e.body(Envelope::OpenAi, None),
        r#"{"error":{"code":null,"message":"n must be 1","param":"n","type":"invalid_request_error"}}"#
    );
    assert_eq!(
        e.body(Envelope::Anthropic, None),
        r#"{"error":{"message":"n must be 1","type":"invalid_request_error"},"request_id":null,"type":"error"}"#
    );
}
