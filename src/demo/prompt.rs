//! What was asked, counted.

use serde_json::Value;

use super::tokens;

/// What was asked, as far as the demo looks.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// Tokens of it.
    pub tokens: usize,
    /// The last thing a user said.
    pub question: String,
    /// Depends on every word of it.
    pub seed: u64,
}

/// One message of a conversation.
#[derive(Debug, Clone)]
pub struct Said {
    /// Who spoke.
    pub role: String,
    /// Every text of the message.
    pub text: String,
}

/// Tokens a chat template adds to each message, and to the whole.
const TOKENS_PER_TURN: usize = 4;
const TOKENS_PER_CHAT: usize = 3;

impl Prompt {
    /// A conversation, with the JSON of the tools it offers (empty: none).
    pub fn of_turns(turns: &[Said], tools: &str) -> Self {
        let mut prompt = Self { tokens: tokens::count(tools).saturating_add(TOKENS_PER_CHAT), ..Self::default() };
        let mut all = tools.to_owned();
        for turn in turns {
            let text = tokens::count(&turn.text).saturating_add(tokens::count(&turn.role));
            prompt.tokens = prompt.tokens.saturating_add(text).saturating_add(TOKENS_PER_TURN);
            all.push_str(&turn.role);
            all.push_str(&turn.text);
            if turn.role == "user" {
                prompt.question.clone_from(&turn.text);
            }
        }
        prompt.seed = tokens::seed(&all);
        prompt
    }

    /// A bare text.
    pub fn of_text(text: &str) -> Self {
        Self { tokens: tokens::count(text), question: text.to_owned(), seed: tokens::seed(text) }
    }

    /// A prompt given as token ids, which the demo counts and does not read.
    pub fn of_tokens(ids: &[Value]) -> Self {
        Self { tokens: ids.len(), question: String::new(), seed: tokens::seed(&Value::from(ids.to_vec()).to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_counts_its_messages() {
        let turns = [Said { role: "user".into(), text: "Say hello.".into() }];
        let p = Prompt::of_turns(&turns, "");
        assert_eq!(p.tokens, 3 + 4 + 1 + tokens::count("Say hello."));
        assert_eq!(p.question, "Say hello.");
        assert!(Prompt::of_turns(&turns, "[1,2]").tokens > p.tokens);
    }
}
