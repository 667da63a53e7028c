//! What the demo answers: a text, a JSON document or a tool call, decided by the request alone. Pure.

use serde_json::Value;

use super::prompt::Prompt;
use super::synth;
use super::tokens::{self, Piece};

/// Tokens of an answer that nothing limits, about.
const USUAL_TOKENS: usize = 60;
/// The most tokens of one answer, whatever is asked for.
const MOST_TOKENS: usize = 100_000;
/// The most of a question that is said back, in bytes.
const LONGEST_ECHO: usize = 80;

/// What kind of answer is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// Words.
    Text,
    /// A JSON document of this schema; null for any object.
    Json(Value),
    /// A call of this tool.
    Tool {
        /// The tool's name.
        name: String,
        /// The JSON schema of its arguments.
        schema: Value,
    },
}

/// What bounds the answer.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The most tokens.
    pub max: Option<usize>,
    /// Exactly this many tokens, if `max` allows.
    pub exact: Option<usize>,
    /// Goes on to `max`.
    pub ignore_eos: bool,
    /// The answer ends before the first of these.
    pub stops: Vec<String>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// It was done.
    Stop,
    /// It came to this text, one of those the caller named.
    StopText(String),
    /// It came to the most tokens allowed.
    Length,
    /// It is a tool call.
    Tool,
}

/// An answer: what is said, in the pieces a stream sends, and what it counts.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The text, or the arguments of the tool call, one event each.
    pub pieces: Vec<Piece>,
    /// The tool that is called.
    pub tool: Option<String>,
    /// Tokens of all of it, a tool's name included.
    pub tokens: usize,
    /// Why it ended.
    pub finish: Finish,
}

impl Generated {
    /// All the text, or all the arguments.
    pub fn text(&self) -> String {
        self.pieces.iter().map(|p| p.text.as_str()).collect()
    }

    fn of(text: &str, tool: Option<String>, finish: Finish) -> Self {
        let pieces = tokens::pieces(text);
        let own = tool.as_deref().map_or(0, tokens::count);
        let tokens = pieces.iter().fold(own, |sum, p| sum.saturating_add(p.tokens));
        Self { pieces, tool, tokens, finish }
    }
}

/// Answers `prompt`. The same request gets the same answer.
pub fn answer(prompt: &Prompt, want: &Want, limits: &Limits) -> Generated {
    match want {
        Want::Text => words(prompt, limits),
        Want::Json(schema) => {
            let schema = if schema.is_null() { any_object() } else { schema.clone() };
            stopped(&synth::value(&schema).to_string(), limits)
        }
        Want::Tool { name, schema } => tool_call(name, schema, limits),
    }
}

fn any_object() -> Value {
    serde_json::json!({"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string"}}})
}

fn tool_call(name: &str, schema: &Value, limits: &Limits) -> Generated {
    let arguments = synth::object(schema).to_string();
    // The name goes out whole, so an answer can be longer than a limit below the name's tokens.
    let left = limits.max.unwrap_or(MOST_TOKENS).saturating_sub(tokens::count(name));
    let finish = if tokens::count(&arguments) > left { Finish::Length } else { Finish::Tool };
    let mut answer = Generated::of(&tokens::cut(&arguments, left), Some(name.to_owned()), finish);
    answer.tokens = answer.tokens.min(limits.max.unwrap_or(MOST_TOKENS));
    answer
}

fn words(prompt: &Prompt, limits: &Limits) -> Generated {
    let max = limits.max.unwrap_or(MOST_TOKENS).min(MOST_TOKENS);
    let wanted = if limits.ignore_eos { Some(limits.max.unwrap_or(4096)) } else { limits.exact };
    let text = match wanted {
        Some(n) => tokens::cut(&paragraph(prompt, n.min(max)), n.min(max)),
        None => paragraph(prompt, USUAL_TOKENS),
    };
    // A text of exactly the asked length ends by itself, unless it was the limit that made it so long.
    let by_limit = limits.ignore_eos || limits.exact.is_some_and(|n| n > max);
    let mut answer = stopped(&text, limits);
    if by_limit && answer.finish == Finish::Stop {
        answer.finish = Finish::Length;
    }
    answer
}

/// Ends `text` at the first of the caller's stop texts, and at the largest number of tokens allowed.
fn stopped(text: &str, limits: &Limits) -> Generated {
    let first = limits.stops.iter().filter(|s| !s.is_empty()).filter_map(|s| Some((text.find(s.as_str())?, s))).min();
    let (text, finish) = match first.and_then(|(at, stop)| Some((text.get(..at)?, stop))) {
        Some((before, stop)) => (before, Finish::StopText(stop.clone())),
        None => (text, Finish::Stop),
    };
    let max = limits.max.unwrap_or(MOST_TOKENS).min(MOST_TOKENS);
    if tokens::count(text) > max {
        return Generated::of(&tokens::cut(text, max), None, Finish::Length);
    }
    Generated::of(text, None, finish)
}

const OPENING: &str =
    "This is the demo provider: no model runs here, the words are canned, and only the token counts are real.";
const SENTENCES: [&str; 8] = [
    " Every token you read was counted once and will be billed once.",
    " The hold is taken first, and what is not used goes back.",
    " A balance never goes below zero, however many ask at once.",
    " Ask the same question again and you get the same words.",
    " What the provider reports is what the receipt shows.",
    " A real server takes its place with one command.",
    " If you leave early, the words stop and so does the bill.",
    " Prices are per million tokens, rounded up once at the end.",
];

/// At least `wanted` tokens of readable text.
fn paragraph(prompt: &Prompt, wanted: usize) -> String {
    let mut text = OPENING.to_owned();
    let echo = echo(&prompt.question);
    if !echo.is_empty() {
        text.push_str(&format!(" You said: \"{echo}\"."));
    }
    let mut have = tokens::count(&text);
    let start = usize::try_from(prompt.seed % 8).unwrap_or(0);
    for sentence in SENTENCES.iter().cycle().skip(start) {
        if have >= wanted {
            break;
        }
        text.push_str(sentence);
        have = have.saturating_add(tokens::count(sentence));
    }
    text
}

/// The beginning of the question, on one line.
fn echo(question: &str) -> String {
    let mut echo = String::new();
    for word in question.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_control() && *c != '"').collect();
        if echo.len().saturating_add(word.len()) > LONGEST_ECHO {
            echo.push('…');
            break;
        }
        if !echo.is_empty() {
            echo.push(' ');
        }
        echo.push_str(&word);
    }
    echo
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn ask(question: &str, limits: &Limits) -> Generated {
        answer(&Prompt::of_text(question), &Want::Text, limits)
    }

    #[test]
    fn a_usual_answer_is_readable_stable_and_says_the_question_back() {
        let a = ask("Say hello.", &Limits::default());
        assert_eq!(a.text(), ask("Say hello.", &Limits::default()).text());
        assert!(a.text().contains("Say hello.") && a.text().contains("demo provider"));
        assert!((50..90).contains(&a.tokens), "{}", a.tokens);
        assert_eq!(a.finish, Finish::Stop);
    }

    #[test]
    fn limits_decide_the_length_and_the_reason() {
        let max = |n| Limits { max: Some(n), ..Limits::default() };
        let cases = [
            (max(12), 12, Finish::Length),
            (max(0), 0, Finish::Length),
            (Limits { ignore_eos: true, ..max(300) }, 300, Finish::Length),
            (Limits { exact: Some(5), ..max(300) }, 5, Finish::Stop),
            (Limits { exact: Some(500), ..max(300) }, 300, Finish::Length),
            (Limits { exact: Some(700), ..Limits::default() }, 700, Finish::Stop),
        ];
        for (limits, tokens, finish) in cases {
            let a = ask("hi", &limits);
            assert_eq!((a.tokens, &a.finish), (tokens, &finish), "{limits:?}");
            assert_eq!(tokens::count(&a.text()), tokens);
        }
    }

    #[test]
    fn the_first_stop_text_ends_it() {
        let limits = Limits { stops: vec![String::new(), "nowhere".into(), " no model".into()], ..Limits::default() };
        let a = ask("hi", &limits);
        assert_eq!(a.text(), "This is the demo provider:");
        assert_eq!(a.finish, Finish::StopText(" no model".into()));
        assert_eq!(a.tokens, tokens::count(&a.text()));
    }

    #[test]
    fn json_and_tools_follow_the_schema() {
        let schema = json!({"type": "object", "properties": {"unit": {"enum": ["c", "f"]}}, "required": ["unit"]});
        let p = Prompt::default();
        let a = answer(&p, &Want::Json(schema.clone()), &Limits::default());
        assert_eq!(a.text(), r#"{"unit":"c"}"#);
        let a = answer(&p, &Want::Json(Value::Null), &Limits::default());
        assert!(serde_json::from_str::<Value>(&a.text()).unwrap().is_object());
        let want = Want::Tool { name: "get_weather".into(), schema };
        let a = answer(&p, &want, &Limits::default());
        assert_eq!((a.tool.as_deref(), a.text().as_str()), (Some("get_weather"), r#"{"unit":"c"}"#));
        assert_eq!(a.tokens, tokens::count("get_weather") + tokens::count(&a.text()));
        let a = answer(&p, &want, &Limits { max: Some(3), ..Limits::default() });
        assert_eq!((a.tokens, a.finish), (3, Finish::Length));
    }

    proptest! {
        #[test]
        fn the_count_is_what_the_text_counts_again(question in "\\PC{0,120}", max in 1_usize..120, eos in any::<bool>()) {
            let a = ask(&question, &Limits { max: Some(max), ignore_eos: eos, ..Limits::default() });
            prop_assert_eq!(tokens::count(&a.text()), a.tokens);
            prop_assert!(a.tokens <= max);
            if eos { prop_assert_eq!(a.tokens, max); }
        }
    }
}
