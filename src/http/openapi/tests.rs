//! The document is whole, and tells of the routes that there are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document::document;
use crate::http::ROUTES;
use crate::http::shared::route::{Access, Answer};

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("$ref") {
                found.insert(name.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document(ROUTES);
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 40);
    for name in found {
        assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name}");
    }
}

#[test]
fn no_route_is_told_of_twice() {
    let mut seen = BTreeSet::new();
    for route in ROUTES {
        assert!(seen.insert((route.path, route.method)), "{} {}", route.method, route.path);
    }
}

#[actix_web::test]
async fn every_documented_route_is_answered() {
    let bench = crate::http::testing::Bench::new();
    let app = bench.app().await;
    for route in ROUTES {
        let line = format!("{} {}", route.method.to_uppercase(), route.path.replace(['{', '}'], ""));
        let reply = crate::http::testing::call(&app, &line, "", Value::Null).await;
        assert!(!reply.text.contains("is not implemented"), "{line}: {}", reply.text);
    }
}

#[test]
fn what_callers_branch_on_is_documented_where_it_occurs() {
    let document = document(ROUTES);
    let headers = |path: &str, method: &str, status: u16| {
        let headers = &document["paths"][path][method]["responses"][status.to_string()]["headers"];
        headers.as_object().map(|names| names.keys().cloned().collect::<BTreeSet<_>>()).unwrap_or_default()
    };
    for route in ROUTES {
        let has = |status, name: &str| assert!(headers(route.path, route.method, status).contains(name), "{route:?}");
        has(405, "allow");
        has(503, "retry-after");
        if route.access != Access::Anybody {
            has(401, "x-should-retry");
            has(429, "retry-after");
        }
        if matches!(route.answer, Answer::Model) {
            for status in [400, 404, 408, 409, 413, 415, 422, 426, 500, 502, 504] {
                has(status, "x-request-id");
            }
            has(402, "x-should-retry");
            has(402, "x-ratelimit-reset-spend");
            has(504, "x-should-retry");
            has(529, "retry-after");
        }
        // What passes by itself is never said to be final.
        for status in [429, 503, 529] {
            assert!(!headers(route.path, route.method, status).contains("x-should-retry"), "{route:?}");
        }
    }
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        assert!(headers(path, "post", 200).contains("request-id") && headers(path, "post", 401).contains("request-id"));
    }
    assert!(headers("/v1/messages/count_tokens", "post", 200).contains("x-counted-by"));
    let fields = |schema: &str, names: &[&str]| {
        let properties = document["components"]["schemas"][schema].to_string();
        names.iter().for_each(|name| assert!(properties.contains(&format!("\"{name}\"")), "{name} of {schema}"));
    };
    fields("NewProviderBody", &["allow", "ca_pem"]);
    fields("ProviderPatch", &["allow", "ca_pem"]);
    fields("Provider", &["allow", "has_ca", "recounts", "flagged"]);
    fields("PriceBody", &["cache_write_price", "cache_write_1h_price"]);
    fields("Refunded", &["from_provider_micro_usd", "from_house_micro_usd", "debt_micro_usd"]);
    fields("UsageRow", &["cache_write_tokens", "cache_write_1h_tokens"]);
}
