//! From the outbox to a receiver: one channel, one alert at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::undelivered::Undelivered;
use super::words::letter;
use super::{UnderWatch, mail, webhook};
use crate::domain::alert::{self, AlertKind};
use crate::domain::ids::{AccountId, AlertId};
use crate::domain::secret::ResolveSecret;
use crate::domain::time::{Timestamp, millis};
use crate::store::alert_channels::{self, AlertSettings, MailSettings, WebhookSettings};
use crate::store::alerts::{self, AlertRow, Channel, Due, TryOutcome};
use crate::store::{Store, StoreError, Tx, accounts};

/// How often the outbox is looked into: others write into it, too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long is waited when the store fails: what was delivered cannot be noted then.
const STORE_PAUSE: Duration = Duration::from_secs(30);

/// How a try went that somebody waits for.
#[derive(Debug)]
pub struct Tried {
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Brings alerts to their receivers.
#[derive(Debug, Clone)]
pub struct Courier {
    resolve: ResolveSecret,
    base: Option<Arc<str>>,
}

impl Courier {
    /// `base` is where the pages are.
    pub fn new(resolve: ResolveSecret, base: Option<&str>) -> Self {
        Self { resolve, base: base.map(Arc::from) }
    }

    /// Sends a test by webhook and by mail, as far as they are set.
    pub async fn test(&self, settings: &AlertSettings) -> (Option<Tried>, Option<Tried>) {
        let now = Timestamp::now();
        let kind = AlertKind::Test.as_str().to_owned();
        let alert = AlertRow {
            seq: 0,
            id: AlertId::generate(now),
            kind,
            subject: String::new(),
            detail: json!({}),
            created_at: now,
        };
        let by_webhook = async {
            let hook = settings.webhook.as_ref()?;
            Some(timed(self.post(hook, &alert)).await)
        };
        let by_mail = async {
            let server = settings.mail.as_ref()?;
            Some(timed(self.mail(server, &server.to, &alert, false)).await)
        };
        tokio::join!(by_webhook, by_mail)
    }

    async fn post(&self, hook: &WebhookSettings, alert: &AlertRow) -> Result<(), Undelivered> {
        let secret = (self.resolve)(&hook.secret);
        let secret = secret.ok_or_else(|| Undelivered::later("the variable with the secret is not set".to_owned()))?;
        webhook::post(&hook.url, &secret, alert, Timestamp::now()).await
    }

    async fn mail(
        &self,
        server: &MailSettings,
        to: &[String],
        alert: &AlertRow,
        for_one: bool,
    ) -> Result<(), Undelivered> {
        let letter = letter(alert, self.base.as_deref());
        mail::send(server, self.resolve, to, (alert, letter), for_one).await
    }

    async fn deliver(&self, store: &Store, channel: Channel, alert: &AlertRow) -> Result<(), Undelivered> {
        let of_store = |e: StoreError| Undelivered::later(e.to_string());
        let off = || Undelivered::never("its channel is off");
        let settings = store.read_inline(alert_channels::load).map_err(of_store)?;
        match channel {
            Channel::Webhook => self.post(&settings.webhook.ok_or_else(off)?, alert).await,
            Channel::Email => {
                let server = settings.mail.ok_or_else(off)?;
                self.mail(&server, &server.to, alert, false).await
            }
            Channel::Holder => {
                let server = settings.mail.filter(|_| settings.holders).ok_or_else(off)?;
                let account = AccountId::parse(&alert.subject).ok_or_else(off)?;
                let email = store.read_inline(|conn| accounts::get(conn, account)).map_err(of_store)?.email;
                let email = email.ok_or_else(|| Undelivered::never("the account has no address"))?;
                self.mail(&server, &[email], alert, true).await
            }
        }
    }
}

async fn timed(trying: impl Future<Output = Result<(), Undelivered>>) -> Tried {
    let began = Instant::now();
    let error = trying.await.err().map(|failure| failure.error);
    Tried { took_ms: millis(began.elapsed()), error }
}

/// Delivers what a channel's outbox holds, for ever.
pub async fn run(watched: Arc<UnderWatch>, channel: Channel) {
    loop {
        let now = Timestamp::now();
        let pause = match watched.store.read_statement(|conn| alerts::next(conn, channel, now)) {
            Ok(Some(due)) if due.next_at <= now => match one(&watched, channel, &due).await {
                Ok(()) => continue,
                Err(error) => {
                    tracing::warn!(%error, channel = channel.as_str(), "what came of an alert cannot be noted");
                    STORE_PAUSE
                }
            },
            Ok(_) => LOOK_EVERY,
            Err(error) => {
                tracing::warn!(%error, channel = channel.as_str(), "the alerts that wait cannot be read");
                STORE_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn one(watched: &UnderWatch, channel: Channel, due: &Due) -> Result<(), StoreError> {
    let tried = watched.courier.deliver(&watched.store, channel, &due.alert).await;
    let now = Timestamp::now();
    let outcome = outcome(tried, due, now);
    tell(&outcome, channel, due);
    let seq = due.alert.seq;
    watched.writer.write(move |conn: &Tx| alerts::tried(conn, channel, seq, &outcome, now)).await
}

fn outcome(tried: Result<(), Undelivered>, due: &Due, now: Timestamp) -> TryOutcome {
    let Err(Undelivered { error, lets_pass, is_final }) = tried else { return TryOutcome::Delivered };
    let age = now.millis().saturating_sub(due.alert.created_at.millis());
    if is_final || alert::is_given_up(age) {
        return TryOutcome::GivenUp { error };
    }
    let pause = i64::try_from(alert::pause(due.tries.saturating_add(1)).as_secs()).unwrap_or(i64::MAX);
    TryOutcome::Again { at: now.plus_seconds(pause), error, lets_pass }
}

fn tell(outcome: &TryOutcome, channel: Channel, due: &Due) {
    let (channel, alert_id, kind) = (channel.as_str(), due.alert.id, &due.alert.kind);
    match outcome {
        TryOutcome::Delivered => tracing::info!(channel, %alert_id, kind, "an alert was delivered"),
        TryOutcome::Again { error, .. } => {
            tracing::warn!(channel, %alert_id, kind, error, "an alert was not delivered")
        }
        TryOutcome::GivenUp { error } => tracing::error!(channel, %alert_id, kind, error, "an alert was given up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_tried_again_until_it_is_days_old_or_final() {
        let alert = |created_at| AlertRow {
            seq: 1,
            id: AlertId::from_i64(1),
            kind: "shortfall".into(),
            subject: String::new(),
            detail: json!({}),
            created_at,
        };
        let due = |age: i64, tries| Due {
            alert: alert(Timestamp::from_millis(-age)),
            tries,
            next_at: Timestamp::from_millis(0),
        };
        let now = Timestamp::from_millis(0);
        let failed = |lets_pass, is_final| Err(Undelivered { error: "x".into(), lets_pass, is_final });
        let again = |seconds| TryOutcome::Again { at: now.plus_seconds(seconds), error: "x".into(), lets_pass: false };
        let given_up = || TryOutcome::GivenUp { error: "x".into() };
        assert_eq!(outcome(Ok(()), &due(i64::MAX / 2, 9), now), TryOutcome::Delivered);
        assert_eq!(outcome(failed(false, false), &due(0, 0), now), again(5));
        assert_eq!(outcome(failed(false, false), &due(0, 3), now), again(40));
        assert_eq!(outcome(failed(false, true), &due(0, 0), now), given_up());
        assert_eq!(outcome(failed(true, false), &due(5 * 86_400_000, 0), now), given_up());
    }
}
