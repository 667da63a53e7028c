//! Addresses in whatever spelling, twins from before, and near misses.

use rusqlite::params;

use super::*;
use crate::domain::time::Timestamp;
use crate::store::Tx;
use crate::store::tables::account_search::{Change, change};
use crate::store::tables::accounts::create;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn add(conn: &Tx, name: &str, email: &str) -> Result<Account, StoreError> {
    create(conn, name, Some(email), "test", NOW)
}

/// As they were made before addresses were compared.
fn add_twin(conn: &Tx, id: i64, email: &str) {
    let sql = "INSERT INTO accounts (id, name, email, created_at) VALUES (?1, ?2, ?3, 0)";
    assert!(conn.execute(sql, params![id, format!("twin {id}"), email]).is_ok());
}

#[test]
fn an_address_is_one_account_whatever_its_case_and_composition() {
    let conn = Tx::in_memory();
    let ada = add(&conn, "Ada", "Ada@Example.org").unwrap();
    let jose = add(&conn, "José", "Jose\u{301}@example.org").unwrap();
    for (text, account) in [
        ("ada@example.org", &ada),
        ("ADA@EXAMPLE.ORG", &ada),
        ("Ada", &ada),
        ("JOS\u{c9}@example.org", &jose),
        ("jose\u{301}@EXAMPLE.org", &jose),
    ] {
        assert_eq!(find(&conn, text).map(|found| found.id).ok(), Some(account.id), "{text}");
    }
    // A name is its owner's to spell.
    assert!(find(&conn, "ada").is_err());
    for (name, email) in [("Other", "aDa@example.org"), ("Other", "jos\u{e9}@Example.org")] {
        let refused = add(&conn, name, email);
        assert!(matches!(refused, Err(StoreError::Taken { field: "email", .. })), "{email}: {refused:?}");
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("are one address") && text.contains("account \""), "{text}");
    }
    // A name that reads as another's address would find that other.
    let named = create(&conn, "ada@EXAMPLE.org", None, "test", NOW);
    assert!(matches!(named, Err(StoreError::Taken { field: "name", .. })), "{named:?}");
    // Nor may an address be another's name, in any spelling: who typed it as that would find the name.
    create(&conn, "Bob@example.org", None, "test", NOW).unwrap();
    let taken = add(&conn, "Bob", "bob@example.org");
    assert!(matches!(taken, Err(StoreError::Taken { field: "email", .. })), "{taken:?}");
    // One's own in another spelling is no twin.
    let other_case = Change { email: Some(Some("ADA@example.org".into())), ..Change::default() };
    assert_eq!(change(&conn, ada.id, &other_case, "test", NOW).unwrap().email.as_deref(), Some("ADA@example.org"));
    let taken = Change { email: Some(Some("ADA@Example.org".into())), ..Change::default() };
    assert!(matches!(change(&conn, jose.id, &taken, "test", NOW), Err(StoreError::Taken { .. })));
}

#[test]
fn twins_from_before_are_told_apart_by_their_spelling_or_their_id() {
    let conn = Tx::in_memory();
    add_twin(&conn, 11, "eve@example.org");
    add_twin(&conn, 12, "Eve@example.org");
    add_twin(&conn, 13, "j\u{f3}n@example.org");
    add_twin(&conn, 14, "jo\u{301}n@example.org");
    add_twin(&conn, 15, "other@example.org");
    let exact = |text: &str| find(&conn, text).map(|account| account.id.to_i64());
    assert_eq!(exact("Eve@example.org").ok(), Some(12));
    assert_eq!(exact("eve@example.org").ok(), Some(11));
    let refused = exact("EVE@example.org").unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains(&AccountId::from_i64(11).to_string()), "{text}");
    assert!(text.contains(&AccountId::from_i64(12).to_string()), "{text}");
    let groups: Vec<Vec<i64>> =
        twins(&conn).unwrap().into_iter().map(|group| group.into_iter().map(|one| one.id.to_i64()).collect()).collect();
    assert_eq!(groups, [vec![11, 12], vec![13, 14]]);
}

#[test]
fn a_near_miss_is_named() {
    let conn = Tx::in_memory();
    add(&conn, "Grace Hopper", "grace@example.org").unwrap();
    for (typed, meant) in
        [("grace@exmaple.org", Some("grace@example.org")), ("Grace Hoper", Some("Grace Hopper")), ("Linus", None)]
    {
        let text = find(&conn, typed).unwrap_err().to_string();
        match meant {
            Some(meant) => assert!(text.ends_with(&format!("nearly the same: \"{meant}\"")), "{text}"),
            None => assert_eq!(text, "no account \"Linus\""),
        }
    }
}

#[test]
fn an_address_is_found_by_its_index() {
    let conn = Tx::in_memory();
    let sql = format!("EXPLAIN QUERY PLAN {BY_ADDRESS}");
    let mut statement = conn.prepare(&sql).unwrap();
    let plan: Vec<String> =
        statement.query_map(["x"], |row| row.get(3)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("INDEX accounts_email (") && plan.contains("INDEX accounts_email_wide"), "{plan}");
    assert!(!plan.lines().any(|line| line.ends_with("SCAN accounts")), "{plan}");
}
