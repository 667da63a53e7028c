//! No file of a room names, straight or through others, a file that names it.
//!
//! What a `mod.rs` hands on (`pub use`) is not its own: whoever takes it from there names the file that it comes from. And a
//! room's `mod.rs` may call what stands in the files below it, which use what it defines: it is their face.

use std::collections::{BTreeMap, BTreeSet};

use super::rust::{bare, is_name, without_tests};
use super::sources::{Source, none, product};

/// A module, by its path from the crate's root: `["relay", "queue", "line"]`.
type Module = Vec<String>;

fn module(source: &Source) -> Module {
    source.children().components().skip(1).map(|c| c.as_os_str().to_string_lossy().into_owned()).collect()
}

/// Every path in code, lists spelled out: `a::{b, c::D as E}` is `a::b` and `a::c::D`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("::").map(|at| from + at) {
        let start =
            code[..at].rfind(|c| !is_name(c)).map_or(0, |i| i + code[i..].chars().next().map_or(1, char::len_utf8));
        from = tree(code, start, &[], &mut found).max(at + 2);
    }
    found
}

/// Reads one use tree that begins at `at`; returns where it ends.
fn tree(code: &str, mut at: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    loop {
        let blanks = code[at..].len() - code[at..].trim_start().len();
        if code[at + blanks..].starts_with('{') {
            at += blanks + 1;
            while let Some(next) = code[at..].chars().next() {
                if next == '}' {
                    return at + 1;
                }
                at =
                    if next == ',' || next.is_whitespace() { at + 1 } else { tree(code, at, &path, found).max(at + 1) };
            }
            return at;
        }
        let name: String = code[at + blanks..].chars().take_while(|&c| is_name(c) || c == '*').collect();
        if name.is_empty() {
            break;
        }
        at += blanks + name.len();
        if name != "self" || path.is_empty() {
            path.push(name);
        }
        match code[at..].strip_prefix("::") {
            Some(_) => at += 2,
            None => break,
        }
    }
    found.push(path);
    // `as NAME` names nothing.
    code[at..].strip_prefix(" as ").map_or(at, |rest| at + 4 + rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
}

/// The files, and what each hands on: name → the module that it comes from.
struct House {
    modules: BTreeMap<Module, String>,
    handed_on: BTreeMap<(Module, String), Module>,
}

impl House {
    fn new(sources: &[Source]) -> House {
        let modules: BTreeMap<Module, String> =
            sources.iter().map(|s| (module(s), without_tests(&bare(&s.text)))).filter(|(m, _)| !m.is_empty()).collect();
        let mut house = House { modules, handed_on: BTreeMap::new() };
        for (module, code) in house.modules.clone() {
            for path in statements(&code, true).iter().flat_map(|s| paths(s)) {
                let name = path.last().cloned().unwrap_or_default();
                if let Some(from) = house.resolve(&module, &path) {
                    house.handed_on.insert((module.clone(), name), from);
                }
            }
        }
        house
    }

    /// The file that a path in `here` leads to, if it is one of ours.
    fn resolve(&self, here: &Module, path: &[String]) -> Option<Module> {
        let mut names = path.iter();
        let mut at: Module = match path.first()?.as_str() {
            "crate" => names.by_ref().take(1).map(|_| Vec::new()).next()?,
            "self" => names.by_ref().take(1).map(|_| here.clone()).next()?,
            "super" => {
                let up = path.iter().take_while(|n| *n == "super").count();
                names.by_ref().take(up).for_each(drop);
                here.get(..here.len().checked_sub(up)?)?.to_vec()
            }
            first if self.modules.contains_key(&below(here, first)) => here.clone(),
            _ => return None,
        };
        for name in names {
            let child = below(&at, name);
            if self.modules.contains_key(&child) {
                at = child;
            } else if let Some(from) = self.handed_on.get(&(at.clone(), name.clone())) {
                at = from.clone();
            } else if let Some(from) = self.handed_on.get(&(at.clone(), "*".into())) {
                at = from.clone();
            } else {
                break;
            }
        }
        self.modules.contains_key(&at).then_some(at)
    }

    /// The files of its own room that each file names.
    fn arrows(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let named = |here: &Module, code: &String| -> BTreeSet<Module> {
            let code: String = statements(code, false).join("\n");
            let named = paths(&code).into_iter().filter_map(|path| self.resolve(here, &path));
            // A face may name what stands behind it.
            named.filter(|there| there != here && there.first() == here.first() && !there.starts_with(here)).collect()
        };
        self.modules.iter().map(|(here, code)| (here.clone(), named(here, code))).collect()
    }
}

fn below(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

/// The statements of code: those that hand something on (`pub use …;`), or all others.
fn statements(code: &str, handing_on: bool) -> Vec<&str> {
    let hands_on = |s: &&str| {
        let s = s.trim_start();
        s.starts_with("pub use ")
            || s.starts_with("pub(") && s.split_once(") ").is_some_and(|(_, s)| s.starts_with("use "))
    };
    code.split(';').filter(|s| hands_on(s) == handing_on).collect()
}

/// The files from which arrows lead back to them, each with the next on the way.
fn circles(arrows: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    fn reached<'a>(arrows: &'a BTreeMap<Module, BTreeSet<Module>>, from: &'a Module) -> BTreeSet<&'a Module> {
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        let mut open: Vec<&Module> = vec![from];
        while let Some(at) = open.pop() {
            open.extend(arrows.get(at).into_iter().flatten().filter(|next| seen.insert(next)));
        }
        seen
    }
    let mut found = Vec::new();
    for (from, to) in arrows.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
        if reached(arrows, to).contains(from) {
            found.push(format!("{} -> {}", from.join("/"), to.join("/")));
        }
    }
    found
}

#[test]
fn no_files_of_a_room_name_each_other_in_a_circle() {
    none("arrows of a circle", &circles(&House::new(&product()).arrows()));
}

#[test]
fn the_check_itself_sees_what_it_should() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    let door =
        source("src/store/mod.rs", "mod writer;\nmod clock;\npub use writer::{self, Writer};\npub use clock::Clock;");
    let writer = source("src/store/writer.rs", "use super::{Clock, Nothing};\nfn run() { crate::domain::now(); }");
    let domain = source("src/domain/mod.rs", "fn now() {}");
    let clock = |text| source("src/store/clock.rs", text);
    let found = |clock: Source| {
        circles(
            &House::new(&[&door, &writer, &domain, &clock].map(|s| source(&s.path.to_string_lossy(), &s.text)))
                .arrows(),
        )
    };
    assert_eq!(found(clock("struct Clock;")), [""; 0]);
    let both = ["store/clock -> store/writer", "store/writer -> store/clock"];
    assert_eq!(found(clock("use crate::{domain, store::{Writer as W, other}};")), both);
    assert_eq!(found(clock("fn run() { super::writer::Writer::new() }")), both);
    assert_eq!(found(clock("#[cfg(test)]\nmod tests { use super::super::Writer; }")), [""; 0]);
}
