//! What is on the wire without a type of its own in the code: shapes to document, never made.

use utoipa::ToSchema;

use crate::domain::ids::{AccountId, ProviderId, WithdrawalId};
use crate::domain::keys::KeyId;
use crate::domain::time::Timestamp;

/// What an account's key may do.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Scope {
    /// Run models.
    Inference,
    /// Make and change keys, withdraw.
    Manage,
    /// Let machines join.
    Provide,
}

/// How long the window of a key's limit is.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Reset {
    /// For ever.
    None,
    /// From midnight UTC.
    Daily,
    /// From Monday.
    Weekly,
    /// From the first of the month.
    Monthly,
}

/// An error of every endpoint but `/v1/messages…`.
#[derive(Debug, ToSchema)]
#[schema(as = Error)]
pub struct ErrorEnvelope {
    error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, ToSchema)]
#[schema(as = ErrorDetail)]
pub struct ErrorBody {
    /// For people.
    message: String,
    /// Like `invalid_request_error`.
    r#type: String,
    /// Like `invalid_api_key`.
    #[schema(required)]
    code: Option<String>,
    /// The field at fault.
    #[schema(required)]
    param: Option<String>,
}

/// An error of `/v1/messages…`.
#[derive(Debug, ToSchema)]
pub struct AnthropicError {
    /// `error`
    r#type: String,
    error: AnthropicErrorBody,
    #[schema(required)]
    request_id: Option<String>,
}

/// What went wrong.
#[derive(Debug, ToSchema)]
#[schema(as = AnthropicErrorDetail)]
pub struct AnthropicErrorBody {
    /// Like `invalid_request_error`.
    r#type: String,
    /// For people.
    message: String,
}

/// Who is signed in to the admin page.
#[derive(Debug, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    #[schema(required)]
    admin: Option<SessionAdmin>,
    #[schema(required)]
    expires_at: Option<Timestamp>,
    /// There is no admin yet.
    setup_required: bool,
    /// `serve --insecure-http-sign-in`: over plain http from other machines too a session's cookie is kept.
    plain_http_allowed: bool,
}

/// An admin.
#[derive(Debug, ToSchema)]
pub struct SessionAdmin {
    name: String,
}

/// The answer of `/health` and `/readyz`.
#[derive(Debug, ToSchema)]
pub struct Health {
    /// `ok`, `ready`
    status: String,
}

/// The answer of `/api/version`.
#[derive(Debug, ToSchema)]
pub struct Version {
    name: String,
    version: String,
}

/// The answer of `/v1/messages/count_tokens`.
#[derive(Debug, ToSchema)]
pub struct TokenCount {
    input_tokens: u64,
}

/// The ids that stand in paths.
#[derive(Debug, ToSchema)]
pub struct PathIds {
    account: AccountId,
    key: KeyId,
    provider: ProviderId,
    withdrawal: WithdrawalId,
}
