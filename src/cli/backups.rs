//! Backups on a schedule: the flags, and the clock that takes them while the server runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::Failed;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::backups::Backups;

#[derive(Debug, ClapArgs)]
pub struct BackupArgs {
    /// Copy the database into this folder on a schedule; each copy is opened and audited before it counts
    #[arg(long, env = "COORDINATOR_BACKUP_DIR", value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// How often: a number and s, m, h or d
    #[arg(long, env = "COORDINATOR_BACKUP_EVERY", default_value = "6h", value_name = "TIME", value_parser = period, requires = "backup_dir")]
    pub backup_every: Duration,
    /// How many copies stay; the oldest goes
    #[arg(long, env = "COORDINATOR_BACKUP_KEEP", default_value = "28", value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "backup_dir")]
    backup_keep: u32,
}

impl BackupArgs {
    /// What the flags ask for; none without a folder.
    pub fn backups(&self) -> Result<Option<Arc<Backups>>, Failed> {
        let Some(dir) = &self.backup_dir else { return Ok(None) };
        let keep = usize::try_from(self.backup_keep).unwrap_or(usize::MAX);
        Ok(Some(Arc::new(Backups::new(dir, self.backup_every, keep)?)))
    }
}

/// A length of time: `90s`, `15m`, `6h`, `1d`.
fn period(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number and s, m, h or d, like 6h; 1 s to 366 d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let length = number.checked_mul(seconds).filter(|length| (1..=366 * 86_400).contains(length));
    length.map(Duration::from_secs).ok_or_else(wrong)
}

/// Takes each backup when it is due, for as long as it is not aborted.
pub async fn keep_taking(backups: Arc<Backups>, store: Store) {
    loop {
        let folder = Arc::clone(&backups);
        let due = tokio::task::spawn_blocking(move || folder.due_in(Timestamp::now()));
        let Ok(due) = due.await else { break };
        tokio::time::sleep(due).await;
        let (at, of) = (Arc::clone(&backups), store.clone());
        let taken = tokio::task::spawn_blocking(move || at.take(&of, Timestamp::now())).await;
        match taken {
            Ok(Ok(file)) => tracing::info!(file = %file.display(), "a backup was taken and audited"),
            Ok(Err(error)) => {
                tracing::error!(%error, "a backup failed");
                tokio::time::sleep(backups.retry_in()).await;
            }
            Err(_) => break,
        }
    }
    tracing::error!("backups on a schedule have ended");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("15m", 900), ("6h", 21_600), ("1d", 86_400)] {
            assert_eq!(period(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "6", "h", "0s", "1.5h", "-1h", "6 h", "367d", "99999999999999999999d", "1w", "6ä"] {
            assert!(period(text).is_err(), "{text}");
        }
    }
}
