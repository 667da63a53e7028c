//! The demo provider over HTTP: keys, refusals, caches, and a socket of its own.

use std::io::{Read, Write};
use std::net::TcpStream;

use actix_web::http::StatusCode;
use actix_web::test;

use super::*;

const KEY: &str = "demo-key";

fn body(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "demo_delay_ms": 0});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn call(style: Imitate, requests: Vec<test::TestRequest>) -> Vec<(StatusCode, Value)> {
    let demo = Data::new(Demo::new(vec!["m".into(), "a/b".into()], style, Some(Secret::new(KEY.into()))));
    let app = test::init_service(App::new().configure(|app| routes(app, demo))).await;
    let mut answers = Vec::new();
    for request in requests {
        let answer = test::call_service(&app, request.to_request()).await;
        let status = answer.status();
        let body = test::read_body(answer).await;
        answers.push((status, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)))));
    }
    answers
}

fn get(path: &str) -> test::TestRequest {
    test::TestRequest::get().uri(path).insert_header(("x-api-key", KEY))
}

fn post(path: &str, body: &Value) -> test::TestRequest {
    test::TestRequest::post().uri(path).insert_header(("authorization", format!("Bearer {KEY}"))).set_json(body)
}

#[actix_web::test]
async fn what_is_wrong_is_said_in_one_shape() {
    let chat = "/v1/chat/completions";
    let bad_json = post(chat, &json!({})).set_payload("{");
    let cases = [
        (test::TestRequest::get().uri("/v1/models"), 401, json!("invalid_api_key")),
        (post(chat, &body(&json!({}))).insert_header(("authorization", "Bearer no")), 401, json!("invalid_api_key")),
        (bad_json, 400, Value::Null),
        (post(chat, &json!({"model": "no"})), 404, json!("model_not_found")),
        (post(chat, &json!({"model": "m"})), 400, Value::Null),
        (post("/v1/messages", &body(&json!({}))), 400, Value::Null),
        (post("/v1/embeddings", &json!({"model": "m"})), 400, Value::Null),
        (get("/v1/models/no"), 404, json!("model_not_found")),
        (get(chat), 404, Value::Null),
        (post("/v1/nothing", &json!({})), 404, Value::Null),
    ];
    let (requests, wanted): (Vec<_>, Vec<_>) = cases.into_iter().map(|(r, s, c)| (r, (s, c))).unzip();
    for (at, ((status, answer), (want, code))) in
        call(Imitate::Plain, requests).await.into_iter().zip(wanted).enumerate()
    {
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (want, &code), "case {at}: {answer}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["type"].is_string());
    }
}

#[actix_web::test]
async fn every_endpoint_answers() {
    let bounded = body(&json!({"max_tokens": 4}));
    let requests = vec![
        get("/v1/models"),
        get("/v1/models/a/b"),
        test::TestRequest::get().uri("/health"),
        post("/v1/chat/completions", &bounded),
        post("/v1/completions", &json!({"model": "m", "prompt": "hi", "max_tokens": 4, "demo_delay_ms": 0})),
        post("/v1/responses", &json!({"model": "m", "input": "hi", "max_output_tokens": 4, "demo_delay_ms": 0})),
        post("/v1/messages", &bounded),
        post("/v1/messages/count_tokens", &bounded),
        post("/v1/embeddings", &json!({"model": "m", "input": "hi"})),
    ];
    let answers = call(Imitate::Plain, requests).await;
    assert!(answers.iter().all(|(status, _)| status.is_success()), "{answers:?}");
    assert_eq!(answers[0].1["data"][1]["id"], "a/b");
    assert_eq!(answers[1].1["id"], "a/b");
    for (at, field) in [(3, "completion_tokens"), (4, "completion_tokens"), (5, "output_tokens"), (6, "output_tokens")]
    {
        assert_eq!(answers[at].1["usage"][field], 4, "{:?}", answers[at]);
    }
    assert_eq!(answers[7].1["input_tokens"], answers[6].1["usage"]["input_tokens"]);
}

#[actix_web::test]
async fn a_server_that_caches_knows_a_prompt_the_second_time() {
    let ask = || post("/v1/chat/completions", &body(&json!({"max_tokens": 1})));
    for style in Imitate::ALL {
        let answers = call(style, vec![ask(), ask()]).await;
        let cached = |at: usize| answers[at].1["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
        let prompt = answers[0].1["usage"]["prompt_tokens"].as_u64().unwrap();
        assert_eq!((cached(0), cached(1)), (0, if style.caches() { prompt - 1 } else { 0 }), "{style:?}");
    }
}

#[actix_web::test]
async fn one_of_them_speaks_chat_alone() {
    for style in Imitate::ALL {
        let ask = |path| post(path, &body(&json!({"max_tokens": 1, "input": "hi"})));
        let answers = call(style, vec![ask("/v1/responses"), ask("/v1/messages"), ask("/v1/chat/completions")]).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.0.as_u16()).collect();
        let newer = if style == Imitate::MlxLm { 404 } else { 200 };
        assert_eq!(statuses, [newer, newer, 200], "{style:?}");
    }
}

#[actix_web::test]
async fn it_listens_on_a_loopback_port_until_it_is_stopped() {
    let (address, server) = start(vec!["m".into()], Imitate::Plain, None).unwrap();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    let answer = tokio::task::spawn_blocking(move || {
        let body = body(&json!({"stream": true, "max_tokens": 3})).to_string();
        let mut socket = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}",
            body.len()
        );
        write!(socket, "{head}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap();
    assert!(address.ip().is_loopback());
    assert!(answer.contains("content-type: text/event-stream") && answer.contains("data: [DONE]\n\n"), "{answer}");
    handle.stop(true).await;
    running.await.unwrap().unwrap();
}
