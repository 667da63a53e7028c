//! Every route, as its documentation has it. A test holds it against the server's own.

/// A route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `get`, `post` …
    pub method: &'static str,
    /// With `{name}` for what varies.
    pub path: &'static str,
    /// What it does.
    pub says: &'static str,
    /// Who may ask.
    pub auth: Auth,
    /// Names of query parameters, with blanks between.
    pub query: &'static str,
    /// The schema of its body.
    pub body: Body,
    /// What it answers if all is well.
    pub answer: Answer,
    /// Statuses of errors beyond those that follow from the rest.
    pub errors: &'static [u16],
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Anybody.
    Nobody,
    /// Any key of an account.
    Key,
    /// A key with the scope `inference`.
    Inference,
    /// A key with the scope `manage`.
    Manage,
    /// An admin's key or session.
    Admin,
}

/// A request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// None is read.
    None,
    /// JSON of a schema.
    Json(&'static str),
    /// The same, or nothing at all.
    Maybe(&'static str),
}

/// What a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// JSON of a schema.
    One(u16, &'static str),
    /// A JSON array of it.
    Many(&'static str),
    /// The same, or all of it as CSV.
    Rows(&'static str),
    /// Nothing.
    Empty(u16),
    /// What a model says, whole or as events.
    Model,
    /// Text of another kind.
    Text(&'static str),
}

use Answer::{Empty, Many, Model, One, Rows, Text};
use Auth::{Admin, Inference, Key, Manage, Nobody};
use Body::{Json, Maybe};

const fn get(path: &'static str, says: &'static str, auth: Auth, query: &'static str, answer: Answer) -> Route {
    Route { method: "get", path, says, auth, query, body: Body::None, answer, errors: &[] }
}

const fn send(
    method: &'static str,
    path: &'static str,
    says: &'static str,
    auth: Auth,
    body: Body,
    answer: Answer,
    errors: &'static [u16],
) -> Route {
    Route { method, path, says, auth, query: "", body, answer, errors }
}

const fn post(
    path: &'static str,
    says: &'static str,
    auth: Auth,
    body: Body,
    answer: Answer,
    errors: &'static [u16],
) -> Route {
    send("post", path, says, auth, body, answer, errors)
}

const fn delete(path: &'static str, says: &'static str, auth: Auth, answer: Answer) -> Route {
    send("delete", path, says, auth, Body::None, answer, &[])
}

const fn model(path: &'static str, says: &'static str, body: &'static str) -> Route {
    post(path, says, Inference, Json(body), Model, &[402, 404, 409, 422, 426, 502, 504, 529])
}

const USAGE: &str = "limit before model key since until outcome format";
const SUMMARY: &str = "group_by model key since until outcome";
const LEDGER: &str = "limit before since until format";

/// All of them, in the order of the documentation.
pub const ROUTES: &[Route] = &[
    get("/v1/pricing", "The prices in force", Nobody, "", One(200, "Pricing")),
    get("/v1/stats", "Totals of requests and tokens, providers up, models served", Nobody, "", One(200, "Stats")),
    get("/health", "The process is alive", Nobody, "", One(200, "Health")),
    get("/readyz", "New work is taken", Nobody, "", One(200, "Health")),
    get("/api/version", "Which version runs", Nobody, "", One(200, "Version")),
    get("/openapi.json", "This document", Nobody, "", Text("application/json")),
    get("/docs", "This document, to read", Nobody, "", Text("text/html")),
    model("/v1/chat/completions", "OpenAI Chat", "ChatRequest"),
    model("/v1/completions", "OpenAI completions, the legacy API", "CompletionRequest"),
    model("/v1/embeddings", "OpenAI embeddings", "EmbeddingRequest"),
    model("/v1/responses", "OpenAI Responses", "ResponsesRequest"),
    model("/v1/responses/compact", "OpenAI Responses, compaction", "CompactRequest"),
    model("/v1/messages", "Anthropic Messages", "MessagesRequest"),
    post(
        "/v1/messages/count_tokens",
        "Count the tokens of a message; free",
        Inference,
        Json("MessagesRequest"),
        One(200, "TokenCount"),
        &[404],
    ),
    get("/v1/models", "The models that the key may use", Inference, "", One(200, "ModelList")),
    get("/v1/models/{model}", "One model", Inference, "", One(200, "Model")),
    get("/v1/payments/balance", "The account's money", Key, "", One(200, "Balance")),
    get("/v1/payments/usage", "Requests and what they cost, newest first", Key, USAGE, Rows("UsageRow")),
    get("/v1/payments/usage/summary", "Totals by day, model or key", Key, SUMMARY, Many("SummaryRow")),
    get("/v1/payments/ledger", "Every other movement of money, newest first", Key, LEDGER, Rows("LedgerEntry")),
    post(
        "/v1/payments/quote",
        "What a request would cost; runs nothing",
        Key,
        Json("QuoteRequest"),
        One(200, "Quote"),
        &[404],
    ),
    get("/v1/key", "The calling key", Key, "", One(200, "OwnKey")),
    post("/v1/invite/redeem", "Credit a code, once", Key, Json("RedeemBody"), One(200, "Redeemed"), &[404, 409, 422]),
    get("/v1/keys", "The account's keys, newest first", Manage, "", Many("Key")),
    post("/v1/keys", "Make a key; it is shown once", Manage, Maybe("KeyBody"), One(201, "NewKey"), &[]),
    get("/v1/keys/{key_id}", "One key", Manage, "", One(200, "Key")),
    send("patch", "/v1/keys/{key_id}", "Change a key", Manage, Json("KeyBody"), One(200, "Key"), &[409]),
    delete("/v1/keys/{key_id}", "Revoke a key for good", Manage, One(200, "Key")),
    post(
        "/v1/keys/{key_id}/rotate",
        "Give a key a new secret; it is shown once",
        Manage,
        Body::None,
        One(200, "NewKey"),
        &[409],
    ),
    get(
        "/v1/provider/account-earnings",
        "What the account earned as a provider",
        Key,
        "since until",
        One(200, "Earnings"),
    ),
    get(
        "/v1/payments/withdrawals",
        "The account's withdrawals, newest first",
        Manage,
        "limit before status",
        Many("OwnWithdrawal"),
    ),
    post(
        "/v1/payments/withdrawals",
        "Ask for earnings to be paid out",
        Manage,
        Json("WithdrawalBody"),
        One(201, "Requested"),
        &[402, 409, 422],
    ),
    get("/v1/admin/session", "Who is signed in", Nobody, "", One(200, "Session")),
    post("/v1/admin/session", "Sign in", Nobody, Json("SignInBody"), One(200, "Session"), &[401, 403, 429]),
    Route { errors: &[403], ..delete("/v1/admin/session", "Sign out", Nobody, Empty(204)) },
    post(
        "/v1/admin/setup",
        "Make the first admin, with the token that the server printed",
        Nobody,
        Json("SetupBody"),
        One(201, "Session"),
        &[401, 403],
    ),
    get("/v1/admin/overview", "What stands where", Admin, "days", One(200, "Overview")),
    get("/v1/admin/audit", "Derive every balance again from the rows", Admin, "", One(200, "Audit")),
    get("/v1/admin/events", "Who did what, when: newest first", Admin, "limit before q", Many("Event")),
    get("/v1/admin/accounts", "Find accounts, newest first", Admin, "q status limit before", Many("Account")),
    post("/v1/admin/accounts", "Make an account", Admin, Json("NewAccountBody"), One(201, "Account"), &[409]),
    get("/v1/admin/accounts/{account_id}", "One account", Admin, "", One(200, "Account")),
    send(
        "patch",
        "/v1/admin/accounts/{account_id}",
        "Rename, suspend or resume an account",
        Admin,
        Json("AccountPatch"),
        One(200, "Account"),
        &[409],
    ),
    get("/v1/admin/accounts/{account_id}/keys", "Its keys, newest first", Admin, "", Many("Key")),
    post(
        "/v1/admin/accounts/{account_id}/keys",
        "Make a key for it; it is shown once",
        Admin,
        Maybe("KeyBody"),
        One(201, "NewKey"),
        &[],
    ),
    delete("/v1/admin/accounts/{account_id}/keys/{key_id}", "Revoke one of its keys", Admin, One(200, "Key")),
    get("/v1/admin/accounts/{account_id}/usage", "Its requests, newest first", Admin, USAGE, Rows("UsageRow")),
    get("/v1/admin/accounts/{account_id}/usage/summary", "Its totals", Admin, SUMMARY, Many("SummaryRow")),
    get("/v1/admin/accounts/{account_id}/ledger", "Its ledger, newest first", Admin, LEDGER, Rows("LedgerEntry")),
    post("/v1/admin/credit", "Add credit", Admin, Json("CreditBody"), One(200, "Credited"), &[404, 409, 422]),
    post(
        "/v1/admin/debit",
        "Take credit back that was added by mistake: never what requests hold, earnings last",
        Admin,
        Json("CreditBody"),
        One(200, "Debited"),
        &[404, 409, 422],
    ),
    get("/v1/admin/admins", "Admins, by name", Admin, "", Many("Admin")),
    post("/v1/admin/admins", "Make an admin", Admin, Json("NewAdminBody"), One(201, "Admin"), &[409]),
    send(
        "patch",
        "/v1/admin/admins/{admin_id}",
        "Give an admin another password: ends its sessions and keys",
        Admin,
        Json("AdminPatch"),
        One(200, "Admin"),
        &[],
    ),
    Route {
        errors: &[409],
        ..delete("/v1/admin/admins/{admin_id}", "Remove an admin, its sessions and its keys", Admin, Empty(204))
    },
    post(
        "/v1/admin/refund",
        "Reverse a charge, once, and the earning with it",
        Admin,
        Json("RefundBody"),
        One(200, "Refunded"),
        &[404, 409, 422],
    ),
    get("/v1/admin/pricing", "The prices in force, with their versions", Admin, "", One(200, "AdminPricing")),
    send(
        "put",
        "/v1/admin/pricing",
        "Put a price in force",
        Admin,
        Json("PriceBody"),
        One(200, "PriceVersion"),
        &[409, 422],
    ),
    get("/v1/admin/pricing/history", "All versions, newest first", Admin, "limit before model", Many("PriceVersion")),
    delete("/v1/admin/pricing/{model}", "Take a model off the list", Admin, Empty(204)),
    get("/v1/admin/providers", "Providers: how they are set, how they do", Admin, "", Many("Provider")),
    post(
        "/v1/admin/providers",
        "Add a provider, and probe it",
        Admin,
        Json("NewProviderBody"),
        One(201, "Provider"),
        &[409],
    ),
    send(
        "patch",
        "/v1/admin/providers/{provider_id}",
        "Change, enable or disable a provider",
        Admin,
        Json("ProviderPatch"),
        One(200, "Provider"),
        &[409],
    ),
    delete("/v1/admin/providers/{provider_id}", "Remove a provider; what it earned stays", Admin, Empty(204)),
    post(
        "/v1/admin/providers/{provider_id}/probe",
        "Try what a provider answers to, and what it reports",
        Admin,
        Body::None,
        One(200, "Probe"),
        &[],
    ),
    get("/v1/admin/withdrawals", "Withdrawals, newest first", Admin, "limit before status", Many("Withdrawal")),
    post(
        "/v1/admin/withdrawals/{withdrawal_id}/paid",
        "It was paid",
        Admin,
        Maybe("PaidBody"),
        One(200, "Withdrawal"),
        &[409, 422],
    ),
    post(
        "/v1/admin/withdrawals/{withdrawal_id}/reject",
        "It is refused; the money returns",
        Admin,
        Maybe("RejectBody"),
        One(200, "Withdrawal"),
        &[409, 422],
    ),
    get("/v1/admin/invite-codes", "Invite codes, newest first", Admin, "limit before", Many("Invite")),
    post("/v1/admin/invite-codes", "Make an invite code", Admin, Json("InviteBody"), One(201, "Invite"), &[409, 422]),
    delete("/v1/admin/invite-codes/{code}", "Let nobody redeem a code any more", Admin, Empty(204)),
];
