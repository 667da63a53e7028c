//! A log line as a JSON object, written straight into the line.
//!
//! The formatter that comes with `tracing-subscriber` builds it through `serde`; with a line for each request
//! that was a twentieth of the server's work. The fields and their values are the same.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Timestamp, level, and the fields of the event.
#[derive(Debug)]
pub struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut line)?;
        write!(line, "\",\"level\":\"{}\"", event.metadata().level())?;
        let mut fields = Fields { line, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        fields.line.write_str("}\n")
    }
}

struct Fields<'a> {
    line: Writer<'a>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn field(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        // A field's name is an identifier of the source: nothing in it needs escaping.
        let named = [",\"", field.name(), "\":"].iter().try_for_each(|part| self.line.write_str(part));
        self.result = self.result.and(named).and_then(|()| write(&mut self.line));
    }

    fn text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        self.field(field, |line| {
            line.write_char('"')?;
            Escaped(line).write_fmt(text)?;
            line.write_char('"')
        });
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |line| {
            line.write_char('"')?;
            Escaped(line).write_str(value)?;
            line.write_char('"')
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |line| write!(line, "{value}"));
    }
}

/// Text inside a JSON string (RFC 8259, section 7).
struct Escaped<'a, 'b>(&'a mut Writer<'b>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        // What is escaped is ASCII, and no byte of another character is.
        while let Some(at) = text.bytes().position(|b| b < b' ' || b == b'"' || b == b'\\') {
            let (plain, rest) = text.split_at(at);
            self.0.write_str(plain)?;
            let mut rest = rest.chars();
            match rest.next() {
                Some('\n') => self.0.write_str("\\n")?,
                Some(c @ ('"' | '\\')) => write!(self.0, "\\{c}")?,
                Some(c) => write!(self.0, "\\u{:04x}", u32::from(c))?,
                None => {}
            }
            text = rest.as_str();
        }
        self.0.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Text {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_a_json_object_whatever_is_in_it() {
        let text = Text::default();
        let writer = text.clone();
        let log = tracing_subscriber::fmt().event_format(JsonLine).with_writer(move || writer.clone()).finish();
        let nasty = "a \"b\" \\ \n\t\u{1}é😀";
        tracing::subscriber::with_default(log, || {
            tracing::info!(text = nasty, shown = %nasty, debug = ?nasty, n = 7_u64, below = -7, yes = true, none = None::<u64>, "what: {nasty}");
            tracing::warn!("second");
        });
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        let debug = format!("{nasty:?}");
        let message = format!("what: {nasty}");
        for (field, value) in
            [("text", nasty), ("shown", nasty), ("debug", &debug), ("message", &message), ("level", "INFO")]
        {
            assert_eq!(lines[0][field], value, "{field}");
        }
        assert_eq!((&lines[0]["n"], &lines[0]["below"], &lines[0]["yes"]), (&7.into(), &(-7).into(), &true.into()));
        assert_eq!(
            (&lines[0]["none"], &lines[1]["level"], &lines[1]["message"]),
            (&serde_json::Value::Null, &"WARN".into(), &"second".into())
        );
        assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
