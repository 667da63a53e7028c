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
fn not_implemented(reply: &Reply, method: &str, path: &str) {
    assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
    let (kind, _, _) = reply.error();
    assert_eq!(kind, "not_found_error", "{method} {path}");
    let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains(method) && message.contains(path), "{method} {path}: {message}");
}

#[test]
fn an_unknown_path_or_a_wrong_method_is_404_and_named() {
    let world = World::new(honest(10, 5));
    let unknown = [
        ("GET", "/v1/nothing"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/audio/speech"),
        ("DELETE", "/v1/files/f_1"),
        ("GET", "/v1/"),
        ("PUT", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/pricing"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/payments/balance"),
        ("PATCH", "/v1/payments/usage"),
        ("POST", "/v1/chat/completions/extra"),
    ];
    for (method, path) in unknown {
        for keyed in [true, false] {
            let request = Request::new(method, path);
            let request = if keyed { request.key(&world.payer.key) } else { request };
            not_implemented(&world.server.http().send(&request), method, path);
        }
    }
    for path in ["/nothing", "/v2/chat/completions", "//v1/pricing", "/v1/../etc/passwd", "/%2e%2e/etc/passwd"] {
        let reply = world.server.http().send(&Request::get(path));
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
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
fn other_origins_are_refused_unless_named() {
    let origin = "https://evil.example";
    let ask = |world: &World, origin: &str| -> [Reply; 3] {
        let preflight = Request::new("OPTIONS", "/v1/chat/completions")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        let get = Request::get("/v1/pricing").header("origin", origin);
        let post = world.request(&chat_body()).header("origin", origin);
        [preflight, get, post].map(|request| world.server.http().send(&request))
    };
    let world = World::new(honest(10, 5));
    for reply in ask(&world, origin) {
        let allowed: Vec<&(String, String)> =
            reply.head.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).collect();
        assert_eq!(allowed, Vec::<&(String, String)>::new(), "{}", reply.status);
    }

    let named = World::with("5.00", &["--cors-origin", "https://app.example"], honest(10, 5));
    for reply in ask(&named, origin) {
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    for reply in ask(&named, "https://app.example") {
        assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example"), "{}", reply.text());
        assert!((200..300).contains(&reply.status), "{}", reply.text());
    }
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
