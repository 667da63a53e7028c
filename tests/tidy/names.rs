//! One name, one thing.

use std::collections::{BTreeMap, BTreeSet};

use super::rust::{bare, is_name, without_tests};
use super::sources::{Source, none, product};

/// Names that two rooms may have, and why.
const SHARED: &[(&str, &str)] = &[];

/// The public types that a file defines.
fn public_types(source: &Source) -> Vec<String> {
    let code = without_tests(&bare(&source.text));
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let defined = code.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("pub ").or_else(|| line.trim_start().strip_prefix("pub(crate) "))?;
        let name = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
        Some(name.chars().take_while(|&c| is_name(c)).collect())
    });
    defined.collect()
}

fn in_two_rooms(sources: &[Source]) -> Vec<String> {
    let mut homes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        for name in public_types(source) {
            homes.entry(name).or_default().insert(source.room());
        }
    }
    let twice = homes.into_iter().filter(|(name, rooms)| rooms.len() > 1 && !SHARED.iter().any(|(n, _)| n == name));
    twice.map(|(name, rooms)| format!("{name}: {}", Vec::from_iter(rooms).join(", "))).collect()
}

#[test]
fn a_public_type_has_its_name_to_itself() {
    none("names of types in two rooms", &in_two_rooms(&product()));
}

/// Lines that look into the text of an error, or of anything else that is made for people, to decide something.
fn decided_by_text(source: &Source) -> Vec<String> {
    let code = without_tests(&bare(&source.text));
    let mut found = Vec::new();
    for (at, _) in code.match_indices(".to_string()") {
        let rest = code[at + ".to_string()".len()..].trim_start();
        if [".contains(", ".starts_with(", ".ends_with(", ".find("].iter().any(|look| rest.starts_with(look)) {
            found.push(format!("{}:{}", source.path.display(), code[..at].matches('\n').count() + 1));
        }
    }
    found
}

/// An identifier's text is its only form, and serde_json has no kind for it.
const MAY_LOOK: &[&str] = &["src/store/tables/account_search.rs", "src/dialect/request/hosted.rs"];

#[test]
fn nothing_is_decided_by_an_errors_text() {
    let looked = product();
    let looked = looked.iter().filter(|s| !MAY_LOOK.iter().any(|place| s.is_in(place)));
    none("decisions by a text", &looked.flat_map(decided_by_text).collect::<Vec<_>>());
}

#[test]
fn the_check_itself_sees_what_it_should() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let one = source("src/relay/a.rs", "pub struct Answer<'a>(&'a str);\nstruct Own;\npub enum Sign {}");
    let two = source("src/http/b.rs", "pub(crate) type Answer = u8;\nstruct Own;\n#[cfg(test)]\npub enum Sign {}");
    assert_eq!(in_two_rooms(&[one, two]), ["Answer: http, relay"]);
    let asked = |text: &str| decided_by_text(&source("src/http/c.rs", text)).len();
    assert_eq!(
        asked("if e.to_string().contains(\"key\") {}\nlet text = e\n    .to_string()\n    .starts_with('k');"),
        2
    );
    assert_eq!(asked("let text = e.to_string();\n#[cfg(test)]\nfn t() { e.to_string().contains(\"key\") }"), 0);
}
