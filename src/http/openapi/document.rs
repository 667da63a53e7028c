//! Puts the document together: the routes of the table, the schemas of the code's own types.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use super::parameters::reference;
use super::{answers, parameters, requests, wire};
use crate::http::shared::route::{Access, Answer, Body, Described, Route, describe};

/// The whole document.
pub fn document(routes: &[Route]) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Coordinator",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "description": "Prepaid access to inference servers. Money is whole micro-USD (1 USD = 1,000,000), \
                            prices are micro-USD per 1,000,000 tokens, times are RFC 3339 in UTC.",
        },
        "servers": [{"url": "./"}],
        "tags": TAGS.map(|(name, says)| json!({"name": name, "description": says})),
        "paths": paths(routes),
        "components": {
            "schemas": schemas(routes),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, sk-db-…"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key"},
            },
        },
    })
}

const TAGS: [(&str, &str); 6] = [
    ("Without a key", "Anybody may ask"),
    ("Inference", "With a key of the scope inference"),
    ("Account", "With any key of the account"),
    ("Keys and withdrawals", "With a key of the scope manage"),
    ("Machines", "With a key of the scope provide: what coordinator join asks"),
    ("Admin", "With an admin's key, or the session of the admin page"),
];

const fn tag(access: Access) -> &'static str {
    let [(nobody, _), (inference, _), (key, _), (manage, _), (provide, _), (admin, _)] = TAGS;
    match access {
        Access::Anybody => nobody,
        Access::Inference => inference,
        Access::Key => key,
        Access::Manage => manage,
        Access::Provide => provide,
        Access::Admin => admin,
    }
}

fn paths(routes: &[Route]) -> Map<String, Value> {
    let mut paths = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_owned(), operation(route));
        }
    }
    paths
}

fn operation(route: &Route) -> Value {
    let mut parameters = parameters::of_path(route.path);
    parameters.extend(route.query.split_whitespace().map(parameters::query));
    if route.errors.contains(&422) {
        parameters.push(parameters::idempotency_key());
    }
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.says,
        "tags": [tag(route.access)],
        "parameters": parameters,
        "responses": answers::of_route(route),
        "security": if route.access == Access::Anybody { json!([]) } else { json!([{"bearer": []}, {"header": []}]) },
    });
    if let (Body::Json(schema) | Body::Maybe(schema), Some(operation)) = (route.body, operation.as_object_mut()) {
        let required = matches!(route.body, Body::Json(_));
        operation.insert(
            "requestBody".into(),
            json!({
                "required": required,
                "content": {"application/json": {"schema": reference(&schema.name())}},
            }),
        );
    }
    operation
}

/// Like `post_v1_admin_accounts_account_id_keys`.
fn id(route: &Route) -> String {
    let path = route.path.replace(['{', '}'], "").replace(['/', '-', '.'], "_");
    format!("{}{path}", route.method)
}

/// The schemas by name: those of the routes and of errors, and those that they refer to.
pub fn schemas(routes: &[Route]) -> BTreeMap<String, Value> {
    let mut found: Vec<(String, RefOr<Schema>)> = Vec::new();
    describe::<wire::ErrorEnvelope>(&mut found);
    describe::<wire::AnthropicError>(&mut found);
    describe::<wire::PathIds>(&mut found);
    for described in routes.iter().flat_map(|route| [of_body(route.body), of_answer(route.answer)]).flatten() {
        if let Described::Type(_, describe) = described {
            describe(&mut found);
        }
    }
    let own = found.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()));
    let requests = requests::schemas().into_iter().map(|(name, schema)| (name.to_owned(), schema));
    own.chain(requests).collect()
}

const fn of_body(body: Body) -> Option<Described> {
    match body {
        Body::None => None,
        Body::Json(described) | Body::Maybe(described) => Some(described),
    }
}

const fn of_answer(answer: Answer) -> Option<Described> {
    match answer {
        Answer::One(_, described) | Answer::Many(described) | Answer::Rows(described) => Some(described),
        Answer::Empty(_) | Answer::Model | Answer::Text(_) => None,
    }
}
