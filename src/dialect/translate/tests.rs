//! The table in this room's documentation is true.

use std::collections::BTreeSet;

#[test]
fn every_row_names_a_test_that_is_there() {
    let sources = [
        include_str!("request/tests.rs"),
        include_str!("request/tests/carried.rs"),
        include_str!("request/tests/refused.rs"),
        include_str!("answer/counts.rs"),
        include_str!("answer/tests/habits.rs"),
        include_str!("answer/tests/recorded.rs"),
    ]
    .concat();
    let rows =
        include_str!("mod.rs").lines().filter(|line| line.starts_with("//! | ") && line.matches('|').count() > 3);
    let mut named = BTreeSet::new();
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
        let is_head = matches!(last, "test" | "the same") || row.contains("---");
        let tests: Vec<_> = last.split('`').skip(1).step_by(2).collect();
        assert!(is_head || !tests.is_empty() || row.contains("left out"), "{row}");
        named.extend(tests);
    }
    assert!(named.len() > 20, "{named:?}");
    for test in named {
        assert!(sources.contains(&format!("fn {test}()")), "{test}");
    }
}
