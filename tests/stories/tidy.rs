//! The house keeps its order: the absences that the map in `src/lib.rs` promises, read from the sources.

use std::path::{Path, PathBuf};

/// Longer files are two files.
const LONGEST: usize = 500;

/// The floors. A room uses what stands below it; rooms on one floor do not know each other, but for
/// the top one, where everything is wired.
const FLOORS: &[&[&str]] = &[
    &["domain"],
    &["dialect"],
    &["meter", "upstream", "store"],
    &["auth", "relay"],
    &["http", "demo"],
    &["config", "cli", "main", "lib"],
];

struct Source {
    /// Relative to the project's root.
    path: PathBuf,
    text: String,
}

impl Source {
    /// `src/store/sqlite/writer.rs` → `store`; `src/main.rs` → `main`.
    fn room(&self) -> String {
        let mut parts = self.path.components().skip(1);
        let first = parts.next().expect("a path below src").as_os_str().to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    }

    fn is_in(&self, place: &str) -> bool {
        self.path.starts_with(place)
    }

    /// Lines of code with their number: no comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(n, line)| (n + 1, line)).filter(|(_, l)| !l.trim_start().starts_with("//"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `place` with one of these endings.
fn files(place: &str, endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![root().join(place)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let skip = path.file_name().is_some_and(|n| n == "node_modules" || n == "__pycache__" || n == "target");
            if !skip {
                open.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
        } else if path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending))
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            found.push(Source { path: path.strip_prefix(root()).unwrap().to_owned(), text });
        }
    }
    assert!(!found.is_empty(), "no files in {place}");
    found
}

fn sources() -> Vec<Source> {
    files("src", &["rs"])
}

/// Lines of code outside `places` that hold one of `words`.
fn strays(words: &[&str], places: &[&str]) -> Vec<String> {
    let mut strays = Vec::new();
    for source in sources().iter().filter(|s| !places.iter().any(|place| s.is_in(place))) {
        for (number, line) in source.code() {
            if words.iter().any(|word| line.contains(word)) {
                strays.push(format!("{}:{number}: {}", source.path.display(), line.trim()));
            }
        }
    }
    strays
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn sql_is_in_the_store_alone() {
    let words = [
        "rusqlite",
        "r2d2",
        "SELECT ",
        "INSERT INTO",
        "INSERT OR",
        "UPDATE ",
        "DELETE FROM",
        "CREATE TABLE",
        "PRAGMA ",
        "BEGIN IMMEDIATE",
    ];
    // Tests beside the routes may tamper with a row, to see that the audit finds it.
    none("SQL outside src/store", &strays(&words, &["src/store", "src/http/tests"]));
}

#[test]
fn actix_is_in_the_servers_alone() {
    none("actix outside src/http and src/demo", &strays(&["actix"], &["src/http", "src/demo", "src/cli/serve.rs"]));
}

#[test]
fn the_http_client_is_in_upstream_alone() {
    none("an HTTP client outside src/upstream", &strays(&["hyper", "rustls"], &["src/upstream"]));
}

#[test]
fn only_the_top_reads_the_environment() {
    none(
        "env outside cli and config",
        &strays(&["env::var", "env::args"], &["src/cli", "src/config.rs", "src/main.rs"]),
    );
}

#[test]
fn the_lower_floors_do_no_io_and_read_no_clock() {
    let below = [
        "src/store",
        "src/upstream",
        "src/auth",
        "src/relay",
        "src/http",
        "src/demo",
        "src/cli",
        "src/config.rs",
        "src/main.rs",
    ];
    let words = ["std::fs", "std::net", "tokio::", "SystemTime", "Instant::now", "async fn", ".await"];
    // The one clock, and a room's own tests, which read recordings.
    let allowed = |stray: &String| stray.starts_with("src/domain/time.rs") || stray.starts_with("src/meter/tests/");
    let found: Vec<String> = strays(&words, &below).into_iter().filter(|s| !allowed(s)).collect();
    none("I/O, a clock or async in domain or meter", &found);
}

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
}

#[test]
fn every_room_is_on_the_map() {
    let map = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rooms: std::collections::BTreeSet<String> = sources().iter().map(Source::room).collect();
    for room in rooms.iter().filter(|room| *room != "lib") {
        assert!(
            map.lines().any(|l| l.starts_with("//!") && l.contains(room.as_str())),
            "{room} is not on the map in lib.rs"
        );
    }
}

#[test]
fn every_file_opens_with_what_it_is_and_is_short() {
    let mut found = Vec::new();
    for source in sources().into_iter().chain(files("tests", &["rs"])) {
        if !source.text.starts_with("//! ") {
            found.push(format!("{} does not open with a //! line", source.path.display()));
        }
        let lines = source.text.lines().count();
        if lines > LONGEST {
            found.push(format!("{} has {lines} lines, more than {LONGEST}", source.path.display()));
        }
    }
    none("untidy files", &found);
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    // Put together here, so that this file does not find itself.
    let homes = ["/ro|ot/", "/ho|me/", "/Us|ers/", "/wo|rk/", "/tm|p/"].map(|p| p.replace('|', ""));
    let own = ["README.md", "Makefile", "Cargo.toml", ".ci/run", "schema.sql"];
    let mut all = files("src", &["rs"]);
    all.extend(files("tests", &["rs", "py", "sh", "js", "mjs", "conf", "lua", "md"]));
    if root().join("static").is_dir() {
        all.extend(files("static", &["html", "js", "css"]));
    }
    for name in own {
        if let Ok(text) = std::fs::read_to_string(root().join(name)) {
            all.push(Source { path: name.into(), text });
        }
    }
    let mut found = Vec::new();
    for source in all {
        for (number, line) in source.text.lines().enumerate() {
            // A scratch directory may be named in a test's shell line, nothing else.
            let hit = homes.iter().find(|home| line.contains(home.as_str()));
            if let Some(home) = hit.filter(|home| !(home.as_str() == homes[4] && source.is_in("tests"))) {
                found.push(format!("{}:{}: {home}", source.path.display(), number + 1));
            }
        }
    }
    none("absolute paths", &found);
}

#[test]
fn unsafe_is_forbidden_and_floats_stay_away_from_money() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\"") && manifest.contains("overflow-checks = true"));
    let found: Vec<String> = strays(&["f64", "f32"], &["src/http", "src/demo", "src/cli", "src/meter", "src/upstream"]);
    none("floats near money", &found);
}
