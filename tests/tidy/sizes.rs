//! Every file says what it is; files and functions are short.

use super::sources::{files, none, sources};

/// Longer files are two files.
const LONGEST: usize = 500;

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
