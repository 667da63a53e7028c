//! Printing: one JSON document, or text for people.

use std::io::{self, Write};

use serde::Serialize;

use super::Failed;

/// How a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// One JSON document instead of text.
    pub json: bool,
}

impl Output {
    /// Prints `value` as JSON, or what `text` makes of it.
    pub fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failed> {
        let line = if self.json {
            serde_json::to_string(value).map_err(|e| Failed::Other(e.to_string()))?
        } else {
            text(value)
        };
        self.line(&line)
    }

    /// Prints a line. Whoever stopped reading (`| head`) is no failure.
    pub fn line(self, line: &str) -> Result<(), Failed> {
        match writeln!(io::stdout().lock(), "{line}") {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Prints rows as a JSON array, or as columns under a heading.
    pub fn table<T: Serialize, const N: usize>(
        self,
        rows: &[T],
        heading: [&str; N],
        cells: impl Fn(&T) -> [String; N],
    ) -> Result<(), Failed> {
        self.print(&rows, |rows| columns(heading, rows.iter().map(cells).collect()))
    }
}

/// Columns as wide as their widest cell, two blanks apart.
pub fn columns<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut lines = vec![heading.map(str::to_owned)];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let text = |line: &[String; N]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Text for a value that may not be there.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![["a".into(), "long".into()], ["éé".into(), String::new()]];
        assert_eq!(columns(["x", "y"], rows), "x   y\na   long\néé");
    }
}
