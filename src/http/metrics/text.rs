//! Prometheus's text format, written line by line.

use std::fmt::Write;

use crate::domain::metrics::Histogram;

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often what was how large.
    Histogram,
}

/// Lines of it.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// The lines before a metric's samples. A counter's samples end in `_total`, and so does its name here.
    pub fn head(&mut self, name: &str, kind: Kind, says: &str) {
        let (kind, end) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Histogram => ("histogram", ""),
        };
        self.line(format_args!("# HELP {name}{end} {says}\n# TYPE {name}{end} {kind}\n"));
    }

    /// One value.
    pub fn sample(&mut self, name: &str, labels: &[(&str, String)], value: u64) {
        self.number(name, labels, &value.to_string());
    }

    /// A metric of one value.
    pub fn gauge(&mut self, name: &str, says: &str, value: u64) {
        self.head(name, Kind::Gauge, says);
        self.sample(name, &[], value);
    }

    /// All of a histogram's lines; `is_time` turns its microseconds into seconds.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, String)], histogram: &Histogram, is_time: bool) {
        let shown = |n: u64| if is_time { seconds(n) } else { n.to_string() };
        let (bounded, count, sum) = histogram.read();
        let bounds = bounded.into_iter().map(|(bound, count)| (shown(bound), count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), count)]) {
            let labels = [labels, &[("le", bound)]].concat();
            self.sample(&format!("{name}_bucket"), &labels, count);
        }
        self.number(&format!("{name}_sum"), labels, &shown(sum));
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// The whole text.
    pub fn done(self) -> String {
        self.0
    }

    fn number(&mut self, name: &str, labels: &[(&str, String)], value: &str) {
        let pairs: Vec<String> = labels.iter().map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        self.line(format_args!("{name}{labels} {value}\n"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.0.write_fmt(text);
    }
}

/// Microseconds as seconds, without zeros at the end.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A label's text: a backslash, a quote and a line break have a form of their own.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_times_are_seconds() {
        let mut text = Text::default();
        text.head("a", Kind::Counter, "Says.");
        text.sample("a_total", &[("model", "x\"y\\z\n".to_owned())], 3);
        text.gauge("b", "Says.", 7);
        assert_eq!(
            text.done(),
            "# HELP a_total Says.\n# TYPE a_total counter\na_total{model=\"x\\\"y\\\\z\\n\"} 3\n\
             # HELP b Says.\n# TYPE b gauge\nb 7\n"
        );
        for (micros, expected) in [(0, "0"), (10_000, "0.01"), (1_000_000, "1"), (81_920_000, "81.92"), (1, "0.000001")]
        {
            assert_eq!(seconds(micros), expected);
        }
    }
}
