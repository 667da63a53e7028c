//! The document is whole, and tells of the routes that there are.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::document::document;
use super::routes::ROUTES;

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
    let document = document();
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

/// The paths in the code: the texts in `resource("…")`, `get("…")` and `.route("…"`.
fn paths_in(dir: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { panic!("{}", dir.display()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() && !matches!(name.as_str(), "demo" | "openapi") {
            paths_in(&path, found);
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let (code, _) = text.split_once("\nmod tests {").unwrap_or((&text, ""));
        for opening in ["resource(\"", " get(\"", "(get(\"", ".route(\""] {
            found.extend(code.split(opening).skip(1).filter_map(|rest| rest.split('"').next()).map(shape));
        }
    }
}

/// A path with every part that varies called the same.
fn shape(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[test]
fn the_documented_paths_are_those_of_the_server() {
    let mut served = BTreeSet::new();
    paths_in(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http")), &mut served);
    // This room's own: its table would count as the server's.
    served.insert("/openapi.json".to_owned());
    served.extend(crate::domain::request::Endpoint::ALL.map(|endpoint| endpoint.path().to_owned()));
    // The pages and their files are no part of the API.
    served.retain(|path| path != "/" && path != "/admin" && !path.starts_with("/static/"));
    let documented: BTreeSet<String> = ROUTES.iter().map(|route| shape(route.path)).collect();
    assert_eq!(served, documented);
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
