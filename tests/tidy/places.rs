//! What belongs in one place and is nowhere else.

use super::sources::{Source, files, none, root, strays};

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
    none("SQL outside src/store", &strays(&words, &["src/store"]));
}

#[test]
fn actix_is_in_the_servers_alone() {
    none("actix outside src/http and src/demo", &strays(&["actix"], &["src/http", "src/demo", "src/cli/serve.rs"]));
}

#[test]
fn the_http_client_is_in_upstream_alone() {
    let hyper = &["src/upstream", "src/join"];
    none("an HTTP client outside src/upstream and src/join", &strays(&["hyper"], hyper));
    let tls = &["src/upstream", "src/join", "src/certs"];
    none("TLS outside src/upstream, src/join and src/certs", &strays(&["rustls"], tls));
}

#[test]
fn only_the_top_reads_the_environment() {
    none("env outside cli", &strays(&["env::var", "env::args"], &["src/cli", "src/main.rs"]));
}

#[test]
fn the_lower_floors_do_no_io_and_read_no_clock() {
    let above = [
        "src/certs",
        "src/auth",
        "src/relay",
        "src/watch",
        "src/http",
        "src/join",
        "src/demo",
        "src/cli",
        "src/main.rs",
    ];
    let below = [&["src/store", "src/upstream", "src/tunnel"][..], &above].concat();
    let words = ["std::fs", "std::net", "tokio::", "SystemTime", "Instant::now", "async fn", ".await"];
    // The one clock, and a room's own tests, which read recordings.
    let allowed = |stray: &String| stray.starts_with("src/domain/time.rs") || stray.starts_with("src/meter/tests/");
    let found: Vec<String> = strays(&words, &below).into_iter().filter(|s| !allowed(s)).collect();
    none("I/O, a clock or async in domain or meter", &found);
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    // Put together here, so that this file does not find itself.
    let homes = ["/ro|ot/", "/ho|me/", "/Us|ers/", "/wo|rk/", "/tm|p/"].map(|p| p.replace('|', ""));
    let own = ["README.md", "CONTRIBUTING.md", "Makefile", "Cargo.toml", ".ci/run", "schema.sql"];
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
