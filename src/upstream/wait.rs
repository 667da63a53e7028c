//! `Retry-After`, in every form that servers send.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The longest `Retry-After` that a client gets, whatever a server says.
const LONGEST: Duration = Duration::from_secs(300);

/// When a server wants to be asked again: seconds, a fraction of them, a date, or milliseconds in the header
/// that OpenAI's SDKs read. At most five minutes.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let millis = text("retry-after-ms").and_then(|value| Some(seconds(value)? / 1_000));
    let said = millis.or_else(|| {
        let value = text(RETRY_AFTER.as_str())?;
        seconds(value).or_else(|| {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        })
    });
    said.map(|wait| wait.min(LONGEST))
}

/// `7`, `1.5`, `.5`; more digits than a number holds are as many as it holds.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if text.len() > 100 || (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u64::MAX >> 1) };
    let millis: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    Some(Duration::from_secs(whole).saturating_add(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_clamped() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let rows = [
            ("7", Some(7_000)),
            (" 7 ", Some(7_000)),
            ("0", Some(0)),
            ("1.5", Some(1_500)),
            (".25", Some(250)),
            ("2.", Some(2_000)),
            ("0.0009", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30_000)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30_000)),
            ("Sun Nov  6 08:50:07 1994", Some(30_000)),
            ("Sun, 06 Nov 1994 07:00:00 GMT", Some(0)),
            ("Tue, 31 Dec 2999 23:59:59 GMT", Some(300_000)),
            ("86400", Some(300_000)),
            ("99999999999999999999999999", Some(300_000)),
            ("-5", None),
            ("soon", None),
            ("", None),
            (".", None),
            ("1e3", None),
        ];
        for (value, expected) in rows {
            let mut headers = HeaderMap::new();
            assert!(value.parse().map(|value| headers.insert(RETRY_AFTER, value)).is_ok());
            let got = retry_after(&headers, now).map(|wait| wait.as_millis());
            assert_eq!(got, expected, "{value}");
        }
        let mut headers = HeaderMap::new();
        for (name, value) in [("retry-after", "9"), ("retry-after-ms", "1250")] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        assert_eq!(retry_after(&headers, now), Some(Duration::from_millis(1_250)));
    }
}
