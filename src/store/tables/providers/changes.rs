//! Changing a provider: where it is, what it offers, whether it gets requests.

use rusqlite::params;

use super::rows::{ProviderRow, check, get, models, set_models, taken};
use crate::dialect::request::hosted::Allow;
use crate::domain::ids::{AccountId, ProviderId};
use crate::domain::provider::Auth;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::tables::{accounts, endpoints, events};
use crate::store::{StoreError, Tx};

/// What is to change of a provider; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ProviderChange {
    /// Unique.
    pub name: Option<String>,
    /// Who earns from now on.
    pub account_id: Option<AccountId>,
    /// Base URL, checked.
    pub url: Option<String>,
    /// What it asks for; `Some(None)`: nothing.
    pub api_key: Option<Option<Secret>>,
    /// The most requests at once; `Some(None)`: any number.
    pub max_concurrent: Option<Option<u32>>,
    /// The certificates of a private authority, PEM, checked; `Some(None)`: none.
    pub ca_pem: Option<Option<String>>,
    /// What it may be asked to do beside generating.
    pub allow: Option<Allow>,
    /// The header that its key goes into.
    pub auth: Option<Auth>,
    /// It writes its reasoning into the content of a chat.
    pub think_tags: Option<bool>,
    /// Public name and its own name of each model.
    pub models: Option<Vec<(String, String)>>,
}

impl ProviderChange {
    /// Nothing is to change.
    pub const fn is_empty(&self) -> bool {
        self.name.is_none()
            && self.account_id.is_none()
            && self.url.is_none()
            && self.api_key.is_none()
            && self.max_concurrent.is_none()
            && self.ca_pem.is_none()
            && self.allow.is_none()
            && self.auth.is_none()
            && self.think_tags.is_none()
            && self.models.is_none()
    }

    /// The first field of it that a machine has none of, which joins and says itself what it serves.
    pub const fn not_of_machines(&self) -> Option<&'static str> {
        match self {
            Self { url: Some(_), .. } => Some("base_url"),
            Self { api_key: Some(_), .. } => Some("api_key"),
            Self { ca_pem: Some(_), .. } => Some("ca_pem"),
            Self { auth: Some(_), .. } => Some("auth"),
            Self { models: Some(_), .. } => Some("models"),
            _ => None,
        }
    }
}

/// Changes a provider. With another address or other models, what its last probe found is forgotten.
///
/// # Errors
/// As [`super::create`]; [`StoreError::NotFound`].
pub fn change(
    conn: &Tx,
    id: ProviderId,
    change: &ProviderChange,
    actor: &str,
    now: Timestamp,
) -> Result<ProviderRow, StoreError> {
    let row = get(conn, id)?;
    let name = change.name.as_ref().unwrap_or(&row.name);
    check(name, change.api_key.as_ref().and_then(Option::as_ref))?;
    let account = change.account_id.unwrap_or(row.account_id);
    accounts::get(conn, account)?;
    let url = change.url.as_ref().unwrap_or(&row.url);
    let api_key = change.api_key.as_ref().unwrap_or(&row.api_key);
    let ca_pem = change.ca_pem.as_ref().map_or(row.ca_pem.as_deref(), |given| given.as_deref());
    let updated = conn
        .prepare_cached(
            "UPDATE providers SET name = ?2, account_id = ?3, url = ?4, api_key = ?5, max_concurrent = ?6, \
             ca_pem = ?7, allow = ?8, auth = ?9, think_tags = ?10 WHERE id = ?1",
        )?
        .execute(params![
            id.to_i64(),
            name,
            account.to_i64(),
            url,
            api_key.as_ref().map(Secret::expose),
            change.max_concurrent.unwrap_or(row.max_concurrent),
            ca_pem,
            change.allow.as_ref().unwrap_or(&row.allow).text(),
            change.auth.unwrap_or(row.manners.auth).as_str(),
            change.think_tags.unwrap_or(row.manners.think_tags),
        ]);
    match updated {
        Err(e) if StoreError::is_duplicate(&e) => return Err(taken(name)),
        other => other?,
    };
    match &change.models {
        Some(new) if *new != models(conn, id)? => set_models(conn, id, new)?,
        _ if *url != row.url => endpoints::forget(conn, id)?,
        _ => {}
    }
    let detail = serde_json::json!({
        "name": change.name, "account": change.account_id, "url": change.url, "max_concurrent": change.max_concurrent,
        "api_key": change.api_key.is_some(), "ca": change.ca_pem.is_some(),
        "allow": change.allow.as_ref().map(Allow::names), "auth": change.auth.map(Auth::as_str),
        "think_tags": change.think_tags,
        "models": change.models.as_ref().map(|models| models.iter().map(|(model, _)| model).collect::<Vec<_>>()),
    });
    events::record(conn, actor, "provider.change", &id.to_string(), &detail, now)?;
    get(conn, id)
}

/// Gives a provider another address, key and models.
pub fn move_to(
    conn: &Tx,
    id: ProviderId,
    url: &str,
    api_key: &Secret,
    models: &[(String, String)],
) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE providers SET url = ?2, api_key = ?3 WHERE id = ?1")?.execute(params![
        id.to_i64(),
        url,
        api_key.expose()
    ])?;
    set_models(conn, id, models)
}

/// Enables or disables a provider; a disabled one gets no new requests.
pub fn set_disabled(
    conn: &Tx,
    id: ProviderId,
    disabled: bool,
    actor: &str,
    now: Timestamp,
) -> Result<ProviderRow, StoreError> {
    let provider = get(conn, id)?;
    if provider.disabled_at.is_some() != disabled {
        conn.prepare_cached("UPDATE providers SET disabled_at = ?2 WHERE id = ?1")?
            .execute(params![provider.id.to_i64(), disabled.then_some(now.millis())])?;
        let action = if disabled { "provider.disable" } else { "provider.enable" };
        events::record(conn, actor, action, &provider.id.to_string(), &serde_json::json!({}), now)?;
    }
    get(conn, id)
}
