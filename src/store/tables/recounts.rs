//! A meter for the meters: what providers report, compared with our own count of the same answers.

use rusqlite::params;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::ProviderId;
use crate::domain::time::Timestamp;
use crate::store::{Read, StoreError, Tx};

/// Which tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedPart {
    /// Of the prompt.
    Prompt,
    /// Of the completion.
    Completion,
}

impl CountedPart {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Completion => "completion",
        }
    }

    /// Fewer tokens than this tell nothing: a chat template adds some to any prompt, and a last token is one of few.
    const fn fewest(self) -> u64 {
        match self {
            Self::Prompt => 100,
            Self::Completion => 20,
        }
    }
}

/// What is known of one provider with one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Recount {
    /// Whose reports.
    #[serde(skip)]
    pub provider_id: ProviderId,
    /// The public name.
    pub model: String,
    /// `prompt` or `completion`.
    pub part: String,
    /// Answers that were counted, of late.
    pub answers: i64,
    /// What it reports for each 1,000 tokens that are counted, on average.
    pub mean_permille: i64,
    /// The standard deviation of that.
    pub spread_permille: i64,
}

/// The largest ratio that is noted, in thousandths: sums stay far from what fits.
const LARGEST: u64 = 1_000_000;

/// Notes what was reported and what was counted of one part of an answer.
pub fn add(
    conn: &Tx,
    provider: ProviderId,
    model: &str,
    (part, reported, counted): (CountedPart, u64, u64),
    now: Timestamp,
) -> Result<(), StoreError> {
    if counted < part.fewest() {
        return Ok(());
    }
    let ratio = reported.saturating_mul(1_000).checked_div(counted).unwrap_or(LARGEST).min(LARGEST);
    let ratio = i64::try_from(ratio).unwrap_or(i64::MAX);
    conn.prepare_cached(
        "INSERT INTO recounts (provider_id, model, part, answers, ratio_sum, ratio_square_sum, counted_at) \
         VALUES (?1, ?2, ?3, 1, ?4, ?4 * ?4, ?5) ON CONFLICT DO UPDATE SET \
         answers = answers / iif(answers < 400, 1, 2) + 1, \
         ratio_sum = ratio_sum / iif(answers < 400, 1, 2) + ?4, \
         ratio_square_sum = ratio_square_sum / iif(answers < 400, 1, 2) + ?4 * ?4, counted_at = ?5",
    )?
    .execute(params![provider.to_i64(), model, part.as_str(), ratio, now.millis()])?;
    Ok(())
}

/// All that is known, of providers that are not removed, by model.
pub fn list(conn: &Read) -> Result<Vec<Recount>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT r.provider_id, r.model, r.part, r.answers, r.ratio_sum, r.ratio_square_sum FROM recounts r \
         JOIN providers p ON p.id = r.provider_id WHERE p.removed_at IS NULL ORDER BY r.model, r.part DESC, r.provider_id",
    )?;
    let rows = statement.query_map([], |row| {
        let (answers, sum, squares): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let per_answer = |sum: i64| sum.checked_div(answers).unwrap_or_default();
        let mean = per_answer(sum);
        Ok(Recount {
            provider_id: ProviderId::from_i64(row.get(0)?),
            model: row.get(1)?,
            part: row.get(2)?,
            answers,
            mean_permille: mean,
            spread_permille: per_answer(squares).saturating_sub(mean.saturating_mul(mean)).max(0).isqrt(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What of a provider is known.
pub fn of_provider(conn: &Read, provider: ProviderId) -> Result<Vec<Recount>, StoreError> {
    Ok(list(conn)?.into_iter().filter(|one| one.provider_id == provider).collect())
}

impl Recount {
    /// Fewer answers than this prove nothing.
    const ENOUGH: i64 = 20;

    /// What the provider reports is out of line: less than half or more than twice what is counted, which no
    /// tokenizer makes of the same text, or a quarter more than another provider reports for the same model.
    pub fn is_out_of_line(&self, all: &[Self]) -> bool {
        let peer = |other: &&Self| {
            other.provider_id != self.provider_id
                && other.answers >= Self::ENOUGH
                && (other.model.as_str(), other.part.as_str()) == (self.model.as_str(), self.part.as_str())
        };
        let lowest = all.iter().filter(peer).map(|other| other.mean_permille).min();
        let above_a_peer = lowest.is_some_and(|low| self.mean_permille > low.saturating_mul(5) / 4);
        self.answers >= Self::ENOUGH && (!(500..=2_000).contains(&self.mean_permille) || above_a_peer)
    }

    /// `1.02 ±0.05`
    pub fn text(&self) -> String {
        let decimal = |n: i64| format!("{}.{:02}", n / 1_000, n % 1_000 / 10);
        format!("{} ±{}", decimal(self.mean_permille), decimal(self.spread_permille))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_777_559_321_000);

    fn database() -> Tx {
        let conn = Tx::in_memory();
        conn.execute_batch(
            "INSERT INTO accounts (id, name, created_at) VALUES (5, 'owner', 0);
             INSERT INTO providers (id, name, account_id, url, created_at) VALUES (1, 'a', 5, 'u', 0), (2, 'b', 5, 'u', 0)",
        )
        .unwrap();
        conn
    }

    fn note(conn: &Tx, provider: i64, part: CountedPart, reported: u64, counted: u64) {
        add(conn, ProviderId::from_i64(provider), "m", (part, reported, counted), NOW).unwrap();
    }

    #[test]
    fn ratios_have_a_mean_and_a_spread() {
        let conn = database();
        for reported in [900, 1_100] {
            note(&conn, 1, CountedPart::Prompt, reported, 1_000);
        }
        note(&conn, 1, CountedPart::Prompt, 7_000, 99);
        note(&conn, 1, CountedPart::Completion, 500, 19);
        let all = list(&conn).unwrap();
        assert_eq!(all.len(), 1, "few tokens tell nothing");
        assert_eq!((all[0].answers, all[0].mean_permille, all[0].spread_permille), (2, 1_000, 100));
        assert_eq!(all[0].text(), "1.00 ±0.10");
    }

    #[test]
    fn what_was_long_ago_fades() {
        let conn = database();
        for _ in 0..1_000 {
            note(&conn, 1, CountedPart::Prompt, 1_000, 1_000);
        }
        for _ in 0..1_000 {
            note(&conn, 1, CountedPart::Prompt, u64::MAX, 1_000);
        }
        for _ in 0..4_000 {
            note(&conn, 1, CountedPart::Prompt, 2_000, 1_000);
        }
        let all = list(&conn).unwrap();
        assert!(all[0].answers <= 400 && (1_990..=2_500).contains(&all[0].mean_permille), "{all:?}");
    }

    #[test]
    fn who_reports_more_than_a_peer_or_than_any_tokenizer_is_out_of_line() {
        // of provider 1 and, if there is one, of 2: reported for each 1,000 → who is out of line
        let rows: [(u64, Option<u64>, bool, bool); 7] = [
            (1_000, None, false, false),
            (2_001, None, true, false),
            (499, None, true, false),
            (1_400, None, false, false),
            (1_400, Some(1_100), true, false),
            (1_300, Some(1_100), false, false),
            (900, Some(1_200), false, true),
        ];
        for (one, two, first, second) in rows {
            let conn = database();
            for n in 0..20 {
                note(&conn, 1, CountedPart::Completion, one, 1_000);
                if let Some(two) = two {
                    note(&conn, 2, CountedPart::Completion, two, 1_000);
                }
                let all = list(&conn).unwrap();
                assert!(n == 19 || !all[0].is_out_of_line(&all), "{n} answers prove nothing");
            }
            let all = list(&conn).unwrap();
            let found: Vec<bool> = all.iter().map(|recount| recount.is_out_of_line(&all)).collect();
            assert_eq!(found, if two.is_some() { vec![first, second] } else { vec![first] }, "{one} {two:?}");
        }
    }
}
