//! What nobody writes down is looked for: providers that do not answer, books that do not agree, old backups, a disk that
//! fills, a certificate that ends. Each is told once, and again only after it was well; restarts do not count.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::UnderWatch;
use crate::domain::alert::AlertKind;
use crate::domain::ids::ProviderId;
use crate::domain::metrics;
use crate::domain::time::Timestamp;
use crate::store::providers::ProviderRow;
use crate::store::{StoreError, Tx, alerts, examine, providers};
use crate::upstream::Troubled;

/// How often providers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Every how many of these looks the rest is looked at.
const REST_EVERY: u32 = 5;
/// How long a provider must be down before it is told: most that restart are back by then.
const GRACE: Duration = Duration::from_secs(3);
/// The same for a machine that joins: after a restart of this server it has to find out first.
const MACHINES_GRACE: Duration = Duration::from_secs(60);
/// Less free room than this is told, and more than that is well again.
const DISK_LOW: u64 = 1 << 30;
const DISK_WELL: u64 = DISK_LOW / 4 * 5;
/// A certificate is told of when less than this is left, or a fifth of its life if that is shorter: an authority's is
/// renewed when a third is left.
const CERTIFICATE_ENDS: i64 = 14 * 86_400_000;

/// What is known of what was told.
#[derive(Default)]
struct Looker {
    /// Kinds and subjects that are wrong, as the database has them.
    told: HashSet<(AlertKind, String)>,
    /// Providers that are down, and since when.
    down: HashMap<ProviderId, Instant>,
}

/// Looks for ever.
pub async fn run(watched: Arc<UnderWatch>) {
    let mut looker = Looker::default();
    while let Err(error) = looker.recall(&watched) {
        tracing::warn!(%error, "what was told cannot be read");
        tokio::time::sleep(LOOK_EVERY * 10).await;
    }
    for round in 0_u32.. {
        tokio::time::sleep(LOOK_EVERY).await;
        let looked = looker.look(&watched, round.is_multiple_of(REST_EVERY)).await;
        if let Err(error) = looked {
            tracing::warn!(%error, "what needs attention cannot be written down");
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
    }
}

impl Looker {
    /// What was told before this process started. A provider that was down is asked: nothing is known of it now.
    fn recall(&mut self, watched: &UnderWatch) -> Result<(), StoreError> {
        let rows = watched.store.read_inline(providers::list)?;
        for (kind, subject) in watched.store.read_inline(alerts::states)? {
            let Some(kind) = AlertKind::from_text(&kind) else { continue };
            let row = ProviderId::parse(&subject).and_then(|id| rows.iter().find(|row| row.id == id));
            if let Some(row) = row.filter(|row| row.joined_with.is_none()) {
                watched.providers.doubt(row.id, "it was down before this server started", Instant::now());
            }
            self.told.insert((kind, subject));
        }
        Ok(())
    }

    async fn look(&mut self, watched: &UnderWatch, at_all: bool) -> Result<(), StoreError> {
        let now = Timestamp::now();
        self.providers(watched, now).await?;
        if !at_all {
            return Ok(());
        }
        if let Some((at, ok)) = metrics::last_audit() {
            self.note(watched, AlertKind::AuditFailed, !ok, json!({"checked_at": at}), now).await?;
        }
        if let Some(backups) = &watched.backups {
            let standing = backups.standing(now).await;
            let is_old = standing.is_old || standing.last_good.is_none() && standing.failed.is_some();
            let detail = json!({"last_good_at": standing.last_good, "error": standing.failed});
            self.note(watched, AlertKind::BackupOld, is_old, detail, now).await?;
        }
        if let Some(free) = examine::free_bytes(watched.store.dir()) {
            let is_known = self.told.contains(&(AlertKind::DiskLow, String::new()));
            let detail = json!({"free_bytes": free, "free_mib": free >> 20});
            self.note(watched, AlertKind::DiskLow, is_low(free, is_known), detail, now).await?;
        }
        if let Some((from, until)) = (watched.certificate)() {
            let is_ending = ends_soon((from, until), now);
            self.note(watched, AlertKind::CertificateExpiring, is_ending, json!({"until": until}), now).await?;
        }
        Ok(())
    }

    /// Writes down what changed, if anything did.
    async fn note(
        &mut self,
        watched: &UnderWatch,
        kind: AlertKind,
        is_wrong: bool,
        detail: Value,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let tells = is_wrong.then_some((kind, detail));
        self.change(watched, (kind, String::new()), is_wrong, tells, now).await
    }

    async fn change(
        &mut self,
        watched: &UnderWatch,
        (kind, subject): (AlertKind, String),
        is_wrong: bool,
        tells: Option<(AlertKind, Value)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let state = (kind, subject);
        if self.told.contains(&state) == is_wrong {
            return Ok(());
        }
        let subject = state.1.clone();
        let write = move |conn: &Tx| {
            let tells = tells.as_ref().map(|(kind, detail)| (*kind, detail));
            alerts::note_state(conn, (kind, &subject), is_wrong, tells, now)
        };
        watched.writer.write(write).await?;
        if is_wrong {
            self.told.insert(state);
        } else {
            self.told.remove(&state);
        }
        Ok(())
    }

    async fn providers(&mut self, watched: &UnderWatch, now: Timestamp) -> Result<(), StoreError> {
        let troubled = watched.providers.troubled();
        let is_told = |(kind, _): &&(AlertKind, String)| *kind == AlertKind::ProviderDown;
        let told: Vec<ProviderId> =
            self.told.iter().filter(is_told).filter_map(|(_, subject)| ProviderId::parse(subject)).collect();
        self.down.retain(|id, _| troubled.iter().any(|one| one.provider == *id && one.is_down));
        if troubled.is_empty() && told.is_empty() {
            return Ok(());
        }
        let rows = watched.store.read_inline(providers::list)?;
        let in_use = |id: ProviderId| rows.iter().find(|row| row.id == id && row.disabled_at.is_none());
        for one in troubled.iter().filter(|one| one.is_down) {
            if let Some(row) = in_use(one.provider) {
                self.is_down(watched, row, one, now).await?;
            }
        }
        for id in told {
            let down = (AlertKind::ProviderDown, id.to_string());
            match in_use(id) {
                // Who was switched off or removed is not back.
                None => self.change(watched, down, false, None, now).await?,
                Some(_) if troubled.iter().any(|one| one.provider == id) => {}
                Some(row) => {
                    let detail = json!({"provider_id": id, "provider": row.name});
                    self.change(watched, down, false, Some((AlertKind::ProviderUp, detail)), now).await?;
                }
            }
        }
        Ok(())
    }

    async fn is_down(
        &mut self,
        watched: &UnderWatch,
        row: &ProviderRow,
        one: &Troubled,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let since = self.down.entry(row.id).or_insert_with(Instant::now);
        let grace = if row.joined_with.is_some() { MACHINES_GRACE } else { GRACE };
        if since.elapsed() < grace {
            return Ok(());
        }
        let detail = json!({"provider_id": row.id, "provider": row.name, "why": one.why});
        let tells = Some((AlertKind::ProviderDown, detail));
        self.change(watched, (AlertKind::ProviderDown, row.id.to_string()), true, tells, now).await
    }
}

/// What was told as low is low until there is a good deal more: a disk at the mark would tell of itself all day.
const fn is_low(free: u64, is_known: bool) -> bool {
    free < if is_known { DISK_WELL } else { DISK_LOW }
}

/// Whether a certificate that is valid from then until then is to be told of.
pub fn ends_soon((from, until): (Timestamp, Timestamp), now: Timestamp) -> bool {
    let (left, life) = (until.millis().saturating_sub(now.millis()), until.millis().saturating_sub(from.millis()));
    left < CERTIFICATE_ENDS.min(life / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_until_it_is_well() {
        let rows = [(2 << 30, false, false), (1 << 30, false, false), ((1 << 30) - 1, false, true)];
        let known = [(1 << 30, true, true), (DISK_WELL - 1, true, true), (DISK_WELL, true, false), (0, true, true)];
        for (free, is_known, low) in rows.into_iter().chain(known) {
            assert_eq!(is_low(free, is_known), low, "{free} {is_known}");
        }
    }

    #[test]
    fn a_certificate_ends_soon_by_its_own_measure() {
        let day = |days: i64| Timestamp::from_millis(days * 86_400_000);
        // life, age → soon
        for (life, age, soon) in
            [(90, 60, false), (90, 75, false), (90, 77, true), (6, 4, false), (6, 5, true), (365, 352, true)]
        {
            assert_eq!(ends_soon((day(0), day(life)), day(age)), soon, "{age} of {life}");
        }
        assert!(ends_soon((day(0), day(90)), day(100)));
    }
}
