//! Whole answers of real servers.

use super::super::WholeAnswer;
use super::*;
use Endpoint::{ChatCompletions as Chat, Completions, Embeddings, Messages, Responses};

#[test]
fn every_answer_reports_and_takes_the_receipt() {
    #[rustfmt::skip]
    let rows = [
        ("llama-server/chat.txt", Chat, said(22, 0, 8), 5..=14),
        ("llama-server/chat-again-cached.txt", Chat, said(22, 21, 8), 5..=14),
        ("llama-server/chat-tools.txt", Chat, said(142, 0, 34), 5..=14),
        ("llama-server/chat-logprobs.txt", Chat, said(22, 21, 2), 1..=5),
        ("llama-server/chat-n2.txt", Chat, said(22, 21, 6), 8..=20),
        ("llama-server/chat-natural-stop.txt", Chat, said(22, 21, 25), 15..=60),
        ("llama-server/completion.txt", Completions, said(5, 1, 6), 5..=20),
        ("llama-server/completion-echo.txt", Completions, said(5, 4, 6), 5..=14),
        ("llama-server/completion-token-prompt.txt", Completions, said(3, 1, 4), 3..=12),
        ("llama-server/embeddings.txt", Embeddings, said(3, None, 0), 0..=0),
        ("llama-server/embeddings-batch.txt", Embeddings, said(5, None, 0), 0..=0),
        ("llama-server/embeddings-base64.txt", Embeddings, said(3, None, 0), 0..=0),
        ("llama-server/responses.txt", Responses, said(14, 13, 6), 4..=12),
        ("llama-server/messages.txt", Messages, said(22, 21, 6), 4..=14),
        ("llama-server/messages-no-max-tokens.txt", Messages, said(14, 13, 161), 150..=500),
        ("vllm/chat.json", Chat, said(17, None, 6), 5..=5),
        ("vllm/embeddings.json", Embeddings, said(5, None, 0), 0..=0),
        ("ollama/chat.json", Chat, said(14, None, 6), 5..=5),
        ("lmstudio/chat.json", Chat, said(12, None, 5), 5..=5),
        ("sglang/chat.json", Chat, said(11, 8, 10), 8..=8),
        ("mlx/chat.json", Chat, said(22, 21, 5), 5..=5),
        ("llama-cpp-python/chat.json", Chat, said(22, None, 5), 5..=5),
        ("openai/responses.json", Responses, said(36, 30, 9), 5..=5),
        ("anthropic/messages.json", Messages, Reported { cache_writes: wrote(10), ..said(135, 100, 89) }, 8..=14),
    ];
    for (name, endpoint, reported, estimate) in rows {
        let body = fixture(name);
        let answer = WholeAnswer::read(endpoint, body.clone().into()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(answer.judged().believed, reported, "{name}");
        assert!(estimate.contains(&answer.estimate_completion()), "{name}: {}", answer.estimate_completion());
        let with_receipt = text(&answer.with_receipt(&receipt(reported)).concat());
        assert_eq!(with_receipt.replace(COST, "").as_bytes(), body, "{name}");
        let value: serde_json::Value = serde_json::from_str(&with_receipt).expect("JSON");
        assert_eq!(value["usage"]["cost_micro_usd"], 7, "{name}");
    }
}

#[test]
fn timings_fill_what_usage_leaves_open() {
    let rows = [
        (r#"{"choices":[],"timings":{"cache_n":1,"prompt_n":2,"predicted_n":3}}"#, said(3, 1, 3)),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":null},"timings":{"cache_n":1,"prompt_n":2,"predicted_n":3}}"#,
            said(9, 1, 3),
        ),
        (
            r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0},"timings":{"predicted_n":3}}"#,
            said(None, None, 0),
        ),
        (r#"{"choices":[],"usage":null}"#, said(None, None, None)),
    ];
    for (body, reported) in rows {
        assert_eq!(WholeAnswer::read(Chat, body.into()).map(|a| a.judged().believed), Ok(reported), "{body}");
    }
}

#[test]
fn an_answer_without_usage_gets_one() {
    let body = b"{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":null}\n";
    let answer = WholeAnswer::read(Chat, body[..].into()).expect("an answer");
    let expected = "{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":9,\
        \"completion_tokens\":2,\"total_tokens\":11,\"prompt_tokens_details\":{\"cached_tokens\":4},\
        \"cost_micro_usd\":7}}\n";
    assert_eq!(text(&answer.with_receipt(&RECEIPT).concat()), expected);
}

#[test]
fn a_large_answer_is_not_copied_and_names_the_model_as_the_client_does() {
    for size in [10, 100_000] {
        let text_of = |model: &str| {
            let content = "x".repeat(size);
            format!(
                "{{\"choices\":[{{\"message\":{{\"content\":\"{content}\"}}}}],\"model\":\"{model}\",\
                 \"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":2,\"cached_tokens\":4}},\"x\":{{\"model\":\"/srv/m\"}}}}"
            )
        };
        let body = Bytes::from(text_of("/srv/m"));
        let answer = WholeAnswer::read(Chat, body.clone()).expect("an answer").named("public");
        let pieces = answer.with_receipt(&RECEIPT);
        assert_eq!(text(&pieces.concat()).replace(COST, ""), text_of("public"));
        if size > 10 {
            assert_eq!(pieces[0].as_ptr(), body.as_ptr());
        }
        let same = WholeAnswer::read(Chat, body).expect("an answer").named("/srv/m");
        assert_eq!(text(&same.with_receipt(&RECEIPT).concat()).replace(COST, ""), text_of("/srv/m"));
    }
}
