//! A key answers once, to who asked, for a day.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn database() -> Tx {
    Tx::in_memory()
}

fn key(actor: &str, key: &str, body: &[u8]) -> Key {
    Key { actor: actor.into(), key: key.into(), body_hash: hash(&[body]) }
}

fn answer(body: &str) -> SavedAnswer {
    SavedAnswer { status: 201, body: body.into() }
}

/// Asks `later` milliseconds after now; the answer is `fresh` if it is written anew.
fn ask(conn: &Tx, key: &Key, later: i64, fresh: &str) -> Result<SavedAnswer, StoreError> {
    once(conn, key, Timestamp::from_millis(NOW.millis() + later), || Ok(answer(fresh)))
}

const REUSED: &str = "this idempotency key was used with another request";

#[test]
fn a_hash_is_the_sha_256_of_the_parts_put_together() {
    let hex = |parts: &[&[u8]]| hash(parts).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // The examples of FIPS 180.
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let rows: [(&[&[u8]], &str); 6] = [
        (&[], nothing),
        (&[b""], nothing),
        (&[b"abc"], abc),
        (&[b"a", b"bc"], abc),
        (&[b"ab", b"", b"c"], abc),
        (&[b"abcdbcdecdefdefgefghfghighijhijk", b"ijkljklmklmnlmnomnopnopq"], {
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        }),
    ];
    for (parts, expected) in rows {
        assert_eq!(hex(parts), expected, "{parts:?}");
    }
}

#[test]
fn a_key_answers_once_to_who_asked_for_the_same_request() {
    let conn = database();
    // who, key, request → the answer, where the row's number is that of a fresh one
    let rows = [
        ("cli", "k", "one", Ok(0)),
        ("cli", "k", "one", Ok(0)),
        ("cli", "k", "two", Err(REUSED)),
        ("cli", "other", "two", Ok(3)),
        ("admin:eve", "k", "two", Ok(4)),
        ("cli", "k", "one", Ok(0)),
    ];
    for (n, (actor, text, body, expected)) in rows.into_iter().enumerate() {
        let got = ask(&conn, &key(actor, text, body.as_bytes()), 0, &n.to_string());
        match (got, expected) {
            (Ok(got), Ok(of)) => assert_eq!(got, answer(&of.to_string()), "{n}"),
            (Err(e @ StoreError::IdempotencyKeyReused), Err(why)) => assert_eq!(e.to_string(), why, "{n}"),
            (got, _) => panic!("{n}: {got:?}"),
        }
    }
}

#[test]
fn a_write_that_fails_leaves_its_key_free() {
    let (conn, key) = (database(), key("cli", "k", b"one"));
    let failed = once(&conn, &key, NOW, || Err(StoreError::Invalid("no".into())));
    assert!(matches!(failed, Err(StoreError::Invalid(_))), "{failed:?}");
    assert_eq!(ask(&conn, &key, 0, "yes").unwrap(), answer("yes"));
}

#[test]
fn an_answer_is_kept_for_a_day() {
    const DAY: i64 = 86_400_000;
    for (later, kept) in [(0, true), (3_600_000, true), (DAY - 1, true), (DAY, true), (DAY + 1, false)] {
        let (conn, key) = (database(), key("cli", "k", b"one"));
        ask(&conn, &key, 0, "first").unwrap();
        let again = ask(&conn, &key, later, "second").unwrap();
        assert_eq!(again, answer(if kept { "first" } else { "second" }), "{later}");
    }
}

#[test]
fn any_question_forgets_the_old_keys_and_no_younger_ones() {
    let conn = database();
    for (text, later) in [("old", 0), ("young", 3_600_000), ("new", 86_400_001)] {
        ask(&conn, &key("cli", text, b""), later, "").unwrap();
    }
    let mut statement = conn.prepare("SELECT key FROM idempotency ORDER BY key").unwrap();
    let left: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(left, ["new", "young"]);
}
