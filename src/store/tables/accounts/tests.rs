//! Names and emails, whom a text finds, and what suspending does.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn database() -> Tx {
    Tx::in_memory()
}

fn add(conn: &Tx, name: &str, email: Option<&str>) -> Result<Account, StoreError> {
    create(conn, name, email, "test", NOW)
}

fn names(accounts: Vec<Account>) -> Vec<String> {
    accounts.into_iter().map(|account| account.name).collect()
}

#[test]
fn a_name_is_one_to_two_hundred_characters_and_not_like_an_id() {
    let (longest, too_long) = ("ä".repeat(200), "a".repeat(201));
    let rows = [
        ("a", true),
        ("Ada Lovelace", true),
        (longest.as_str(), true),
        ("acct", true),
        ("my acct_", true),
        ("", false),
        (too_long.as_str(), false),
        (" ada", false),
        ("ada ", false),
        ("\u{a0}ada", false),
        ("a\tb", false),
        ("a\0b", false),
        ("a\u{85}b", false),
        ("acct_", false),
        ("acct_0000000000002", false),
    ];
    let conn = database();
    for (name, fine) in rows {
        match add(&conn, name, None) {
            Ok(account) => assert!(fine && account.name == name, "{name:?}"),
            Err(e) => assert!(!fine && matches!(e, StoreError::InvalidField { field: "name", .. }), "{name:?}: {e:?}"),
        }
    }
}

#[test]
fn an_email_has_something_on_both_sides_of_an_at() {
    let (longest, too_long) = (format!("{}@b", "a".repeat(318)), format!("{}@b", "a".repeat(319)));
    let rows = [
        ("a@b", true),
        ("ada@example.org", true),
        (longest.as_str(), true),
        ("", false),
        ("ada", false),
        ("@", false),
        ("@example.org", false),
        ("ada@", false),
        (too_long.as_str(), false),
        ("a da@example.org", false),
        ("ada@example.org ", false),
        ("ada\u{a0}@example.org", false),
        ("ada@example\0.org", false),
        ("ada\u{7f}@example.org", false),
    ];
    let conn = database();
    for (n, (email, fine)) in rows.into_iter().enumerate() {
        match add(&conn, &n.to_string(), Some(email)) {
            Ok(account) => assert!(fine && account.email.as_deref() == Some(email), "{email:?}"),
            Err(e) => {
                assert!(!fine && matches!(e, StoreError::InvalidField { field: "email", .. }), "{email:?}: {e:?}")
            }
        }
    }
}

#[test]
fn one_text_never_means_two_accounts() {
    let conn = database();
    add(&conn, "ada", Some("ada@example.org")).unwrap();
    add(&conn, "bob@example.org", None).unwrap();
    let rows = [
        ("ada", None),
        ("ada", Some("other@example.org")),
        ("other", Some("ada@example.org")),
        ("ada@example.org", None),
        ("bob", Some("bob@example.org")),
    ];
    for (name, email) in rows {
        let refused = add(&conn, name, email);
        assert!(matches!(refused, Err(StoreError::Taken { .. })), "{name} {email:?}: {refused:?}");
    }
    assert_eq!(names(list(&conn, 10).unwrap()), ["ada", "bob@example.org"]);
    let made = events::list(&conn, None, None, 10).unwrap().len();
    assert_eq!(made, 2, "a refusal is no event");
    add(&conn, "carol@example.org", Some("carol@example.org")).unwrap();
}

#[test]
fn an_account_is_found_by_id_name_or_email() {
    let conn = database();
    let ada = add(&conn, "ada", Some("ada@example.org")).unwrap();
    let bob = add(&conn, "bob", None).unwrap();
    let (ada_id, bob_id) = (ada.id.to_string(), bob.id.to_string());
    let rows = [("ada", ada.id), ("ada@example.org", ada.id), (&ada_id, ada.id), ("bob", bob.id), (&bob_id, bob.id)];
    for (text, id) in rows {
        assert_eq!(find(&conn, text).unwrap().id, id, "{text}");
    }
    for text in ["", "ad", "ADA", "ada@example", "carol", "acct_0000000000002"] {
        let missing = find(&conn, text);
        assert!(matches!(missing, Err(StoreError::NotFound(_))), "{text}: {missing:?}");
    }
}

#[test]
fn accounts_are_listed_by_name() {
    let conn = database();
    for name in ["carol", "ada", "bob"] {
        add(&conn, name, None).unwrap();
    }
    for (limit, expected) in [(10, "ada bob carol"), (2, "ada bob"), (0, "")] {
        assert_eq!(names(list(&conn, limit).unwrap()).join(" "), expected);
    }
}

#[test]
fn suspending_again_keeps_the_first_time_and_is_no_event() {
    let conn = database();
    let id = add(&conn, "ada", None).unwrap().id;
    let balance = Balance { total: MicroUsd::new(70), withdrawable: MicroUsd::new(20) };
    set_balance(&conn, id, balance).unwrap();
    // suspended or resumed, when → since when it is suspended, how many events
    let rows = [
        (false, 1, None, 0),
        (true, 2, Some(2), 1),
        (true, 3, Some(2), 1),
        (false, 4, None, 2),
        (false, 5, None, 2),
        (true, 6, Some(6), 3),
    ];
    for (suspended, millis, since, events) in rows {
        let account = set_suspended(&conn, id, suspended, "admin:eve", Timestamp::from_millis(millis)).unwrap();
        assert_eq!(account.suspended_at, since.map(Timestamp::from_millis), "{millis}");
        assert_eq!(account.balance, balance);
        assert_eq!(events::list(&conn, Some("admin:eve"), None, 10).unwrap().len(), events, "{millis}");
    }
    let told: Vec<_> = events::list(&conn, Some("admin:eve"), None, 10)
        .unwrap()
        .into_iter()
        .map(|event| (event.action, event.subject, event.created_at.millis()))
        .collect();
    let event = |action: &str, millis| (action.to_owned(), id.to_string(), millis);
    assert_eq!(told, [event("account.suspend", 6), event("account.resume", 4), event("account.suspend", 2)]);
}

#[test]
fn what_is_not_there_is_not_found() {
    let (conn, nobody) = (database(), AccountId::from_i64(7));
    let rows = [
        get(&conn, nobody).map(drop),
        balance(&conn, nobody).map(drop),
        set_balance(&conn, nobody, Balance::default()),
        set_suspended(&conn, nobody, true, "test", NOW).map(drop),
    ];
    for (n, missing) in rows.into_iter().enumerate() {
        assert!(matches!(missing, Err(StoreError::NotFound(_))), "{n}: {missing:?}");
    }
    assert_eq!(events::list(&conn, None, None, 10).unwrap().len(), 0);
}

#[test]
fn the_house_is_made_once_whatever_others_are_called() {
    // the name that is taken before → the house's name
    for (taken, name) in [("houses", "house"), ("house", "acct_0000000000001")] {
        let conn = database();
        let other = add(&conn, taken, None).unwrap();
        for millis in [5, 6] {
            ensure_house(&conn, Timestamp::from_millis(millis)).unwrap();
            let house = get(&conn, HOUSE).unwrap();
            assert_eq!((house.name.as_str(), house.created_at.millis()), (name, 5));
        }
        assert_eq!(list(&conn, 10).unwrap().len(), 2);
        assert_eq!(find(&conn, taken).unwrap().id, other.id);
        assert_eq!(find(&conn, &HOUSE.to_string()).unwrap().id, HOUSE);
    }
}
