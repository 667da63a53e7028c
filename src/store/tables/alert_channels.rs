//! Where alerts go: the channels that are on, with their secrets.

use rusqlite::params;
use serde::Deserialize;
use serde_json::{Value, json};

use super::alert_deliveries::Channel;
use super::events;
use crate::domain::alert::AlertKind;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WebhookSettings {
    /// Where it is.
    pub url: String,
    /// What its messages are signed with: `whsec_…`, or `env:VARIABLE`.
    pub secret: Secret,
}

/// How a connection to a mail server is kept from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// From the first byte on.
    Tls,
    /// From `STARTTLS` on, which the server must know.
    Starttls,
    /// Not at all: for a server on the same machine or network.
    None,
}

/// A mail server, and whom it is asked to write to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MailSettings {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: MailSecurity,
    /// As whom.
    pub username: Option<String>,
    /// With what, or `env:VARIABLE`.
    pub password: Option<Secret>,
    /// Who writes.
    pub from: String,
    /// The operator.
    pub to: Vec<String>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertSettings {
    /// The operator's webhook.
    pub webhook: Option<WebhookSettings>,
    /// The operator's mail.
    pub mail: Option<MailSettings>,
    /// Account holders get mail of their own two, at their own address.
    pub holders: bool,
    /// What goes nowhere.
    pub muted: Vec<AlertKind>,
}

/// What is set.
pub fn load(conn: &Read) -> Result<AlertSettings, StoreError> {
    let mut statement = conn.prepare_cached("SELECT channel, settings, muted FROM alert_channels")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut all = AlertSettings::default();
    for row in rows {
        let (channel, settings, muted): (String, String, String) = row?;
        let unreadable = |_| StoreError::Invalid(format!("the settings of the alerts by {channel} cannot be read"));
        match channel.as_str() {
            "webhook" => all.webhook = Some(serde_json::from_str(&settings).map_err(unreadable)?),
            "email" => all.mail = Some(serde_json::from_str(&settings).map_err(unreadable)?),
            _ => all.holders = true,
        }
        let muted: Vec<String> = serde_json::from_str(&muted).map_err(unreadable)?;
        all.muted = muted.iter().filter_map(|name| AlertKind::from_text(name)).collect();
    }
    Ok(all)
}

/// Puts other settings in place of those that are there. What waits is tried again at once, with the new ones, and given
/// up where its channel is off.
pub fn save(conn: &Tx, all: &AlertSettings, actor: &str, now: Timestamp) -> Result<(), StoreError> {
    conn.execute("DELETE FROM alert_channels", [])?;
    let muted = json!(all.muted.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    let put = |channel: Channel, settings: Option<Value>| match settings {
        Some(settings) => conn.execute(
            "INSERT INTO alert_channels (channel, settings, muted) VALUES (?1, ?2, ?3)",
            params![channel.as_str(), settings.to_string(), muted.to_string()],
        ),
        None => conn.execute(
            "UPDATE alert_deliveries SET state = 'failed', error = 'its channel was turned off', done_at = ?2 \
             WHERE channel = ?1 AND state = 'waiting'",
            params![channel.as_str(), now.millis()],
        ),
    };
    let webhook = all.webhook.as_ref().map(|hook| json!({"url": hook.url, "secret": hook.secret.expose()}));
    put(Channel::Webhook, webhook)?;
    let mail = all.mail.as_ref();
    let settings = |mail: &MailSettings| {
        json!({
            "host": mail.host, "port": mail.port, "security": mail.security, "username": mail.username,
            "password": mail.password.as_ref().map(Secret::expose), "from": mail.from, "to": mail.to,
        })
    };
    put(Channel::Email, mail.map(settings))?;
    put(Channel::Holder, (all.holders && mail.is_some()).then(|| json!({})))?;
    conn.execute("UPDATE alert_deliveries SET next_at = ?1, lets_pass = 0 WHERE state = 'waiting'", [now.millis()])?;
    // The address of a webhook is a secret by itself where its receiver asks for nothing else.
    let by_mail = mail.map(|mail| json!({"host": mail.host, "to": mail.to}));
    let detail = json!({"webhook": all.webhook.is_some(), "email": by_mail, "holders": all.holders, "muted": muted});
    events::record(conn, actor, "alerts.set", "", &detail, now)
}
