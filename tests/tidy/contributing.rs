//! `CONTRIBUTING.md` names no place and no target that is not there.

use std::path::Path;

use super::sources::{none, root};

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The paths and targets of `text` that are missing below `place`.
fn missing(text: &str, place: &Path, makefile: &str) -> Vec<String> {
    let is_file = |name: &str| [".rs", ".md", ".sql", ".py", ".mjs"].iter().any(|ending| name.ends_with(ending));
    let is_there = |name: &str| match name.strip_prefix("make ") {
        Some(target) => makefile.lines().any(|line| line.starts_with(&format!("{target}:"))),
        None => !(name.contains('/') && !name.starts_with("//") || is_file(name)) || place.join(name).exists(),
    };
    quoted(text).filter(|name| !is_there(name)).map(str::to_owned).collect()
}

#[test]
fn what_it_names_is_there() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let text = read("CONTRIBUTING.md");
    assert!(quoted(&text).filter(|name| name.contains('/')).count() > 30, "it says where things go");
    none("missing places and targets", &missing(&text, root(), &read("Makefile")));
}

#[test]
fn the_check_itself_sees_what_it_should() {
    let text = "`src/lib.rs`, `src/nowhere.rs`, `nowhere.md`, `src/no/`, `make quick`, `make gold`, `//!`, `mod tests`";
    assert_eq!(missing(text, root(), "quick: ## fast\n"), ["src/nowhere.rs", "nowhere.md", "src/no/", "make gold"]);
}
