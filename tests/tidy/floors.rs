//! The floors of the map: nothing imports upward, and every room is on the map.

use super::sources::{Source, none, root, sources};

/// The floors. A room uses what stands below it; rooms on one floor do not know each other, but for
/// the top one, where everything is wired.
const FLOORS: &[&[&str]] = &[
    &["domain"],
    &["dialect", "tunnel"],
    &["meter", "upstream", "store"],
    &["certs", "auth", "relay", "watch"],
    &["http", "join", "demo"],
    &["cli", "main", "lib"],
];

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("{room} is on no floor: see FLOORS"))
}

/// The rooms that a line of code names: `crate::store::…`, `crate::{domain::…, meter}`.
fn rooms_named(line: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut rooms = Vec::new();
    for prefix in ["crate::", "coordinator::"] {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            match rest.strip_prefix('{') {
                None => rooms.push(name(rest)),
                Some(list) => rooms.extend(top_level_names(list).iter().map(|n| name(n))),
            }
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

/// The entries of a `{…}` list, nested lists left out.
fn top_level_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut current) = (0, Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut current)),
            _ if depth == 0 => current.push(c),
            _ => {}
        }
    }
    names.push(current);
    names.iter().map(|n| n.trim().to_owned()).collect()
}

#[test]
fn nothing_imports_upward() {
    let mut found = Vec::new();
    // Its tests ask the demo provider.
    for source in sources().into_iter().filter(|s| !s.is_in("src/http/testing.rs")) {
        let room = source.room();
        let here = floor(&room);
        for (number, line) in source.code() {
            for named in rooms_named(line).into_iter().filter(|named| *named != room) {
                let Some(there) = FLOORS.iter().position(|rooms| rooms.contains(&named.as_str())) else { continue };
                if there > here || (there == here && here + 1 < FLOORS.len()) {
                    found.push(format!("{}:{number}: {room} names {named}", source.path.display()));
                }
            }
        }
    }
    none("upward or sideways imports", &found);
}

#[test]
fn the_demo_is_a_server_of_its_own() {
    let knows = ["demo", "domain", "meter"];
    let mut found = Vec::new();
    for source in sources().into_iter().filter(|s| s.room() == "demo") {
        for (number, line) in source.code() {
            for named in rooms_named(line).into_iter().filter(|named| !knows.contains(&named.as_str())) {
                found.push(format!("{}:{number}: names {named}", source.path.display()));
            }
        }
    }
    none("rooms that the demo knows", &found);
}

#[test]
fn the_check_itself_sees_what_it_should() {
    assert_eq!(rooms_named("use crate::store::Writer;"), ["store"]);
    assert_eq!(rooms_named("use crate::{domain::{money::MicroUsd, ids}, http};"), ["domain", "http"]);
    assert_eq!(rooms_named("    coordinator::cli::run()"), ["cli"]);
    assert!(floor("http") > floor("relay") && floor("relay") > floor("store") && floor("store") > floor("domain"));
    let map =
        "//! | 4 | `main.rs`, [`cli`] | the wiring, and [`http`] |\n//! | 3 | [`relay`] | the store is not here |\n";
    assert!(["main", "cli", "relay"].iter().all(|room| is_on(map, room)));
    assert!(!["http", "store"].iter().any(|room| is_on(map, room)));
}

/// Has a room a row of its own on the map, in the second column?
fn is_on(map: &str, room: &str) -> bool {
    let rows = map.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(" | ").nth(1));
    rows.flat_map(|rooms| rooms.split(", ")).any(|name| name == format!("[`{room}`]") || name == format!("`{room}.rs`"))
}

#[test]
fn every_room_is_on_the_map() {
    let map = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rooms: std::collections::BTreeSet<String> = sources().iter().map(Source::room).collect();
    let missing: Vec<String> = rooms.into_iter().filter(|room| room != "lib" && !is_on(&map, room)).collect();
    none("rooms that are not on the map in lib.rs", &missing);
}
