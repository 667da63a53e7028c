//! Puts the document together: the routes of the table, the schemas of the code's own types.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::routes::{Auth, Body, ROUTES, Route};
use super::{answers, parameters, requests, wire};
use crate::http::account::{earnings, key_body, keys, payments, redeem, withdrawals};
use crate::http::admin::{self, audit, overview, session};
use crate::http::inference::{models, quote};
use crate::http::public::{reads, stats};
use crate::store::{invites as codes, key_view, ledger, refund, summary, usage};

/// The whole document.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Coordinator",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "description": "Prepaid access to inference servers. Money is whole micro-USD (1 USD = 1,000,000), \
                            prices are micro-USD per 1,000,000 tokens, times are RFC 3339 in UTC.",
        },
        "servers": [{"url": "/"}],
        "tags": TAGS.map(|(name, says)| json!({"name": name, "description": says})),
        "paths": paths(),
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, sk-db-…"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key"},
            },
        },
    })
}

const TAGS: [(&str, &str); 5] = [
    ("Without a key", "Anybody may ask"),
    ("Inference", "With a key of the scope inference"),
    ("Account", "With any key of the account"),
    ("Keys and withdrawals", "With a key of the scope manage"),
    ("Admin", "With an admin's key, or the session of the admin page"),
];

const fn tag(auth: Auth) -> &'static str {
    let [(nobody, _), (inference, _), (key, _), (manage, _), (admin, _)] = TAGS;
    match auth {
        Auth::Nobody => nobody,
        Auth::Inference => inference,
        Auth::Key => key,
        Auth::Manage => manage,
        Auth::Admin => admin,
    }
}

fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for route in ROUTES {
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
        "tags": [tag(route.auth)],
        "parameters": parameters,
        "responses": answers::of_route(route),
        "security": if route.auth == Auth::Nobody { json!([]) } else { json!([{"bearer": []}, {"header": []}]) },
    });
    if let (Body::Json(schema) | Body::Maybe(schema), Some(operation)) = (route.body, operation.as_object_mut()) {
        let required = matches!(route.body, Body::Json(_));
        operation.insert(
            "requestBody".into(),
            json!({
                "required": required,
                "content": {"application/json": {"schema": reference(schema)}},
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

/// A reference to the schema of that name.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schemas by name: those named here, and those that they refer to.
pub fn schemas() -> BTreeMap<String, Value> {
    let mut found: Vec<(String, RefOr<Schema>)> = Vec::new();
    macro_rules! collect {
        ($($type:ty),* $(,)?) => {$(
            found.push((<$type as ToSchema>::name().into_owned(), <$type as PartialSchema>::schema()));
            <$type as ToSchema>::schemas(&mut found);
        )*};
    }
    collect![
        wire::ErrorEnvelope,
        wire::AnthropicError,
        wire::SessionView,
        wire::Health,
        wire::Version,
        wire::TokenCount,
        reads::Pricing,
        stats::Stats,
        models::ModelList,
        models::ModelView,
        payments::BalanceView,
        usage::UsageRow,
        summary::Total,
        ledger::Entry,
        ledger::Credited,
        ledger::Debited,
        refund::Refunded,
        quote::QuoteView,
        key_view::KeyView,
        keys::Made,
        keys::OwnKey,
        key_body::KeyBody,
        redeem::Redeem,
        admin::invites::Create,
        codes::Invite,
        codes::Redeemed,
        earnings::Earnings,
        withdrawals::Body,
        withdrawals::OwnWithdrawal,
        withdrawals::Requested,
        admin::withdrawals::Paid,
        admin::withdrawals::Reject,
        crate::store::withdrawals::Withdrawal,
        session::SignInBody,
        session::SetupBody,
        overview::Overview,
        audit::AuditView,
        admin::accounts::AccountView,
        admin::accounts::NewAccountBody,
        admin::accounts::AccountPatch,
        admin::credit::CreditBody,
        admin::admins::NewAdminBody,
        admin::admins::AdminPatch,
        crate::store::admins::AdminView,
        admin::refunds::RefundBody,
        admin::events::EventView,
        admin::prices::AdminPricing,
        admin::prices::PriceVersion,
        admin::prices::PriceBody,
        admin::provider_view::ProviderView,
        admin::provider_view::ProbeView,
        admin::providers::NewProviderBody,
        admin::providers::ProviderPatch,
        wire::PathIds,
    ];
    let own = found.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()));
    let requests = requests::schemas().into_iter().map(|(name, schema)| (name.to_owned(), schema));
    own.chain(requests).collect()
}
