//! Alerts: where they go, whether they arrive, what there was.

use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::domain::alert::AlertKind;
use crate::domain::ids::AlertId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::shared::error::ApiError;
use crate::http::shared::extract::AdminBody;
use crate::http::shared::paging;
use crate::http::shared::query::Query;
use crate::http::state::AppState;
use crate::store::Tx;
use crate::store::alert_channels::{self, AlertSettings, MailSecurity, MailSettings, WebhookSettings};
use crate::store::alerts::{self, Delivery};
use crate::upstream::check_hook_url;
use crate::watch::{Tried, check_mailbox, check_secret, new_secret};

/// The most addresses of the operator.
const MOST_ADDRESSES: usize = 20;
/// A name like `env:VARIABLE` in place of a secret.
const VARIABLE: &str = "env:";

/// Where alerts go. What is left out is off.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertsBody {
    webhook: Option<WebhookBody>,
    email: Option<EmailBody>,
    /// Kinds that go nowhere; they are listed all the same.
    #[serde(default)]
    muted: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AlertWebhookBody)]
#[serde(deny_unknown_fields)]
pub struct WebhookBody {
    /// `https://…` or `http://…`
    url: String,
    /// `whsec_…` or `env:VARIABLE`. Without one that which is set stays; if none is set, one is made, and shown once.
    #[schema(value_type = Option<String>)]
    secret: Option<Secret>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AlertEmailBody)]
#[serde(deny_unknown_fields)]
pub struct EmailBody {
    host: String,
    port: u16,
    security: MailSecurity,
    username: Option<String>,
    /// Or `env:VARIABLE`. Without one that which is set stays, for the same server and user.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
    from: String,
    to: Vec<String>,
    /// Account holders are told of their own balance, at their own address.
    #[serde(default)]
    holders: bool,
}

/// Where alerts go, and how many wait.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alerts)]
pub struct AlertsView {
    webhook: Option<WebhookView>,
    email: Option<EmailView>,
    muted: Vec<&'static str>,
    /// All kinds that there are.
    kinds: Vec<&'static str>,
    /// Deliveries that wait.
    waiting: u64,
    /// Deliveries that were given up.
    failed: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertWebhook)]
pub struct WebhookView {
    url: String,
    /// The secret, where it was made just now. It is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertEmail)]
pub struct EmailView {
    host: String,
    port: u16,
    security: MailSecurity,
    username: Option<String>,
    has_password: bool,
    from: String,
    to: Vec<String>,
    holders: bool,
}

/// Whether a test arrived. Null for what is off.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertsTested)]
pub struct TestedView {
    webhook: Option<TriedView>,
    email: Option<TriedView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertTried)]
pub struct TriedView {
    delivered: bool,
    took_ms: u64,
    error: Option<String>,
}

/// An alert, and where it went.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub struct AlertView {
    /// `alert_…`: the same in the message.
    id: AlertId,
    /// Like `provider.down`.
    r#type: String,
    timestamp: Timestamp,
    /// What is told of it.
    data: serde_json::Value,
    deliveries: Vec<Delivery>,
}

/// `GET /v1/admin/alerts`
pub async fn get(_: Admin, state: Data<AppState>) -> Result<Json<AlertsView>, ApiError> {
    view(&state, None).map(Json)
}

fn view(state: &AppState, made: Option<Secret>) -> Result<AlertsView, ApiError> {
    let read = state.store.read_inline(|conn| Ok((alert_channels::load(conn)?, alerts::standing(conn)?)));
    let (AlertSettings { webhook, mail, holders, muted }, (waiting, failed)) = read?;
    let secret = made.map(|secret| secret.expose().to_owned());
    Ok(AlertsView {
        webhook: webhook.map(|hook| WebhookView { url: hook.url, secret }),
        email: mail.map(|mail| EmailView {
            host: mail.host,
            port: mail.port,
            security: mail.security,
            username: mail.username,
            has_password: mail.password.is_some(),
            from: mail.from,
            to: mail.to,
            holders,
        }),
        muted: muted.into_iter().map(AlertKind::as_str).collect(),
        kinds: AlertKind::ALL.map(AlertKind::as_str).to_vec(),
        waiting,
        failed,
    })
}

/// `PUT /v1/admin/alerts`: in place of what was set.
///
/// # Errors
/// 400 for a field.
pub async fn put(sent: AdminBody<AlertsBody>, state: Data<AppState>) -> Result<Json<AlertsView>, ApiError> {
    let (admin, AlertsBody { webhook, email, muted }) = (sent.by, sent.body);
    let old = state.store.read_inline(alert_channels::load)?;
    let mut made = None;
    let webhook = webhook.map(|body| webhook_of(body, old.webhook.as_ref(), &mut made)).transpose()?;
    let holders = email.as_ref().is_some_and(|body| body.holders);
    let mail = email.map(|body| mail_of(body, old.mail.as_ref())).transpose()?;
    let kind = |name: &String| {
        AlertKind::from_text(name)
            .ok_or_else(|| ApiError::invalid(Some("muted"), format!("there is no kind \"{name}\" of alerts")))
    };
    let muted = muted.iter().map(kind).collect::<Result<_, _>>()?;
    let settings = AlertSettings { webhook, mail, holders, muted };
    let write = move |conn: &Tx| alert_channels::save(conn, &settings, &admin.actor, Timestamp::now());
    state.writer.write(write).await?;
    view(&state, made).map(Json)
}

fn webhook_of(
    body: WebhookBody,
    old: Option<&WebhookSettings>,
    made: &mut Option<Secret>,
) -> Result<WebhookSettings, ApiError> {
    let wrong = |field: &str, why: String| ApiError::invalid(Some(field), why);
    let url = check_hook_url(&body.url).map_err(|why| wrong("webhook.url", why))?;
    let secret = match (body.secret, old) {
        (Some(secret), _) if secret.expose().starts_with(VARIABLE) => secret,
        (Some(secret), _) => {
            check_secret(&secret).map_err(|why| wrong("webhook.secret", why))?;
            secret
        }
        (None, Some(old)) => old.secret.clone(),
        (None, None) => {
            let secret = new_secret().map_err(|_| ApiError::internal())?;
            *made = Some(secret.clone());
            secret
        }
    };
    Ok(WebhookSettings { url, secret })
}

fn mail_of(body: EmailBody, old: Option<&MailSettings>) -> Result<MailSettings, ApiError> {
    let wrong = |field: &str, why: &str| ApiError::invalid(Some(field), why);
    let one_word = |text: &str| !text.is_empty() && text.len() <= 255 && text.chars().all(|c| c.is_ascii_graphic());
    let host = body.host.trim().to_owned();
    if !one_word(&host) || host.contains(['/', '@']) {
        return Err(wrong("email.host", "this is no name of a server"));
    }
    check_hook_url(&format!("http://{host}/")).map_err(|why| wrong("email.host", &why))?;
    if body.port == 0 {
        return Err(wrong("email.port", "a port is 1 to 65535"));
    }
    let username = body.username.filter(|name| !name.is_empty());
    let is_text = |text: &str| text.len() <= 1_000 && !text.chars().any(char::is_control);
    if !username.as_deref().is_none_or(is_text) {
        return Err(wrong("email.username", "it is one line"));
    }
    let password = match (&username, body.password) {
        (None, _) => None,
        (Some(_), Some(password)) if is_text(password.expose()) && !password.expose().is_empty() => Some(password),
        (Some(_), Some(_)) => return Err(wrong("email.password", "it is one line")),
        // Whoever may change the settings shall not have the password sent to a server of theirs.
        (Some(_), None) => {
            let kept = old.filter(|old| old.host == host && old.port == body.port && old.username == username);
            let kept = kept.filter(|old| old.security == body.security).and_then(|old| old.password.clone());
            let missing = "it must be given, once more if the server or the user is another one";
            Some(kept.ok_or_else(|| wrong("email.password", missing))?)
        }
    };
    let is_local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
    if password.is_some() && body.security == MailSecurity::None && !is_local {
        return Err(wrong("email.security", "a password is not sent where others can read it: tls or starttls"));
    }
    check_mailbox(&body.from).map_err(|why| wrong("email.from", &why))?;
    if body.to.is_empty() || body.to.len() > MOST_ADDRESSES {
        return Err(wrong("email.to", &format!("1 to {MOST_ADDRESSES} addresses")));
    }
    for address in &body.to {
        check_mailbox(address).map_err(|why| wrong("email.to", &why))?;
    }
    let (port, security, from, to) = (body.port, body.security, body.from, body.to);
    Ok(MailSettings { host, port, security, username, password, from, to })
}

/// `POST /v1/admin/alerts/test`: sends a test by webhook and by e-mail, now and once, and says whether they took it.
pub async fn test(_: Admin, state: Data<AppState>) -> Result<Json<TestedView>, ApiError> {
    let settings = state.store.read_inline(alert_channels::load)?;
    let (webhook, email) = state.courier.test(&settings).await;
    let view =
        |tried: Tried| TriedView { delivered: tried.error.is_none(), took_ms: tried.took_ms, error: tried.error };
    Ok(Json(TestedView { webhook: webhook.map(view), email: email.map(view) }))
}

/// `GET /v1/admin/alerts/events`: newest first.
pub async fn list(_: Admin, request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let query = Query::of(&request)?;
    let limit = query.limit(50)?;
    let before = query.parsed("before", "an alert's id", AlertId::parse)?;
    let rows = state.store.read_blocking(move |conn| alerts::list(conn, before, limit + 1)).await?;
    let view = |(row, deliveries): (alerts::AlertRow, Vec<Delivery>)| AlertView {
        id: row.id,
        r#type: row.kind,
        timestamp: row.created_at,
        data: row.detail,
        deliveries,
    };
    let views = rows.into_iter().map(view).collect();
    Ok(paging::json(&request, &query, views, limit, |last: &AlertView| last.id.to_string()))
}
