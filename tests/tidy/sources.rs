//! The sources as the checks read them.

use std::path::{Path, PathBuf};

use super::rust::test_modules;

pub struct Source {
    /// Relative to the project's root.
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    /// `src/store/sqlite/writer.rs` → `store`; `src/main.rs` → `main`.
    pub fn room(&self) -> String {
        let mut parts = self.path.components().skip(1);
        let first = parts.next().expect("a path below src").as_os_str().to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Where this module's own modules are: `src/relay` of `src/relay/mod.rs`, `src/relay/holds` of `src/relay/holds.rs`.
    pub fn children(&self) -> PathBuf {
        let stem = self.path.file_stem().expect("a file's name").to_string_lossy();
        let place = self.path.parent().expect("a path below src");
        if matches!(&*stem, "mod" | "lib" | "main") { place.to_owned() } else { place.join(&*stem) }
    }

    pub fn is_in(&self, place: &str) -> bool {
        self.path.starts_with(place)
    }

    /// Lines of code with their number: no comments.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(n, line)| (n + 1, line)).filter(|(_, l)| !l.trim_start().starts_with("//"))
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `place` with one of these endings.
pub fn files(place: &str, endings: &[&str]) -> Vec<Source> {
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

pub fn sources() -> Vec<Source> {
    files("src", &["rs"])
}

/// Lines of code outside `places` that hold one of `words`.
pub fn strays(words: &[&str], places: &[&str]) -> Vec<String> {
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

pub fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// The sources without those that are compiled for tests alone.
pub fn product() -> Vec<Source> {
    let all = sources();
    let tests: Vec<PathBuf> = all
        .iter()
        .flat_map(|source| {
            let inside = source.children();
            test_modules(&source.text).into_iter().map(move |name| inside.join(name))
        })
        .collect();
    let is_test = |source: &Source| {
        tests.iter().any(|t| source.is_in(&t.to_string_lossy()) || source.path == t.with_extension("rs"))
    };
    all.into_iter().filter(|source| !is_test(source)).collect()
}
