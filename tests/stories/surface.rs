//! The rest of the surface: models, health, version, unknown paths, other origins.

use serde_json::{Value, json};

use crate::world::answer::honest;
use crate::world::http::{Reply, Request};
use crate::world::{MODEL, World, chat_body};

#[test]
fn models_have_a_name_a_price_and_endpoints() {
    let mut world = World::unstarted("5.00", honest(10, 5));
    let set = ["price", "set", MODEL, "--input", "0.10", "--output", "0.78", "--name", "The Qwen", "--context", "4096"];
    world.server.ok(&set);
    let slashed = "mlx-community/gemma-4-26b-a4b-it-8bit";
    let url = world.upstream.url();
    world.server.ok(&["provider", "add", "g", "--url", &url, "--account", "owner", "--model", slashed]);
    world.server.start(&[]);
    let get = |target: &str| world.server.http().get(target, &world.payer.key);

    let listed = get("/v1/models").expect(200).json();
    assert_eq!(listed["object"], "list");
    let models = listed["data"].as_array().expect("data");
    let ids: Vec<&str> = models.iter().filter_map(|m| m["id"].as_str()).collect();
    assert!(ids.contains(&MODEL) && ids.contains(&slashed), "{ids:?}");
    let one = models.iter().find(|m| m["id"] == MODEL).unwrap();
    assert_eq!(
        (&one["object"], &one["display_name"], &one["context_length"]),
        (&json!("model"), &json!("The Qwen"), &json!(4096))
    );
    assert_eq!((&one["pricing"]["input_price"], &one["pricing"]["output_price"]), (&json!(100_000), &json!(780_000)));
    let endpoints = one["endpoints"].as_array().expect("endpoints");
    assert!(endpoints.contains(&json!("/v1/chat/completions")), "{endpoints:?}");
    assert!(one["created"].is_i64() && one["owned_by"].is_string(), "what the OpenAI SDK reads: {one}");

    assert_eq!(&get(&format!("/v1/models/{MODEL}")).expect(200).json(), one);
    for path in [slashed.to_owned(), slashed.replace('/', "%2F")] {
        assert_eq!(get(&format!("/v1/models/{path}")).expect(200).json()["id"], slashed, "{path}");
    }
    for unknown in ["nobody", "mlx-community/nothing", "%00", "..%2f..%2fetc%2fpasswd"] {
        let reply = get(&format!("/v1/models/{unknown}"));
        assert_eq!((reply.status, reply.error().1.as_str()), (404, "model_not_found"), "{unknown}");
    }
    assert!(!listed.to_string().contains(&world.upstream.addr.port().to_string()), "no provider's address in {listed}");
}

#[test]
fn health_readiness_and_version_need_no_key() {
    let mut world = World::new(honest(10, 5));
    for target in ["/health", "/readyz"] {
        let reply = world.server.http().send(&Request::get(target)).expect(200);
        assert!(reply.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{target}");
    }
    let version = world.server.http().send(&Request::get("/api/version")).expect(200).json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"), "{version}");
    world.server.stop();
}

#[test]
fn every_response_has_a_request_id_of_its_own() {
    let world = World::new(honest(10, 5));
    let mut ids: Vec<String> =
        ["/health", "/v1/pricing", "/v1/payments/balance", "/v1/nothing", "/v1/models", "/nothing"]
            .iter()
            .map(|target| {
                let reply = world.server.http().get(target, &world.payer.key);
                reply.header("x-request-id").unwrap_or_else(|| panic!("none on {target}")).to_owned()
            })
            .collect();
    assert!(ids.iter().all(|id| id.starts_with("req_")) && ids.is_sorted(), "they sort by time: {ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

/// The envelope of a path or method that is not there.
fn not_implemented(reply: &Reply, method: &str, path: &str, expected: (u16, &str)) {
    assert_eq!(reply.status, expected.0, "{method} {path}: {}", reply.text());
    let (kind, _, _) = reply.error();
    assert_eq!(kind, expected.1, "{method} {path}");
    let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains(method) && message.contains(path), "{method} {path}: {message}");
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let world = World::new(honest(10, 5));
    let (unknown, wrong) = ((404, "not_found_error"), (405, "invalid_request_error"));
    let rows = [
        ("GET", "/v1/nothing", unknown),
        ("POST", "/v1/images/generations", unknown),
        ("POST", "/v1/audio/speech", unknown),
        ("DELETE", "/v1/files/f_1", unknown),
        ("GET", "/v1/", unknown),
        ("POST", "/v1/chat/completions/extra", unknown),
        ("POST", "/v1/v1/chat/completions", unknown),
        ("PUT", "/v1/chat/completions", wrong),
        ("GET", "/v1/chat/completions", wrong),
        ("POST", "/v1/pricing", wrong),
        ("POST", "/v1/models", wrong),
        ("DELETE", "/v1/payments/balance", wrong),
        ("PATCH", "/v1/payments/usage", wrong),
    ];
    for (method, path, expected) in rows {
        for keyed in [true, false] {
            let request = Request::new(method, path);
            let request = if keyed { request.key(&world.payer.key) } else { request };
            let reply = world.server.http().send(&request);
            not_implemented(&reply, method, path, expected);
            assert_eq!(reply.header("allow").is_some(), expected == wrong, "{method} {path}");
        }
    }
    for path in ["/nothing", "/v2/chat/completions", "//v1/pricing", "/v1/../etc/passwd", "/%2e%2e/etc/passwd"] {
        let reply = world.server.http().send(&Request::get(path));
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
    }
    let reply = world.server.http().send(&Request::post("/chat/completions"));
    assert!(reply.text().contains("the base URL is http://coordinator/v1"), "{}", reply.text());
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    let world = World::new(honest(10, 5));
    for (path, key) in
        [("/health", ""), ("/v1/pricing", ""), ("/v1/payments/usage?format=csv", world.payer.key.as_str())]
    {
        let head = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
        let next = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut conn = world.server.http().connect();
        conn.write((head + next).as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = conn.line() {
            lines.push(line.trim_end().to_ascii_lowercase());
        }
        let text = lines.join("\n");
        assert_eq!(text.matches("http/1.1 200 ok").count(), 2, "{path}: {text}");
        let (first, second) = text.split_once("\n\n").unwrap();
        assert!(second.starts_with("http/1.1 200"), "{path} has a body: {text}");
        let length = first.lines().find_map(|line| line.strip_prefix("content-length: "));
        assert!(length.is_some_and(|n| n != "0") || path.ends_with("csv"), "{path}: {first}");
    }
}

#[test]
fn what_a_404_repeats_is_text() {
    let world = World::new(honest(10, 5));
    let reply = world.server.http().send(&Request::get("/v1/%3Cscript%3Ealert(1)%3C/script%3E"));
    assert_eq!(reply.status, 404);
    assert!(reply.header("content-type").unwrap_or_default().starts_with("application/json"));
    assert!(!reply.text().contains("<script>"), "{}", reply.text());
}

#[test]
fn other_origins_are_served_unless_the_operator_names_some() {
    let origin = "https://chat.example";
    let ask = |world: &World, origin: &str| -> [Reply; 3] {
        let preflight = Request::new("OPTIONS", "/v1/chat/completions")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        let get = Request::get("/v1/pricing").header("origin", origin);
        let post = world.request(&chat_body()).header("origin", origin);
        [preflight, get, post].map(|request| world.server.http().send(&request))
    };
    let served = |reply: &Reply, origin: &str| {
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin), "{}", reply.text());
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        assert!((200..300).contains(&reply.status), "{}", reply.text());
    };
    let world = World::new(honest(10, 5));
    for origin in [origin, "null", "chrome-extension://abcdef"] {
        ask(&world, origin).iter().for_each(|reply| served(reply, origin));
    }
    let named = World::with("5.00", &["--cors-origin", "https://app.example"], honest(10, 5));
    for reply in ask(&named, origin) {
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (403, None));
        assert_eq!(reply.error().0, "permission_error");
    }
    assert!(named.upstream.requests().is_empty());
    ask(&named, "https://app.example").iter().for_each(|reply| served(reply, "https://app.example"));
}

#[test]
fn a_balance_needs_no_scope_and_nothing_else() {
    let world = World::new(honest(10, 5));
    let money: Value = world.money();
    let fields = ["balance_micro_usd", "withdrawable_micro_usd", "held_micro_usd", "available_micro_usd"];
    for field in fields {
        assert!(money[field].is_i64(), "{field} in {money}");
    }
    for field in ["balance_usd", "withdrawable_usd"] {
        assert!(money[field].is_number(), "{field} in {money}");
    }
}
