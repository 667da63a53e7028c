//! A file of settings, in TOML: what stands there and on which line. What it means the flags know (`layers`).

use std::fmt;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// More than anybody writes by hand.
const LONGEST: u64 = 1 << 20;
/// Others than the owner and the group.
const OTHERS: u32 = 0o007;

/// What stands after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// `true` or `false`.
    Flag(bool),
    /// A text or a whole number.
    One(String),
    /// A list of them, each with its line.
    Many(Vec<(usize, String)>),
    /// What no flag can be: this.
    Other(&'static str),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingEntry {
    /// As it stands in the file.
    pub key: String,
    /// Counted from 1.
    pub line: usize,
    /// What it is set to.
    pub value: SettingValue,
}

/// What is wrong with a file of settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingError {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1; none if it is the file as a whole.
    pub line: Option<usize>,
    /// The key that it is about, if it is about one.
    pub key: Option<String>,
    /// What is wrong, and how to mend it.
    pub problem: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// A file that was read.
#[derive(Debug)]
pub struct SettingsFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What stands there, in order.
    pub entries: Vec<SettingEntry>,
    mode: u32,
}

impl SettingsFile {
    /// Reads a file. Before its name a `-` says that there may be none, as it does in systemd's units.
    ///
    /// # Errors
    /// It cannot be read, or is no TOML: all that is wrong with it.
    pub fn read(name: &Path) -> Result<Option<Self>, Vec<SettingError>> {
        let text = name.as_os_str().to_string_lossy();
        let (path, may_be_missing) = text.strip_prefix('-').map_or((name, false), |path| (Path::new(path), true));
        let whole = |problem: String| vec![SettingError { file: path.to_owned(), line: None, key: None, problem }];
        let read = || -> std::io::Result<(u32, Vec<u8>)> {
            let file = std::fs::File::open(path)?;
            let mode = file.metadata()?.mode();
            let mut bytes = Vec::new();
            file.take(LONGEST + 1).read_to_end(&mut bytes)?;
            Ok((mode, bytes))
        };
        let (mode, bytes) = match read() {
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::NotFound && may_be_missing => return Ok(None),
            Err(e) => return Err(whole(format!("cannot be read: {e}"))),
        };
        if bytes.len() > usize::try_from(LONGEST).unwrap_or(usize::MAX) {
            return Err(whole("is longer than a mebibyte: no file of settings".to_owned()));
        }
        let text = String::from_utf8(bytes).map_err(|_| whole("is no text: it is not UTF-8".to_owned()))?;
        let (entries, mut wrong) = parse(&text);
        if wrong.is_empty() {
            return Ok(Some(Self { path: path.to_owned(), entries, mode }));
        }
        wrong.iter_mut().for_each(|one| path.clone_into(&mut one.file));
        Err(wrong)
    }

    /// What is wrong with the value of `key`, at that line.
    pub fn error(&self, line: usize, key: &str, problem: String) -> SettingError {
        SettingError { file: self.path.clone(), line: Some(line), key: Some(key.to_owned()), problem }
    }

    /// The file's mode, if others than its owner and group may do anything with it.
    pub const fn open_to_others(&self) -> Option<u32> {
        if self.mode & OTHERS != 0 { Some(self.mode & 0o7777) } else { None }
    }
}

/// What stands in a text, in its order, and what is wrong with it.
fn parse(text: &str) -> (Vec<SettingEntry>, Vec<SettingError>) {
    let line_of = |at: usize| text.get(..at.min(text.len())).unwrap_or(text).matches('\n').count() + 1;
    let (table, wrong) = DeTable::parse_recoverable(text);
    let wrong = wrong.into_iter().map(|e| {
        let line = e.span().map(|span| line_of(span.start));
        let key = line.and_then(|line| key_on(text, line));
        SettingError { file: PathBuf::new(), line, key, problem: e.message().replace('\n', " ") }
    });
    let wrong = wrong.collect();
    let mut entries: Vec<(usize, SettingEntry)> = table
        .into_inner()
        .into_iter()
        .map(|(key, value)| {
            let at = key.span().start;
            let value = value_of(value, line_of);
            (at, SettingEntry { key: key.into_inner().into_owned(), line: line_of(at), value })
        })
        .collect();
    entries.sort_by_key(|(at, _)| *at);
    (entries.into_iter().map(|(_, entry)| entry).collect(), wrong)
}

/// What stands before the `=` of a line, if it is a key.
fn key_on(text: &str, line: usize) -> Option<String> {
    let key = text.lines().nth(line - 1)?.split_once('=')?.0.trim().trim_matches('"');
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    is_key.then(|| key.to_owned())
}

fn value_of(value: Spanned<DeValue<'_>>, line_of: impl Fn(usize) -> usize) -> SettingValue {
    match value.into_inner() {
        DeValue::Boolean(on) => SettingValue::Flag(on),
        DeValue::Array(items) => {
            let texts = items.into_iter().map(|item| Some((line_of(item.span().start), scalar(item.into_inner())?)));
            texts.collect::<Option<Vec<_>>>().map_or(SettingValue::Other("a list of such"), SettingValue::Many)
        }
        DeValue::Table(_) => SettingValue::Other("a table"),
        DeValue::Float(_) => SettingValue::Other("a number with a dot or an exponent"),
        DeValue::Datetime(_) => SettingValue::Other("a date"),
        other => scalar(other).map_or(SettingValue::Other("such a number"), SettingValue::One),
    }
}

fn scalar(value: DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.into_owned()),
        // Of another base than ten it would have to be reckoned.
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> SettingValue {
        SettingValue::One(text.to_owned())
    }

    #[test]
    fn what_stands_in_a_file_has_its_line() {
        let text = "# of the lab\nworkers = 4\nlog = \"info\"\n\ndemo = true\ndomain = [\n  \"a\",\n  \"b\",\n]\n\
                    fee-bps = 1_0\nbody = 1.5\nmask = 0x10\n[smtp]\nhost = 1\n";
        let (entries, wrong) = parse(text);
        assert_eq!(wrong, []);
        let domains = SettingValue::Many(vec![(7, "a".to_owned()), (8, "b".to_owned())]);
        let rows = [
            ("workers", 2, one("4")),
            ("log", 3, one("info")),
            ("demo", 5, SettingValue::Flag(true)),
            ("domain", 6, domains),
            ("fee-bps", 10, one("10")),
            ("body", 11, SettingValue::Other("a number with a dot or an exponent")),
            ("mask", 12, SettingValue::Other("such a number")),
            ("smtp", 13, SettingValue::Other("a table")),
        ];
        let rows = rows.map(|(key, line, value)| SettingEntry { key: key.to_owned(), line, value });
        assert_eq!(entries, rows);
    }

    #[test]
    fn what_is_no_toml_is_named_with_its_line_and_its_key() {
        for (text, line, key, problem) in [
            ("a = 1\nlisten = \"x\"\nlisten = \"y\"\n", 3, Some("listen"), "duplicate key"),
            ("a = 1\n\nworkers = four\n", 3, Some("workers"), ""),
            ("log = \"info\nx = 1\n", 1, Some("log"), ""),
            ("a = 1\nnonsense\n", 2, None, ""),
        ] {
            let (_, wrong) = parse(text);
            let first = wrong.first().unwrap_or_else(|| panic!("{text:?} is not TOML"));
            assert_eq!((first.line, first.key.as_deref()), (Some(line), key), "{text:?}: {first}");
            assert!(first.problem.contains(problem) && !first.problem.is_empty(), "{text:?}: {first}");
        }
    }
}
