//! As much of Rust's grammar as the checks need: what is code, what is a test, where a function ends.

/// `text` with comments and the insides of literals blanked out; every line stays where it is.
pub fn bare(text: &str) -> String {
    let source: Vec<char> = text.chars().collect();
    let at = |i: usize| source.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < source.len() {
        let end = match at(i) {
            '/' if at(i + 1) == '/' => (i..).find(|&j| j >= source.len() || at(j) == '\n').unwrap_or(i),
            '/' if at(i + 1) == '*' => after(&source, i + 2, "*/"),
            'r' if !is_name(at(i.wrapping_sub(1))) || at(i.wrapping_sub(1)) == 'b' => match raw_string(&source, i) {
                Some(end) => end,
                None => i,
            },
            '"' => quoted(&source, i + 1, '"'),
            // `'a'` and `'\n'`, but not the lifetime `'a`.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => quoted(&source, i + 1, '\''),
            _ => i,
        };
        if end == i {
            out.push(at(i));
            i += 1;
        } else {
            out.extend(source[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    out
}

pub fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn after(source: &[char], from: usize, end: &str) -> usize {
    let end: Vec<char> = end.chars().collect();
    (from..source.len()).find(|&i| source[i..].starts_with(&end)).map_or(source.len(), |i| i + end.len())
}

fn raw_string(source: &[char], start: usize) -> Option<usize> {
    let hashes = source[start + 1..].iter().take_while(|&&c| c == '#').count();
    let quote = start + 1 + hashes;
    (source.get(quote) == Some(&'"')).then(|| after(source, quote + 1, &format!("\"{}", "#".repeat(hashes))))
}

fn quoted(source: &[char], mut i: usize, quote: char) -> usize {
    while i < source.len() && source[i] != quote {
        i += if source[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(source.len())
}

/// Where the item that begins at `from` in bare text ends: behind its `;` or its braces.
fn end_of_item(bare: &str, from: usize) -> usize {
    let mut depth = 0_i32;
    for (at, c) in bare[from..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth -= 1,
            '}' => {
                depth -= 1;
                if depth <= 0 {
                    return from + at + 1;
                }
            }
            ';' if depth == 0 => return from + at + 1,
            _ => {}
        }
    }
    bare.len()
}

/// What `#[cfg(test)]` stands before, as ranges of bare text.
fn test_items(bare: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (at, mark) in bare.match_indices("#[cfg(test)]") {
        if found.last().is_none_or(|&(_, end)| at >= end) {
            found.push((at, end_of_item(bare, at + mark.len())));
        }
    }
    found
}

/// Bare text without what is compiled for tests alone; every line stays where it is.
pub fn without_tests(bare: &str) -> String {
    let mut out = String::with_capacity(bare.len());
    let mut kept = 0;
    for (from, to) in test_items(bare) {
        out.push_str(&bare[kept..from]);
        out.extend(bare[from..to].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        kept = to;
    }
    out + &bare[kept..]
}

/// How many lines of a file stand outside its tests, comments counted.
pub fn lines_without_tests(text: &str) -> usize {
    let bare = bare(text);
    let tests: usize = test_items(&bare).iter().map(|&(from, to)| bare[from..to].lines().count()).sum();
    text.lines().count() - tests
}

/// The modules that are declared for tests alone: `#[cfg(test)] mod name;`.
pub fn test_modules(text: &str) -> Vec<String> {
    let bare = bare(text);
    let items = test_items(&bare).into_iter().map(|(from, to)| &bare[from..to]);
    items.filter_map(|item| Some(item.strip_suffix(';')?.rsplit_once("mod ")?.1.to_owned())).collect()
}

/// The functions of bare text: name, first line (from 1), how many lines.
pub fn functions(bare: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in bare.match_indices("fn ") {
        let name: String = bare[at + 3..].chars().take_while(|&c| is_name(c)).collect();
        if name.is_empty() || bare[..at].ends_with(is_name) {
            continue;
        }
        let item = &bare[at..end_of_item(bare, at)];
        found.push((name, bare[..at].matches('\n').count() + 1, item.lines().count()));
    }
    found
}

#[test]
fn only_code_is_code() {
    let text =
        "let a = \"fn { // \"; // fn b() {\nlet c = '{'; let d: &'static str = r#\"}\"#; /* { */ let e = b'\\'';\n";
    let bare = bare(text);
    assert!(!bare.contains(['{', '}']) && bare.contains("&'static str"), "{bare}");
    assert_eq!(bare.lines().count(), 2);
}

#[test]
fn a_functions_lines_are_counted_and_a_tests_are_not() {
    let text = "//! A file.\nfn one(a: [u8; 2]) -> u8 {\n    if true {\n    }\n}\ntrait T {\n    fn two();\n}\n\
                #[cfg(test)]\nmod tests {\n    fn three() {\n    }\n}\n#[cfg(test)]\nmod bench;\n";
    let bare = bare(text);
    let names = |bare: &str| functions(bare).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    assert_eq!(functions(&bare)[0], ("one".into(), 2, 4));
    assert_eq!(names(&bare), ["one", "two", "three"]);
    assert_eq!(names(&without_tests(&bare)), ["one", "two"]);
    assert_eq!(lines_without_tests(text), 8);
    assert_eq!(test_modules(text), ["bench"]);
}
