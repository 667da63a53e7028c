//! The outbox: what is written to it, who is next, when it ends.

use super::*;
use crate::domain::secret::Secret;
use crate::store::alert_channels::{self, AlertSettings, WebhookSettings};
use crate::store::{accounts, ledger};

const NOW: Timestamp = Timestamp::from_millis(1_777_558_921_000);

fn usd(micro: i64) -> MicroUsd {
    MicroUsd::new(micro)
}

/// A database with an account of 10,000 micro-dollars that wants to know of 5,000, and a webhook.
fn books() -> Result<(Tx, AccountId), StoreError> {
    let conn = Tx::in_memory();
    let ada = accounts::create(&conn, "ada", Some("ada@example.org"), "test", NOW)?.id;
    ledger::credit(&conn, ada, usd(10_000), "", "test", NOW)?;
    set_threshold(&conn, ada, Some(usd(5_000)))?;
    let webhook = Some(WebhookSettings { url: "http://127.0.0.1:1/".into(), secret: Secret::new("x".into()) });
    alert_channels::save(&conn, &AlertSettings { webhook, ..AlertSettings::default() }, "test", NOW)?;
    Ok((conn, ada))
}

fn kinds(conn: &Read) -> Result<Vec<String>, StoreError> {
    Ok(list(conn, None, 100)?.into_iter().rev().map(|(row, _)| row.kind).collect())
}

fn debit(conn: &Tx, account: AccountId, micro: i64) -> Result<(), StoreError> {
    let debit = ledger::Debit { account, amount: usd(micro), note: String::new() };
    ledger::debit(conn, &debit, usd(micro), MicroUsd::ZERO, "test", NOW).map(drop)
}

#[test]
fn each_mark_is_told_once_and_again_after_credit() -> Result<(), StoreError> {
    let (conn, ada) = books()?;
    for micro in [5_000, 1, 1_000] {
        debit(&conn, ada, micro)?;
    }
    assert_eq!(kinds(&conn)?, ["balance.below"]);
    debit(&conn, ada, 3_999)?;
    assert_eq!(kinds(&conn)?, ["balance.below", "balance.empty"]);
    ledger::credit(&conn, ada, usd(5_000), "", "test", NOW)?;
    debit(&conn, ada, 5_000)?;
    assert_eq!(kinds(&conn)?[2..], ["balance.empty", "balance.below"]);
    Ok(())
}

#[test]
fn a_channel_delivers_in_order_and_only_what_lets_pass_is_passed() -> Result<(), StoreError> {
    let (conn, _) = books()?;
    let later = NOW.plus_seconds(10);
    for n in 0..3 {
        record(&conn, AlertKind::DiskLow, "", &json!({"n": n}), NOW)?;
    }
    let first = |at| Ok::<_, StoreError>(next(&conn, Channel::Webhook, at)?.map(|due| (due.alert.seq, due.next_at)));
    let again = |lets_pass| TryOutcome::Again { at: later, error: "x".into(), lets_pass };
    assert_eq!(first(NOW)?, Some((1, NOW)));
    tried(&conn, Channel::Webhook, 1, &again(false), NOW)?;
    assert_eq!(first(NOW)?, Some((1, later)), "all wait for it");
    tried(&conn, Channel::Webhook, 1, &again(true), NOW)?;
    assert_eq!(first(NOW)?, Some((2, NOW)), "nobody waits for it");
    assert_eq!(first(later)?, Some((1, later)));
    tried(&conn, Channel::Webhook, 1, &TryOutcome::Delivered, NOW)?;
    tried(&conn, Channel::Webhook, 2, &TryOutcome::GivenUp { error: "y".into() }, NOW)?;
    assert_eq!((first(later)?, standing(&conn)?), (Some((3, NOW)), (1, 1)));
    assert_eq!(
        (next(&conn, Channel::Email, NOW)?.is_none(), next(&conn, Channel::Holder, NOW)?.is_none()),
        (true, true)
    );
    // Other settings: what waits is tried at once; off: it waits no more.
    tried(&conn, Channel::Webhook, 3, &again(true), NOW)?;
    let settings = alert_channels::load(&conn)?;
    alert_channels::save(&conn, &settings, "test", NOW)?;
    assert_eq!(first(NOW)?, Some((3, NOW)));
    alert_channels::save(&conn, &AlertSettings::default(), "test", NOW)?;
    assert_eq!((first(later)?, standing(&conn)?), (None, (0, 2)));
    Ok(())
}

#[test]
fn what_is_muted_is_written_and_goes_nowhere() -> Result<(), StoreError> {
    let (conn, ada) = books()?;
    let settings = AlertSettings { muted: vec![AlertKind::BalanceBelow], ..alert_channels::load(&conn)? };
    alert_channels::save(&conn, &settings, "test", NOW)?;
    assert_eq!(alert_channels::load(&conn)?, settings);
    debit(&conn, ada, 6_000)?;
    assert_eq!((kinds(&conn)?.len(), standing(&conn)?), (1, (0, 0)));
    Ok(())
}

#[test]
fn nobody_floods_anybody_and_the_oldest_go() -> Result<(), StoreError> {
    let (conn, _) = books()?;
    let at = |seconds| NOW.plus_seconds(seconds);
    let of = |subject: &str, now| record(&conn, AlertKind::Shortfall, subject, &json!({}), now);
    for n in 0..15 {
        assert_eq!(of("acct_a", at(n))?, n < 10, "{n}");
    }
    assert!(of("acct_b", at(15))? && record(&conn, AlertKind::BalanceEmpty, "acct_a", &json!({}), at(15))?);
    assert!(of("acct_a", at(3_601))?, "an hour later");
    for n in 0..MOST_KEPT {
        of(&format!("acct_{n}"), at(9_000))?;
    }
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    assert_eq!(count("SELECT count(*) FROM alerts")?, MOST_KEPT);
    assert_eq!(count("SELECT count(*) FROM alert_deliveries")?, MOST_KEPT);
    assert!(count("SELECT min(seq) FROM alerts")? > 10);
    Ok(())
}

#[test]
fn a_state_is_told_when_it_changes() -> Result<(), StoreError> {
    let (conn, _) = books()?;
    let detail = json!({});
    let note = |is_wrong, kind| {
        let state = (AlertKind::ProviderDown, "prov_1");
        note_state(&conn, state, is_wrong, Some((kind, &detail)), NOW)
    };
    assert_eq!(note(true, AlertKind::ProviderDown)?, Some(true));
    assert_eq!(note(true, AlertKind::ProviderDown)?, None);
    assert_eq!(states(&conn)?, [("provider.down".to_owned(), "prov_1".to_owned())]);
    assert_eq!(note(false, AlertKind::ProviderUp)?, Some(true));
    assert_eq!(note(false, AlertKind::ProviderUp)?, None);
    assert_eq!(kinds(&conn)?, ["provider.down", "provider.up"]);
    Ok(())
}

#[test]
fn the_holder_is_told_of_the_own_balance_alone_and_only_with_an_address() -> Result<(), StoreError> {
    let (conn, ada) = books()?;
    let bob = accounts::create(&conn, "bob", None, "test", NOW)?.id;
    let mail = alert_channels::MailSettings {
        host: "localhost".into(),
        port: 25,
        security: alert_channels::MailSecurity::None,
        username: Some("u".into()),
        password: Some(Secret::new("p".into())),
        from: "a@b".into(),
        to: vec!["c@d".into()],
    };
    let settings = AlertSettings { mail: Some(mail), holders: true, ..AlertSettings::default() };
    alert_channels::save(&conn, &settings, "test", NOW)?;
    assert_eq!(alert_channels::load(&conn)?, settings);
    for (account, kind, holder) in [
        (ada, AlertKind::BalanceBelow, true),
        (ada, AlertKind::BalanceEmpty, true),
        (ada, AlertKind::Shortfall, false),
        (bob, AlertKind::BalanceEmpty, false),
    ] {
        record(&conn, kind, &account.to_string(), &json!({}), NOW)?;
        let channels: Vec<String> =
            list(&conn, None, 1)?[0].1.iter().map(|delivery| delivery.channel.clone()).collect();
        assert_eq!(channels, if holder { &["holder", "email"][..] } else { &["email"] }, "{kind:?} of {account}");
    }
    Ok(())
}
