//! Providers: who serves and earns, and which models they offer.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, params};

use crate::dialect::request::hosted::Allow;
use crate::dialect::request::output_fields::OutputFields;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{AccountId, ProviderId};
use crate::domain::keys::KeyId;
use crate::domain::model_name::{self, is_model_name};
use crate::domain::provider::{self, Manners};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::tables::{accounts, endpoints, events};
use crate::store::{Read, StoreError, Tx};

/// A provider's row.
#[derive(Debug, Clone)]
pub struct ProviderRow {
    /// `prov_…`
    pub id: ProviderId,
    /// Unique among those not removed.
    pub name: String,
    /// Who earns.
    pub account_id: AccountId,
    /// Base URL, ends in `/v1`, no trailing slash.
    pub url: String,
    /// What it asks for, or `env:VARIABLE`.
    pub api_key: Option<Secret>,
    /// The most requests at once.
    pub max_concurrent: Option<u32>,
    /// The certificates of a private authority that is trusted for it, PEM.
    pub ca_pem: Option<Arc<str>>,
    /// What it may be asked to do beside generating.
    pub allow: Allow,
    /// How it is spoken to.
    pub manners: Manners,
    /// Requests whose reported usage was above what they could have used.
    pub flagged: u64,
    /// Since when it gets no requests.
    pub disabled_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
    /// It is a machine that joins, last with this key; it has no URL.
    pub joined_with: Option<KeyId>,
    /// What that machine calls itself.
    pub joined_as: Option<String>,
}

impl ProviderRow {
    /// A machine that came with a key that holds new ones, and that nobody has enabled yet.
    pub fn is_held(&self) -> bool {
        self.joined_with.is_some() && self.disabled_at == Some(self.created_at)
    }
}

/// A provider that can serve a model.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Who.
    pub provider: ProviderRow,
    /// What it calls the model.
    pub upstream_model: String,
    /// The last probe found that it does not serve the endpoint that was asked for.
    pub refuses: bool,
    /// Where it found that it takes the output bound.
    pub takes: OutputFields,
    /// Its chat can take the request's place, translated, where it is not known to serve the endpoint itself: where
    /// that takes the output bound.
    pub chat: Option<OutputFields>,
}

impl Offer {
    /// It can answer, in its own words or translated.
    pub const fn serves(&self) -> bool {
        !self.refuses || self.chat.is_some()
    }
}

pub(super) const COLUMNS: &str = "p.id, p.name, p.account_id, p.url, p.api_key, p.max_concurrent, p.flagged, p.disabled_at, p.created_at, p.ca_pem, \
     p.allow, p.auth, p.think_tags, p.joined_with, p.joined_as";

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<ProviderRow> {
    Ok(ProviderRow {
        id: ProviderId::from_i64(row.get(0)?),
        name: row.get(1)?,
        account_id: AccountId::from_i64(row.get(2)?),
        url: row.get(3)?,
        api_key: row.get::<_, Option<String>>(4)?.map(Secret::new),
        max_concurrent: row.get(5)?,
        flagged: row.get(6)?,
        disabled_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_millis),
        created_at: Timestamp::from_millis(row.get(8)?),
        ca_pem: row.get::<_, Option<String>>(9)?.map(Arc::from),
        allow: Allow::from_text(&row.get::<_, String>(10)?),
        // One of the two that the table takes.
        manners: Manners { auth: row.get::<_, String>(11)?.parse().unwrap_or_default(), think_tags: row.get(12)? },
        joined_with: row.get::<_, Option<i64>>(13)?.map(KeyId::from_i64),
        joined_as: row.get(14)?,
    })
}

/// The enabled providers that offer a model, with what is known of them at `endpoint`.
pub fn offers(conn: &Read, model: &str, endpoint: Endpoint, stream: bool) -> Result<Vec<Offer>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, m.upstream_model, coalesce(e.serves, 1) = 0, e.output_fields, \
         coalesce(e.serves, 0) = 0 AND coalesce(c.serves, 1) = 1, \
         c.output_fields \
         FROM provider_models m \
         JOIN providers p ON p.id = m.provider_id \
         LEFT JOIN provider_endpoints e ON e.provider_id = m.provider_id AND e.model = m.model \
         AND e.endpoint = ?2 AND e.stream = ?3 \
         LEFT JOIN provider_endpoints c ON c.provider_id = m.provider_id AND c.model = m.model \
         AND c.endpoint = ?4 AND c.stream = ?3 \
         WHERE m.model = ?1 AND p.disabled_at IS NULL AND p.removed_at IS NULL"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let fields = |row: &Row<'_>, column: usize| -> rusqlite::Result<OutputFields> {
        let text: Option<String> = row.get(column)?;
        Ok(text.as_deref().map(OutputFields::from_text).unwrap_or_default())
    };
    let chat = Endpoint::ChatCompletions.path();
    let rows = statement.query_map(params![model, endpoint.path(), stream, chat], |row| {
        let has_chat = endpoint.translation().is_some() && row.get(18)?;
        Ok(Offer {
            provider: from_row(row)?,
            upstream_model: row.get(15)?,
            refuses: row.get(16)?,
            takes: fields(row, 17)?,
            chat: if has_chat { Some(fields(row, 19)?) } else { None },
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// All providers that are not removed, by name.
pub fn list(conn: &Read) -> Result<Vec<ProviderRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM providers p WHERE p.removed_at IS NULL ORDER BY p.name");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([], from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The models of a provider: public name and its own name, by public name.
pub fn models(conn: &Read, id: ProviderId) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT model, upstream_model FROM provider_models WHERE provider_id = ?1 ORDER BY model")?;
    let rows = statement.query_map([id.to_i64()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Who may serve a model with a price, and how many requests at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPlaces {
    /// The public name.
    pub model: String,
    /// An enabled provider of it.
    pub provider: ProviderId,
    /// Of all its models together.
    pub max_concurrent: Option<u32>,
}

/// All of them, by model.
pub fn places(conn: &Read) -> Result<Vec<ModelPlaces>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT m.model, p.id, p.max_concurrent FROM provider_models m JOIN providers p ON p.id = m.provider_id \
         WHERE p.disabled_at IS NULL AND p.removed_at IS NULL \
         AND EXISTS (SELECT 1 FROM prices WHERE prices.model = m.model AND retired_at IS NULL) ORDER BY m.model, p.id",
    )?;
    let rows = statement.query_map([], |row| {
        let provider = ProviderId::from_i64(row.get(1)?);
        Ok(ModelPlaces { model: row.get(0)?, provider, max_concurrent: row.get(2)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The provider with this id or name.
pub fn find(conn: &Read, text: &str) -> Result<ProviderRow, StoreError> {
    if let Some(id) = ProviderId::parse(text) {
        return get(conn, id);
    }
    let sql = format!("SELECT {COLUMNS} FROM providers p WHERE p.name = ?1 AND p.removed_at IS NULL");
    let found = conn.prepare_cached(&sql)?.query_row([text], from_row).optional()?;
    found.ok_or_else(|| StoreError::NotFound(format!("no provider \"{text}\"")))
}

/// The provider with this id.
pub fn get(conn: &Read, id: ProviderId) -> Result<ProviderRow, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM providers p WHERE p.id = ?1 AND p.removed_at IS NULL");
    let found = conn.prepare_cached(&sql)?.query_row([id.to_i64()], from_row).optional()?;
    found.ok_or_else(|| StoreError::NotFound(format!("no provider \"{id}\"")))
}

/// A provider to be added.
#[derive(Debug, Clone)]
pub struct NewProvider {
    /// Unique.
    pub name: String,
    /// Who earns.
    pub account_id: AccountId,
    /// Base URL, checked and without a trailing slash.
    pub url: String,
    /// What it asks for, or `env:VARIABLE`.
    pub api_key: Option<Secret>,
    /// The most requests at once.
    pub max_concurrent: Option<u32>,
    /// The certificates of a private authority that is trusted for it, PEM, checked.
    pub ca_pem: Option<String>,
    /// What it may be asked to do beside generating.
    pub allow: Allow,
    /// How it is spoken to.
    pub manners: Manners,
    /// Public name and its own name of each model.
    pub models: Vec<(String, String)>,
}

#[cfg(test)]
impl NewProvider {
    /// One that has a model by its own name, and nothing else to say, for tests.
    pub fn of(account_id: AccountId, name: &str, model: &str) -> Self {
        Self {
            name: name.into(),
            account_id,
            url: "http://127.0.0.1:9/v1".into(),
            api_key: None,
            max_concurrent: None,
            ca_pem: None,
            allow: Allow::default(),
            manners: Manners::default(),
            models: vec![(model.into(), model.into())],
        }
    }
}

/// Adds a provider.
///
/// # Errors
/// [`StoreError::InvalidField`] for a bad name or key, [`StoreError::Invalid`] for a model, [`StoreError::Taken`] if
/// somebody has the name.
pub fn create(conn: &Tx, new: &NewProvider, actor: &str, now: Timestamp) -> Result<ProviderRow, StoreError> {
    let name = &new.name;
    check(name, new.api_key.as_ref())?;
    accounts::get(conn, new.account_id)?;
    let id = ProviderId::generate(now);
    let made = conn
        .prepare_cached(
            "INSERT INTO providers (id, name, account_id, url, api_key, max_concurrent, created_at, ca_pem, allow, \
             auth, think_tags) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            id.to_i64(),
            name,
            new.account_id.to_i64(),
            new.url,
            new.api_key.as_ref().map(Secret::expose),
            new.max_concurrent,
            now.millis(),
            new.ca_pem,
            new.allow.text(),
            new.manners.auth.as_str(),
            new.manners.think_tags,
        ]);
    match made {
        Err(e) if StoreError::is_duplicate(&e) => {
            return Err(taken(name));
        }
        other => other?,
    };
    set_models(conn, id, &new.models)?;
    let models: Vec<_> = new.models.iter().map(|(model, _)| model).collect();
    let detail = serde_json::json!({"name": name, "url": new.url, "account": new.account_id, "models": models,
        "allow": new.allow.names(), "auth": new.manners.auth.as_str(), "think_tags": new.manners.think_tags});
    events::record(conn, actor, "provider.add", &id.to_string(), &detail, now)?;
    get(conn, id)
}

/// The rules of [`provider`], as errors of their fields.
pub(super) fn check(name: &str, api_key: Option<&Secret>) -> Result<(), StoreError> {
    let invalid = |field| move |rule: &str| StoreError::InvalidField { field, message: rule.to_owned() };
    provider::check_name(name).map_err(invalid("name"))?;
    api_key.map_or(Ok(()), provider::check_api_key).map_err(invalid("api_key"))
}

/// Replaces the models a provider offers; what a probe found is forgotten with the old ones.
///
/// # Errors
/// [`StoreError::Invalid`] for a name that is empty, too long or given twice.
pub fn set_models(conn: &Tx, id: ProviderId, models: &[(String, String)]) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM provider_models WHERE provider_id = ?1")?.execute([id.to_i64()])?;
    endpoints::forget(conn, id)?;
    for (model, upstream) in models {
        if [model, upstream].into_iter().any(|name| !is_model_name(name)) {
            return Err(StoreError::Invalid(format!("a model name is {}", model_name::RULE)));
        }
        let made = conn
            .prepare_cached("INSERT INTO provider_models (model, provider_id, upstream_model) VALUES (?1, ?2, ?3)")?
            .execute(params![model, id.to_i64(), upstream]);
        match made {
            Err(e) if StoreError::is_duplicate(&e) => {
                return Err(StoreError::Invalid(format!("the model \"{model}\" is given twice")));
            }
            other => other?,
        };
    }
    Ok(())
}

pub(super) fn taken(name: &str) -> StoreError {
    StoreError::Taken { field: "name", message: format!("there is already a provider \"{name}\"") }
}

/// Removes a provider. Its usage rows and earnings stay; its key is forgotten.
pub fn remove(conn: &Tx, id: ProviderId, actor: &str, now: Timestamp) -> Result<ProviderRow, StoreError> {
    let provider = get(conn, id)?;
    let id = provider.id.to_i64();
    conn.prepare_cached("DELETE FROM provider_models WHERE provider_id = ?1")?.execute([id])?;
    endpoints::forget(conn, provider.id)?;
    conn.prepare_cached("UPDATE providers SET removed_at = ?2, api_key = NULL WHERE id = ?1")?
        .execute([id, now.millis()])?;
    events::record(conn, actor, "provider.remove", &provider.id.to_string(), &serde_json::json!({}), now)?;
    Ok(provider)
}

/// Counts a report of usage above what the request could have used.
pub(in crate::store) fn flag(conn: &Tx, id: ProviderId) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE providers SET flagged = flagged + 1 WHERE id = ?1")?.execute([id.to_i64()])?;
    Ok(())
}
