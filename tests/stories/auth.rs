//! Keys: one answer for every cause of a refusal, and none of them costs anything.

use serde_json::{Value, json};

use crate::world::answer::honest;
use crate::world::http::{Reply, Request};
use crate::world::{World, chat_body, text};

/// A key with the right shape, id and CRC but another secret: what only the stored hash can refuse.
fn with_another_secret(key: &str) -> String {
    let (body, _) = key.split_at(key.len() - 7);
    let (id, secret) = body.rsplit_once('-').unwrap();
    let swapped: String = secret.chars().rev().collect();
    with_crc(&format!("{id}-{swapped}"))
}

/// A key with the right shape and CRC whose id is nobody's.
fn with_another_id(key: &str) -> String {
    let (body, _) = key.split_at(key.len() - 7);
    let (_, secret) = body.rsplit_once('-').unwrap();
    with_crc(&format!("sk-db-0123456789ab-{secret}"))
}

/// The body of a key with the 7 base32 digits of its CRC-32.
fn with_crc(body: &str) -> String {
    let crc = crc32fast::hash(body.as_bytes());
    let digit = |place: u32| {
        char::from(b"0123456789abcdefghjkmnpqrstvwxyz"[usize::try_from(u64::from(crc) >> (5 * place) & 31).unwrap()])
    };
    body.chars().chain((0..7).rev().map(digit)).collect()
}

fn refused(reply: &Reply, how: &str) -> Value {
    assert_eq!(reply.status, 401, "{how}: {}", reply.text());
    let (kind, code, _) = reply.error();
    assert_eq!((kind.as_str(), code.as_str()), ("authentication_error", "invalid_api_key"), "{how}");
    reply.json()["error"].clone()
}

#[test]
fn every_cause_of_a_refusal_has_one_text() {
    let world = World::new(honest(10, 5));
    let server = &world.server;
    let good = world.payer.key.as_str();
    let extra = |name: &str| {
        let key = server.ok(&["key", "create", "payer", "--name", name]);
        (text(&key, "key"), text(&key, "id"))
    };
    let (revoked, revoked_id) = extra("revoked");
    server.ok(&["key", "revoke", &revoked_id]);
    let (expired, _) = extra("expired");
    server.alter("update keys set expires_at = 1000 where name = 'expired'");

    let bearer = |key: &str| vec![("authorization".to_owned(), format!("Bearer {key}"))];
    let api_key = |key: &str| vec![("x-api-key".to_owned(), key.to_owned())];
    let mut bad_crc = good.to_owned();
    let last = bad_crc.pop().unwrap();
    bad_crc.push(if last == '0' { '1' } else { '0' });
    let rows = [
        ("no header", Vec::new()),
        ("an empty bearer", bearer("")),
        ("another scheme", vec![("authorization".into(), format!("Basic {good}"))]),
        ("no scheme", vec![("authorization".into(), good.to_owned())]),
        ("malformed", bearer("sk-proj-something")),
        ("short", bearer(&good[..good.len() - 1])),
        ("long", bearer(&format!("{good}0"))),
        ("upper case", bearer(&good.to_uppercase())),
        ("a bad CRC", bearer(&bad_crc)),
        ("an unknown id", bearer(&with_another_id(good))),
        ("a wrong secret", bearer(&with_another_secret(good))),
        ("revoked", bearer(&revoked)),
        ("expired", bearer(&expired)),
        ("an empty x-api-key", api_key("")),
        ("a malformed x-api-key", api_key("nonsense")),
        ("a wrong secret in x-api-key", api_key(&with_another_secret(good))),
        ("both, and both are junk", [bearer("more junk"), api_key("junk")].concat()),
        ("a megabyte", bearer(&"k".repeat(100_000))),
        ("not ASCII", bearer("sk-db-é")),
    ];
    let mut texts = Vec::new();
    for (how, headers) in rows {
        for (method, target) in
            [("POST", "/v1/chat/completions"), ("GET", "/v1/payments/balance"), ("GET", "/v1/models")]
        {
            let mut request = Request::new(method, target);
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            let reply = server.http().send(&if method == "POST" { request.json(&chat_body()) } else { request });
            if how == "a megabyte" {
                assert!(matches!(reply.status, 400..=499), "{how}: {}", reply.status);
            } else {
                texts.push(refused(&reply, how));
                assert_eq!(reply.header("x-should-retry"), Some("false"), "{how}");
            }
        }
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "one text for every cause: {texts:?}");
    assert!(world.upstream.requests().is_empty());
    assert_eq!((world.balance(), world.rows().len()), (5_000_000, 0));
}

#[test]
fn two_keys_of_ours_that_differ_are_refused_naming_both_headers() {
    let world = World::new(honest(10, 5));
    let other = text(&world.server.ok(&["key", "create", "payer"]), "key");
    let [good, other] = [&world.payer.key, &other].map(|key| format!("Bearer {key}"));
    for (name, value) in [("x-api-key", other.trim_start_matches("Bearer ")), ("authorization", &other)] {
        let request = Request::post("/v1/chat/completions").header("authorization", &good).header(name, value);
        let reply = world.server.http().send(&request.json(&chat_body()));
        let said = refused(&reply, name)["message"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains("Authorization") && said.contains("x-api-key"), "{said}");
        assert_eq!(reply.header("x-should-retry"), Some("false"));
    }
    assert!(world.upstream.requests().is_empty());
}

#[test]
fn either_header_or_both_with_the_same_key() {
    let world = World::new(honest(10, 5));
    let key = world.payer.key.as_str();
    let bearer = format!("Bearer {key}");
    let lower = format!("bearer {key}");
    let ways = [
        vec![("authorization", bearer.as_str())],
        vec![("Authorization", lower.as_str())],
        vec![("x-api-key", key)],
        vec![("X-Api-Key", key)],
        vec![("authorization", bearer.as_str()), ("x-api-key", key)],
        // What agents send beside it: the login they have stored.
        vec![("authorization", "Bearer sk-ant-oat01-stored"), ("x-api-key", key)],
        vec![("authorization", bearer.as_str()), ("x-api-key", "sk-ant-api03-stored")],
        vec![("authorization", "Basic dTpw"), ("x-api-key", key)],
    ];
    let count = ways.len();
    for way in ways {
        let request = way.iter().fold(Request::post("/v1/chat/completions"), |r, (name, value)| r.header(name, value));
        world.server.http().send(&request.json(&chat_body())).expect(200);
    }
    assert_eq!(world.rows().len(), count);
}

#[test]
fn a_key_made_or_revoked_while_the_server_runs_counts_at_once() {
    let world = World::new(honest(10, 5));
    let made = world.server.ok(&["key", "create", "payer", "--name", "late"]);
    let (key, id) = (text(&made, "key"), text(&made, "id"));
    world.server.http().get("/v1/payments/balance", &key).expect(200);
    let request = Request::post("/v1/chat/completions").key(&key).json(&chat_body());
    world.server.http().send(&request).expect(200);
    assert_eq!(world.row(1)["key_id"], json!(id));
    world.server.ok(&["key", "revoke", &id]);
    refused(&world.server.http().send(&request), "revoked after it was used");
    refused(&world.server.http().get("/v1/payments/balance", &key), "revoked after it was used");
    world.chat(&chat_body()).expect(200);
}

#[test]
fn a_wrong_secret_after_the_right_one_is_refused() {
    // The cache of verified keys must not take the id for the key.
    let world = World::new(honest(10, 5));
    for _ in 0..3 {
        world.chat(&chat_body()).expect(200);
        let forged =
            Request::post("/v1/chat/completions").key(&with_another_secret(&world.payer.key)).json(&chat_body());
        refused(&world.server.http().send(&forged), "a forged key");
    }
    assert_eq!(world.rows().len(), 3);
}

#[test]
fn a_suspended_account_is_403_until_it_is_resumed() {
    let world = World::new(honest(10, 5));
    world.server.ok(&["account", "suspend", "payer"]);
    let reply = world.chat(&chat_body());
    assert_eq!((reply.status, reply.error().0.as_str()), (403, "permission_error"), "{}", reply.text());
    assert!(world.upstream.requests().is_empty());
    world.server.ok(&["account", "resume", "payer"]);
    world.chat(&chat_body()).expect(200);
}

#[test]
fn a_key_without_the_scope_is_403() {
    let world = World::new(honest(10, 5));
    let manage = text(&world.server.ok(&["key", "create", "payer", "--scope", "manage"]), "key");
    let request = Request::post("/v1/chat/completions").key(&manage).json(&chat_body());
    let reply = world.server.http().send(&request);
    assert_eq!((reply.status, reply.error().0.as_str()), (403, "permission_error"), "{}", reply.text());
    world.server.http().get("/v1/payments/balance", &manage).expect(200);
    let both = ["key", "create", "payer", "--scope", "manage", "--scope", "inference"];
    let both = text(&world.server.ok(&both), "key");
    world.server.http().send(&Request::post("/v1/chat/completions").key(&both).json(&chat_body())).expect(200);
}

#[test]
fn a_key_shows_only_its_own_accounts_money() {
    let world = World::new(honest(10, 5));
    world.chat(&chat_body()).expect(200);
    let owner = world.server.http().get("/v1/payments/usage", &world.owner.key).expect(200).json();
    assert_eq!(owner, json!([]), "what the owner's provider served is not what the owner used");
    let target = format!("/v1/payments/usage?key={}", world.payer.key_id);
    assert_eq!(world.server.http().get(&target, &world.owner.key).expect(200).json(), json!([]));
}

#[test]
fn many_keys_never_seen_before_are_all_served() {
    let world = World::new(honest(10, 5));
    let keys: Vec<String> = (0..30).map(|_| text(&world.server.ok(&["key", "create", "payer"]), "key")).collect();
    std::thread::scope(|scope| {
        for key in &keys {
            let request = Request::post("/v1/chat/completions").key(key).json(&chat_body());
            let http = world.server.http();
            scope.spawn(move || http.send(&request).expect(200));
        }
    });
    assert_eq!(world.rows().len(), keys.len());
}
