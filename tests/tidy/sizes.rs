//! Every file says what it is; files and functions are short.

use super::rust::{bare, functions, lines_without_tests, without_tests};
use super::sources::{Source, files, none, product, sources};

/// Longer files are two files. Tests do not count.
const LONGEST_FILE: usize = 350;
/// Of a file of tests, which is a list.
const LONGEST_TESTS: usize = 500;
/// Longer functions are two functions.
const LONGEST_FUNCTION: usize = 60;

fn too_long(source: &Source) -> Vec<String> {
    let path = source.path.display();
    let mut found = Vec::new();
    let lines = lines_without_tests(&source.text);
    if lines > LONGEST_FILE {
        found.push(format!("{path} has {lines} lines, more than {LONGEST_FILE}"));
    }
    for (name, line, lines) in functions(&without_tests(&bare(&source.text))) {
        if lines > LONGEST_FUNCTION {
            found.push(format!("{path}:{line}: {name} has {lines} lines, more than {LONGEST_FUNCTION}"));
        }
    }
    found
}

#[test]
fn every_file_opens_with_what_it_is() {
    let all = sources().into_iter().chain(files("tests", &["rs"]));
    let found: Vec<String> =
        all.filter(|s| !s.text.starts_with("//! ")).map(|s| s.path.display().to_string()).collect();
    none("files that do not open with a //! line", &found);
}

#[test]
fn files_and_functions_are_short() {
    let found: Vec<String> = product().iter().flat_map(too_long).collect();
    none("long files and functions", &found);
    let long = |s: &Source| s.text.lines().count() > LONGEST_TESTS;
    let all = sources().into_iter().chain(files("tests", &["rs"]));
    let found: Vec<String> = all.filter(long).map(|s| s.path.display().to_string()).collect();
    none("files with their tests are longer than may be", &found);
}

#[test]
fn the_check_itself_sees_what_it_should() {
    let source = |text: String| Source { path: "src/relay/long.rs".into(), text };
    let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2));
    assert_eq!(too_long(&source(function(LONGEST_FUNCTION))), [""; 0]);
    assert_eq!(too_long(&source(function(LONGEST_FUNCTION + 1))).len(), 1);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(400));
    assert_eq!(too_long(&source("// A line.\n".repeat(LONGEST_FILE) + &tests)), [""; 0]);
    assert_eq!(too_long(&source("// A line.\n".repeat(LONGEST_FILE + 1) + &tests)).len(), 1);
}
