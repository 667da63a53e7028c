//! Rows as CSV text, which a spreadsheet shows and never runs.

use serde::Serialize;
use serde_json::Value;

use crate::store::StoreError;

/// A spreadsheet takes a cell that begins so for a formula, and runs it: `=HYPERLINK(…)` in a note would send what is
/// beside it to whoever wrote the note. (OWASP, "CSV Injection".)
const RUN: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// The rows as CSV text, with a header line of `columns` if they are the `first` ones. `columns` are the
/// names of a row's fields.
pub(super) fn of<T: Serialize>(rows: &[T], columns: &[&str], first: bool) -> Result<Vec<u8>, StoreError> {
    let invalid = |e: &dyn std::fmt::Display| StoreError::Invalid(e.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    if first {
        writer.write_record(columns).map_err(|e| invalid(&e))?;
    }
    for row in rows {
        let row = serde_json::to_value(row).map_err(|e| invalid(&e))?;
        for column in columns {
            writer.write_field(cell(row.get(column))).map_err(|e| invalid(&e))?;
        }
        writer.write_record(None::<&[u8]>).map_err(|e| invalid(&e))?;
    }
    writer.into_inner().map_err(|e| invalid(&e))
}

/// A number as it is; a text with an apostrophe before it where it would be run.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) if text.starts_with(RUN) => format!("'{text}"),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Line {
        amount: i64,
        note: Option<&'static str>,
    }

    #[test]
    fn texts_that_a_spreadsheet_would_run_are_texts() {
        let line = |note| Line { amount: -5, note };
        let notes = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "a=1", "'=1", "a,\"b\"\nc", "\u{e9}"];
        let rows: Vec<Line> = notes.into_iter().map(|note| line(Some(note))).chain([line(None)]).collect();
        let text = String::from_utf8(of(&rows, &["amount", "note"], true).unwrap()).unwrap();
        let expected = "amount,note\n-5,'=1+1\n-5,'+1\n-5,'-1\n-5,'@SUM(A1)\n-5,'\tx\n-5,\"'\rx\"\n-5,a=1\n-5,'=1\n\
             -5,\"a,\"\"b\"\"\nc\"\n-5,\u{e9}\n-5,\n";
        assert_eq!(text, expected);
        assert_eq!(of::<Line>(&[], &["amount", "note"], true).unwrap(), b"amount,note\n");
        assert_eq!(of(&[line(None)], &["amount", "note"], false).unwrap(), b"-5,\n");
    }
}
