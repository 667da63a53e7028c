//! HTTP ⇄ domain: routes, extractors, one error table, pages. Rows are shown in the shapes that `store` gives them.
//!
//! This file is the table of routes: a row binds method, path, who may ask, handler and documentation. What the
//! server serves, what `Allow` names and what `/openapi.json` says all come from it. Handlers stand in rooms by who may
//! ask (`account`, `admin`, `inference`, `machines`, `public`), what they share in `shared`; `local`, `metrics` and
//! `redirect` are sockets of their own: the command line's, Prometheus's, port 80.

mod account;
mod admin;
mod inference;
pub mod local;
mod machines;
pub mod metrics;
mod openapi;
mod pages;
mod public;
mod redirect;
mod server;
mod small;
mod shared;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::net::TcpListener;

use actix_web::dev::ServiceRequest;
pub use actix_web::dev::{Server, ServerHandle};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use crate::certs::Acceptor;
use crate::domain::endpoint::Endpoint;
use crate::store;
use crate::tunnel;
use account::{alert, earnings, key_body, keys, payments, redeem, withdrawals};
use admin::machines as joining;
use admin::{accounts, admins, alerts, audit, credit, events, invites, overview, prices, providers, refunds, session};
use inference::{count_tokens, models, quote, run};
use openapi::wire;
use public::{capacity, reads, stats};
pub use redirect::redirect;
pub use shared::origin::read as read_origin;
pub use shared::outside::{Network, Outside, PublicUrl};
use shared::route::{self, Access, Route, Served, at, delete, get, patch, post, proved, put};
use shared::unknown;
pub use state::{AppState, Settings};

const USAGE: &str = "limit before model key since until outcome format";
const SUMMARY: &str = "group_by model key since until outcome";
const LEDGER: &str = "limit before since until format";

/// An endpoint that runs models.
macro_rules! runs {
    ($endpoint:expr, $request:literal, $says:literal) => {
        post(
            $endpoint.path(),
            at!(service Inference, |request: ServiceRequest| run::run($endpoint, request)),
            $says,
        )
        .model($request)
    };
}

/// The API, in the order in which paths are tried.
const ROUTES: &[Route] = &[
    runs!(Endpoint::ChatCompletions, "ChatRequest", "OpenAI Chat"),
    runs!(Endpoint::Completions, "CompletionRequest", "OpenAI completions, the legacy API"),
    runs!(Endpoint::Embeddings, "EmbeddingRequest", "OpenAI embeddings"),
    runs!(Endpoint::Responses, "ResponsesRequest", "OpenAI Responses"),
    runs!(Endpoint::Compact, "CompactRequest", "OpenAI Responses, compaction"),
    runs!(Endpoint::Messages, "MessagesRequest", "Anthropic Messages"),
    post(
        "/v1/messages/count_tokens",
        at!(by_itself Inference, count_tokens::count_tokens),
        "Count the tokens of a message; free",
    )
    .json_named("MessagesRequest")
    .one::<wire::TokenCount>()
    .errors(&[404]),
    get("/v1/models", at!(Inference, models::list), "The models that the key may use").one::<models::ModelList>(),
    get("/v1/models/capacity", at!(Anybody, capacity::get), "How busy the servers of each model are")
        .one::<capacity::ModelCapacities>(),
    get("/v1/models/{model}", at!(Inference, models::get), "One model").with_rest(".+").one::<models::ModelView>(),
    // Without a key.
    get("/v1/pricing", at!(Anybody, reads::pricing), "The prices in force").one::<reads::Pricing>(),
    get("/v1/stats", at!(Anybody, stats::get), "Totals of requests and tokens, providers up, models served")
        .one::<stats::Stats>(),
    get("/health", at!(Anybody, reads::health), "The process is alive").one::<wire::Health>(),
    get("/readyz", at!(Anybody, reads::ready), "New work is taken").one::<wire::Health>(),
    get("/api/version", at!(Anybody, reads::version), "Which version runs").one::<wire::Version>(),
    get("/openapi.json", at!(Anybody, document), "This document").text("application/json"),
    get("/docs", at!(Anybody, pages::docs), "This document, to read").text("text/html"),
    // With any key of the account.
    get("/v1/payments/balance", at!(Key, payments::balance), "The account's money").one::<payments::BalanceView>(),
    get("/v1/payments/usage", at!(Key, payments::usage), "Requests and what they cost, newest first")
        .query(USAGE)
        .rows::<store::usage::UsageRow>(),
    get("/v1/payments/usage/summary", at!(Key, payments::summary), "Totals by day, model, key, or day and model")
        .query(SUMMARY)
        .many::<store::summary::Total>(),
    get("/v1/payments/ledger", at!(Key, payments::ledger), "Every other movement of money, newest first")
        .query(LEDGER)
        .rows::<store::ledger::Entry>(),
    post("/v1/payments/quote", at!(Key, quote::quote), "What a request would cost; runs nothing")
        .json_named("QuoteRequest")
        .one::<quote::QuoteView>()
        .errors(&[404]),
    get("/v1/key", at!(Key, keys::own), "The calling key").one::<keys::OwnKey>(),
    post("/v1/invite/redeem", at!(Key, redeem::redeem), "Credit a code, once")
        .json::<redeem::Redeem>()
        .one::<store::invites::Redeemed>()
        .errors(&[404, 409, 422]),
    get("/v1/provider/account-earnings", at!(Key, earnings::get), "What the account earned as a provider")
        .query("since until")
        .one::<earnings::Earnings>(),
    get("/v1/payments/alert", at!(Key, alert::get), "When the account is told of its balance")
        .one::<alert::AlertView>(),
    get(tunnel::MACHINES, at!(Key, machines::own::list), "The account's machines that join, and how they do")
        .many::<machines::own::OwnMachine>(),
    // With a key of the scope `manage`.
    put("/v1/payments/alert", at!(Manage, alert::put), "Set below which balance the account is told")
        .json::<alert::Body>()
        .one::<alert::AlertView>(),
    get("/v1/keys", at!(Manage, keys::list), "The account's keys, newest first").many::<store::key_view::KeyView>(),
    post("/v1/keys", at!(Manage, keys::create), "Make a key; it is shown once")
        .maybe_json::<key_body::KeyBody>()
        .made::<keys::Made>(),
    get("/v1/keys/{key_id}", at!(Manage, keys::get), "One key").one::<store::key_view::KeyView>(),
    patch("/v1/keys/{key_id}", at!(Manage, keys::update), "Change a key")
        .json::<key_body::KeyBody>()
        .one::<store::key_view::KeyView>()
        .errors(&[409]),
    delete("/v1/keys/{key_id}", at!(Manage, keys::revoke), "Revoke a key for good").one::<store::key_view::KeyView>(),
    post("/v1/keys/{key_id}/rotate", at!(Manage, keys::rotate), "Give a key a new secret; it is shown once")
        .one::<keys::Made>()
        .errors(&[409]),
    get("/v1/payments/withdrawals", at!(Manage, withdrawals::list), "The account's withdrawals, newest first")
        .query("limit before status")
        .many::<withdrawals::OwnWithdrawal>(),
    post("/v1/payments/withdrawals", at!(Manage, withdrawals::request), "Ask for earnings to be paid out")
        .json::<withdrawals::Body>()
        .made::<withdrawals::Requested>()
        .errors(&[402, 409, 422]),
    // The admin page's session.
    get("/v1/admin/session", at!(Anybody, session::get), "Who is signed in").one::<wire::SessionView>(),
    post("/v1/admin/session", at!(Anybody, session::sign_in), "Sign in")
        .json::<session::SignInBody>()
        .one::<wire::SessionView>()
        .errors(&[401, 403, 429]),
    delete("/v1/admin/session", at!(Anybody, session::sign_out), "Sign out").errors(&[403]),
    post(
        "/v1/admin/setup",
        at!(Anybody, session::setup),
        "Make the first admin, with the token that the server printed",
    )
    .json::<session::SetupBody>()
    .made::<wire::SessionView>()
    .errors(&[401, 403]),
    // With a key of the scope `provide`.
    post(tunnel::MACHINES, at!(Provide, machines::register), "Register a machine that is about to join")
        .json::<tunnel::Hello>()
        .made::<tunnel::Welcome>()
        .errors(&[409]),
    get(tunnel::TUNNEL, at!(Provide, machines::connect), "The WebSocket of a machine that registered")
        .upgrades()
        .errors(&[404]),
    // Admins.
    get("/v1/admin/overview", at!(Admin, overview::get), "What stands where").query("days").one::<overview::Overview>(),
    get("/v1/admin/audit", at!(Admin, audit::audit), "Derive every balance again from the rows")
        .one::<store::audit::Report>(),
    get("/v1/admin/events", at!(Admin, events::list), "Who did what, when: newest first")
        .query("limit before q")
        .many::<events::EventView>(),
    get("/v1/admin/alerts", at!(Admin, alerts::get), "Where alerts go, and how many wait").one::<alerts::AlertsView>(),
    put("/v1/admin/alerts", at!(Admin, alerts::put), "Set where alerts go: all of it; what is left out is off")
        .json::<alerts::AlertsBody>()
        .one::<alerts::AlertsView>(),
    post("/v1/admin/alerts/test", at!(Admin, alerts::test), "Send a test now, and say whether it arrived")
        .one::<alerts::TestedView>(),
    get("/v1/admin/alerts/events", at!(Admin, alerts::list), "Alerts and where they went, newest first")
        .query("limit before")
        .many::<alerts::AlertView>(),
    get("/v1/admin/accounts", at!(Admin, accounts::list), "Find accounts, newest first")
        .query("q status limit before")
        .many::<accounts::AccountView>(),
    post("/v1/admin/accounts", at!(Admin, accounts::create), "Make an account")
        .json::<accounts::NewAccountBody>()
        .made::<accounts::AccountView>()
        .errors(&[409]),
    get("/v1/admin/accounts/{account_id}", at!(Admin, accounts::get), "One account").one::<accounts::AccountView>(),
    patch("/v1/admin/accounts/{account_id}", at!(Admin, accounts::patch), "Rename, suspend or resume an account")
        .json::<accounts::AccountPatch>()
        .one::<accounts::AccountView>()
        .errors(&[409]),
    get("/v1/admin/accounts/{account_id}/keys", at!(Admin, admin::keys::list), "Its keys, newest first")
        .many::<store::key_view::KeyView>(),
    post(
        "/v1/admin/accounts/{account_id}/keys",
        at!(Admin, admin::keys::create),
        "Make a key for it; it is shown once",
    )
    .maybe_json::<key_body::KeyBody>()
    .made::<keys::Made>(),
    delete("/v1/admin/accounts/{account_id}/keys/{key_id}", at!(Admin, admin::keys::revoke), "Revoke one of its keys")
        .one::<store::key_view::KeyView>(),
    get("/v1/admin/accounts/{account_id}/usage", at!(Admin, accounts::usage), "Its requests, newest first")
        .query(USAGE)
        .rows::<store::served::ServedRow>(),
    get("/v1/admin/accounts/{account_id}/usage/summary", at!(Admin, accounts::summary), "Its totals")
        .query(SUMMARY)
        .many::<store::summary::Total>(),
    get("/v1/admin/accounts/{account_id}/ledger", at!(Admin, accounts::ledger), "Its ledger, newest first")
        .query(LEDGER)
        .rows::<store::ledger::Entry>(),
    post("/v1/admin/credit", at!(Admin, credit::credit), "Add credit")
        .json::<credit::CreditBody>()
        .one::<store::ledger::Credited>()
        .errors(&[404, 409, 422]),
    post(
        "/v1/admin/debit",
        at!(Admin, credit::debit),
        "Take credit back that was added by mistake: never what requests hold, earnings last",
    )
    .json::<credit::CreditBody>()
    .one::<store::ledger::Debited>()
    .errors(&[404, 409, 422]),
    get("/v1/admin/admins", at!(Admin, admins::list), "Admins, by name").many::<store::admins::AdminView>(),
    post("/v1/admin/admins", at!(Admin, admins::create), "Make an admin")
        .json::<admins::NewAdminBody>()
        .made::<store::admins::AdminView>()
        .errors(&[409]),
    patch(
        "/v1/admin/admins/{admin_id}",
        at!(Admin, admins::set_password),
        "Give an admin another password: ends its sessions and keys",
    )
    .json::<admins::AdminPatch>()
    .one::<store::admins::AdminView>(),
    delete("/v1/admin/admins/{admin_id}", at!(Admin, admins::remove), "Remove an admin, its sessions and its keys")
        .errors(&[409]),
    post("/v1/admin/refund", at!(Admin, refunds::post), "Reverse a charge, once, and the earning with it")
        .json::<refunds::RefundBody>()
        .one::<store::refund::Refunded>()
        .errors(&[404, 409, 422]),
    get("/v1/admin/pricing", at!(Admin, prices::list), "The prices in force, with their versions")
        .one::<prices::AdminPricing>(),
    put("/v1/admin/pricing", at!(Admin, prices::put), "Put a price in force")
        .json::<prices::PriceBody>()
        .one::<prices::PriceVersion>()
        .errors(&[409, 422]),
    get("/v1/admin/pricing/history", at!(Admin, prices::history), "All versions, newest first")
        .query("limit before model")
        .many::<prices::PriceVersion>(),
    delete("/v1/admin/pricing/{model}", at!(Admin, prices::remove), "Take a model off the list").with_rest(".+"),
    get("/v1/admin/providers", at!(Admin, providers::list), "Providers: how they are set, how they do")
        .many::<admin::provider_view::ProviderView>(),
    post("/v1/admin/providers", at!(Admin, providers::create), "Add a provider, and probe it")
        .json::<providers::NewProviderBody>()
        .made::<admin::provider_view::ProviderView>()
        .errors(&[409]),
    post("/v1/admin/providers/invite", at!(Admin, joining::invite), "Invite a machine: a key and a line, shown once")
        .json::<joining::MachineInviteBody>()
        .made::<keys::Made>()
        .errors(&[409, 422]),
    patch("/v1/admin/providers/{provider_id}", at!(Admin, providers::patch), "Change, enable or disable a provider")
        .json::<providers::ProviderPatch>()
        .one::<admin::provider_view::ProviderView>()
        .errors(&[409]),
    delete(
        "/v1/admin/providers/{provider_id}",
        at!(Admin, providers::remove),
        "Remove a provider; what it earned stays",
    ),
    post(
        "/v1/admin/providers/{provider_id}/probe",
        at!(Admin, providers::probe),
        "Try what a provider answers to, and what it reports",
    )
    .one::<admin::provider_view::ProbeView>(),
    post("/v1/admin/providers/{provider_id}/disconnect", at!(Admin, joining::disconnect), "Send a machine away")
        .maybe_json::<joining::DisconnectBody>()
        .one::<admin::provider_view::ProviderView>()
        .errors(&[409]),
    get("/v1/admin/withdrawals", at!(Admin, admin::withdrawals::list), "Withdrawals, newest first")
        .query("limit before status")
        .many::<store::withdrawals::Withdrawal>(),
    post("/v1/admin/withdrawals/{withdrawal_id}/paid", at!(Admin, admin::withdrawals::paid), "It was paid")
        .maybe_json::<admin::withdrawals::Paid>()
        .one::<store::withdrawals::Withdrawal>()
        .errors(&[409, 422]),
    post(
        "/v1/admin/withdrawals/{withdrawal_id}/reject",
        at!(Admin, admin::withdrawals::reject),
        "It is refused; the money returns",
    )
    .maybe_json::<admin::withdrawals::Reject>()
    .one::<store::withdrawals::Withdrawal>()
    .errors(&[409, 422]),
    get("/v1/admin/invite-codes", at!(Admin, invites::list), "Invite codes, newest first")
        .query("limit before")
        .many::<store::invites::Invite>(),
    post("/v1/admin/invite-codes", at!(Admin, invites::create), "Make an invite code")
        .json::<invites::Create>()
        .made::<store::invites::Invite>()
        .errors(&[409, 422]),
    delete("/v1/admin/invite-codes/{code}", at!(Admin, invites::remove), "Let nobody redeem a code any more"),
];

/// The pages and their files: no part of the API.
const PAGES: &[Route] = &[
    get("/", at!(Anybody, pages::index), "The account page").text("text/html"),
    get("/admin", at!(Anybody, pages::admin), "The admin page").text("text/html"),
    get("/static/{version}/{path}", at!(Anybody, pages::file), "A file of the pages").with_rest(".*"),
];

/// Starts the server on `listener`, https with `tls`; it runs until its handle stops it.
///
/// # Errors
/// The listener cannot be used.
pub fn start(state: AppState, listener: TcpListener, tls: Option<Acceptor>) -> std::io::Result<Server> {
    server::start(state, listener, tls, routes)
}

/// Runs a future, and what it spawns, on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    actix_web::rt::System::new().block_on(future)
}

/// Runs a server beside the caller, until its handle stops it.
pub fn spawn(server: Server) {
    actix_web::rt::spawn(async move {
        if let Err(e) = server.await {
            tracing::error!(error = %e, "a server ended");
        }
    });
}

fn routes(app: &mut ServiceConfig) {
    route::mount(app, ROUTES);
    route::mount(app, PAGES);
    app.default_service(web::to(unknown_path));
}

/// `GET /openapi.json`
async fn document() -> HttpResponse {
    openapi::answer(ROUTES)
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    unknown::unknown_path(&request, ROUTES.iter().map(|route| route.path))
}
