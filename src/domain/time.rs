//! Time as milliseconds since 1970 UTC; RFC 3339 as text. The one clock of the program is read here, in
//! [`Timestamp::now`]; on this floor nothing calls it: the time is an argument.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, UtcOffset};

/// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A span in whole milliseconds, as it is shown and logged.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds in a day.
const DAY: i64 = 86_400_000;

impl Timestamp {
    /// The time `millis` milliseconds after 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// `20260430T142201Z`: for names of files, without what some systems do not have in them.
    pub fn in_a_name(self) -> String {
        self.to_string().chars().filter(char::is_ascii_alphanumeric).collect()
    }

    /// The time of the machine's wall clock. For the floors above; the domain never calls it.
    pub fn now() -> Self {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        Self(i64::try_from(now).unwrap_or(0))
    }

    /// The time `seconds` later.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000)))
    }

    /// Midnight UTC of its day.
    pub const fn start_of_day(self) -> Self {
        Self(self.0 - self.0.rem_euclid(DAY))
    }

    /// Midnight UTC of the Monday of its week.
    pub const fn start_of_week(self) -> Self {
        // 1970-01-01 was a Thursday.
        Self(self.0 - (self.0 + 3 * DAY).rem_euclid(7 * DAY))
    }

    /// Midnight UTC of the first of its month.
    pub fn start_of_month(self) -> Self {
        let day_of_month = OffsetDateTime::from_unix_timestamp(self.seconds()).map_or(1, |time| time.day());
        Self(self.start_of_day().0 - DAY * (i64::from(day_of_month) - 1))
    }

    /// Reads RFC 3339 (`2026-04-30T14:22:01Z`, offsets allowed) or a plain UTC day (`2026-04-30`).
    pub fn parse(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| {
            let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
            Some(day.midnight().assume_utc())
        })?;
        i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    /// `2026-04-30T14:22:01Z`: RFC 3339 in UTC, whole seconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp(self.seconds())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .to_offset(UtcOffset::UTC);
        f.write_str(&time.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now() {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let apart = Timestamp::now().millis().abs_diff(i64::try_from(since_1970.as_millis()).unwrap_or(0));
        assert!(apart < 60_000, "{apart} ms");
    }

    #[test]
    fn rfc_3339_is_read_and_written() {
        let rows = [
            ("2026-04-30T14:22:01Z", Some(1_777_558_921_000)),
            ("2026-04-30T16:22:01+02:00", Some(1_777_558_921_000)),
            ("2026-04-30T14:22:01.250Z", Some(1_777_558_921_250)),
            ("2026-04-30", Some(1_777_507_200_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-13-01", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, millis) in rows {
            assert_eq!(Timestamp::parse(text), millis.map(Timestamp), "{text}");
        }
        assert_eq!(Timestamp(1_777_558_921_999).to_string(), "2026-04-30T14:22:01Z");
        assert_eq!(Timestamp(i64::MAX).to_string(), "1970-01-01T00:00:00Z");
    }
}
