//! Alerts in words, for people who read mail.

use serde_json::Value;

use crate::store::alerts::AlertRow;

/// The most of one text that comes from elsewhere, in characters.
const LONGEST: usize = 200;

/// A mail's subject and text.
pub struct Letter {
    /// One line.
    pub subject: String,
    /// What there is to say.
    pub text: String,
}

/// What is told of an alert. `base` is where the pages are, if that is known.
pub fn letter(alert: &AlertRow, base: Option<&str>) -> Letter {
    let field = |name: &str| shown(&alert.detail, name);
    let (account, provider) = (field("account_name"), field("provider"));
    let usd = |name: &str| format!("${}", field(name));
    let (subject, text) = match alert.kind.as_str() {
        "balance.below" => (
            format!("The balance of {account} is below {}", usd("below_usd")),
            format!("The account {account} has {} left, less than {}.", usd("balance_usd"), usd("below_usd")),
        ),
        "balance.empty" => (
            format!("The balance of {account} is used up"),
            format!(
                "The account {account} has {} left. Requests that cost more are refused until credit is added.",
                usd("balance_usd")
            ),
        ),
        "shortfall" => (
            format!("A request of {account} cost more than it could pay"),
            format!(
                "Request {} of the account {account} ({}) cost {} more than its balance covered. Nobody owes that.",
                field("request_id"),
                field("model"),
                usd("shortfall_usd")
            ),
        ),
        "withdrawal.requested" => (
            format!("{account} asks for {} to be paid out", usd("amount_usd")),
            format!("Withdrawal {} of the account {account}: {}.", field("withdrawal_id"), usd("amount_usd")),
        ),
        "provider.down" => (
            format!("The provider {provider} is down"),
            format!("{provider} does not answer: {}. It gets no requests until it does.", field("why")),
        ),
        "provider.up" => (format!("The provider {provider} is back"), format!("{provider} answers again.")),
        "audit.failed" => (
            "The books do not agree".to_owned(),
            "An audit found what does not agree. `coordinator audit` says what.".to_owned(),
        ),
        "backup.old" => (
            "The last good backup is old".to_owned(),
            format!("The last good backup is of {}. The last try: {}.", field("last_good_at"), field("error")),
        ),
        "disk.low" => (
            "The disk is nearly full".to_owned(),
            format!("{} MiB are free where the data lies. With none, new work is refused.", field("free_mib")),
        ),
        "certificate.expiring" => (
            "The certificate ends soon".to_owned(),
            format!("The certificate ends at {}, and was not renewed.", field("until")),
        ),
        "test" => ("Alerts arrive".to_owned(), "Somebody tried whether alerts arrive. This one did.".to_owned()),
        other => (one_line(other), one_line(&alert.detail.to_string())),
    };
    let place = base.map(|base| format!("\n{base}")).unwrap_or_default();
    let text = format!("{text}\n\n{}, {}{place}\n", alert.created_at, alert.id);
    Letter { subject: format!("[coordinator] {subject}"), text }
}

fn shown(detail: &Value, name: &str) -> String {
    match &detail[name] {
        Value::String(text) => one_line(text),
        Value::Null => "unknown".to_owned(),
        other => one_line(&other.to_string()),
    }
}

/// What comes from elsewhere, as a part of one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::alert::AlertKind;
    use crate::domain::ids::AlertId;
    use crate::domain::time::Timestamp;

    fn of(kind: &str, detail: Value) -> Letter {
        let (id, created_at) = (AlertId::from_i64(7), Timestamp::from_millis(0));
        letter(&AlertRow { seq: 1, id, kind: kind.into(), subject: String::new(), detail, created_at }, None)
    }

    #[test]
    fn every_kind_has_words_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for kind in AlertKind::ALL.into_iter().chain([AlertKind::Test]) {
            let letter = of(kind.as_str(), json!({}));
            assert!(!letter.subject.contains(kind.as_str()) || kind.as_str() == "test", "{}", letter.subject);
            assert!(letter.text.contains("alert_0000000000007"), "{}", letter.text);
            assert!(seen.insert(letter.subject));
        }
    }

    #[test]
    fn what_comes_from_elsewhere_makes_no_second_line() {
        let why = format!("refused\r\nBcc: all@example.org\u{85}{}", "x".repeat(999));
        let letter = of("provider.down", json!({"provider": "gpu\r\nX-Bad: 1", "why": why}));
        assert!(!letter.subject.contains(['\r', '\n']), "{}", letter.subject);
        assert_eq!(letter.text.lines().count(), 3, "{}", letter.text);
        assert!(letter.text.len() < 500);
    }
}
