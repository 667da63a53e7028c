//! Alerts: what they are of, when a balance crosses a mark, how long is waited between two tries to deliver one.

use std::time::Duration;

use super::money::MicroUsd;

/// What an alert is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// An account's balance fell below its own threshold.
    BalanceBelow,
    /// An account has nothing left, or a request was refused for want of money.
    BalanceEmpty,
    /// A request cost more than its account could pay.
    Shortfall,
    /// An account asked for its earnings.
    WithdrawalRequested,
    /// A provider does not answer.
    ProviderDown,
    /// It answers again.
    ProviderUp,
    /// The books do not agree.
    AuditFailed,
    /// The last good backup is older than it should be.
    BackupOld,
    /// Little is free where the data lies.
    DiskLow,
    /// The certificate ends soon, and was not renewed.
    CertificateExpiring,
    /// Somebody tries whether alerts arrive.
    Test,
}

impl AlertKind {
    /// All that come by themselves.
    pub const ALL: [Self; 10] = [
        Self::BalanceBelow,
        Self::BalanceEmpty,
        Self::Shortfall,
        Self::WithdrawalRequested,
        Self::ProviderDown,
        Self::ProviderUp,
        Self::AuditFailed,
        Self::BackupOld,
        Self::DiskLow,
        Self::CertificateExpiring,
    ];

    /// As it is stored, sent and set.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BalanceBelow => "balance.below",
            Self::BalanceEmpty => "balance.empty",
            Self::Shortfall => "shortfall",
            Self::WithdrawalRequested => "withdrawal.requested",
            Self::ProviderDown => "provider.down",
            Self::ProviderUp => "provider.up",
            Self::AuditFailed => "audit.failed",
            Self::BackupOld => "backup.old",
            Self::DiskLow => "disk.low",
            Self::CertificateExpiring => "certificate.expiring",
            Self::Test => "test",
        }
    }

    /// The kind of that name, if it comes by itself.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The account's holder is told, too.
    pub const fn concerns_holder(self) -> bool {
        matches!(self, Self::BalanceBelow | Self::BalanceEmpty)
    }
}

/// Which marks a balance crossed on its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crossed {
    /// The account's own threshold.
    pub below: bool,
    /// Zero.
    pub empty: bool,
}

impl Crossed {
    /// Between two balances; `threshold` is the account's own, if it has one. It is crossed once: to be crossed again it
    /// must have been reached again.
    pub fn between(before: MicroUsd, after: MicroUsd, threshold: Option<MicroUsd>) -> Self {
        Self {
            below: threshold.is_some_and(|mark| before >= mark && after < mark),
            empty: before > MicroUsd::ZERO && after <= MicroUsd::ZERO,
        }
    }

    /// Any of them.
    pub const fn any(self) -> bool {
        self.below || self.empty
    }
}

/// The first pause after a failed try, in seconds, and the longest.
const FIRST_PAUSE: u64 = 5;
const LONGEST_PAUSE: u64 = 6 * 3_600;
/// How long a delivery is tried, in milliseconds: four days outlast a long weekend.
const GIVEN_UP_AFTER: i64 = 4 * 86_400_000;

/// How long is waited after so many failed tries: twice as long each time, six hours at most.
pub fn pause(tries: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(20));
    Duration::from_secs(doubled.min(LONGEST_PAUSE))
}

/// What is `age` milliseconds old and was tried is not tried again.
pub const fn is_given_up(age: i64) -> bool {
    age >= GIVEN_UP_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_crossed_on_the_way_down_and_once() {
        let m = MicroUsd::new;
        // before, after, threshold → below, empty
        let rows = [
            (10, 5, Some(5), false, false),
            (10, 4, Some(5), true, false),
            (5, 4, Some(5), true, false),
            (4, 3, Some(5), false, false),
            (4, 10, Some(5), false, false),
            (10, 0, Some(5), true, true),
            (4, 0, Some(5), false, true),
            (0, 0, Some(5), false, false),
            (4, 0, None, false, true),
            (4, 1, None, false, false),
            (0, 7, None, false, false),
        ];
        for (before, after, threshold, below, empty) in rows {
            let crossed = Crossed::between(m(before), m(after), threshold.map(m));
            assert_eq!(crossed, Crossed { below, empty }, "{before} to {after} with {threshold:?}");
            assert_eq!(crossed.any(), below || empty);
        }
    }

    #[test]
    fn pauses_grow_to_hours_and_end_after_days() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 10, 13, 14, u32::MAX].map(|n| pause(n).as_secs()).to_vec();
        assert_eq!(seconds, [5, 5, 10, 20, 2_560, 20_480, 21_600, 21_600]);
        assert!(!is_given_up(3 * 86_400_000) && is_given_up(4 * 86_400_000) && !is_given_up(-1));
    }

    #[test]
    fn a_kind_is_its_name() {
        for kind in AlertKind::ALL {
            assert_eq!(AlertKind::from_text(kind.as_str()), Some(kind));
        }
        assert_eq!((AlertKind::from_text("test"), AlertKind::from_text("")), (None, None));
    }
}
