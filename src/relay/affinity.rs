//! Which server answered a conversation last: it has the beginning of the prompt in its cache, so that the next turn is
//! cheaper and begins sooner there.
//!
//! It costs nobody a place: only among servers that have one free is the one that knows the conversation preferred,
//! and who waits in line is served by whichever server is free first.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::Caller;
use crate::dialect::request::InferenceRequest;
use crate::domain::ids::{AccountId, ProviderId};
use crate::meter::walk::{self, Value};
use crate::upstream::Target;

/// Where conversations were answered last. What was not asked for among the last some thousand is forgotten.
#[derive(Debug)]
pub struct Affinity {
    /// Chosen at random, so that nobody can make another's conversation look like his.
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    recent: HashMap<u64, ProviderId>,
    older: HashMap<u64, ProviderId>,
}

/// A conversation, by its account, its model and what it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation(u64);

/// How many are remembered, twice: 16 bytes each, and as much again for the table.
const MOST: usize = 8_192;
/// The system's message and the first of the user: these stay as the conversation goes on.
const FIRST_MESSAGES: usize = 2;
/// Of a prompt that is one text, its beginning.
const FIRST_BYTES: usize = 1 << 10;

impl Affinity {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self { hasher: RandomState::new(), known: Mutex::default() }
    }

    /// Which conversation a request goes on with.
    pub fn conversation(&self, caller: &Caller, request: &InferenceRequest<'_>) -> Option<Conversation> {
        self.of(caller.account, &request.model, request.content()?)
    }

    fn of(&self, account: AccountId, model: &str, content: &str) -> Option<Conversation> {
        let hash = match Value::of(content) {
            Value::List(list) => {
                let asked = walk::values(list).take_while(|message| !is_answer(*message));
                let texts: Vec<&str> = asked.take(FIRST_MESSAGES).map(Value::text).collect();
                self.hasher.hash_one((account, model, texts))
            }
            Value::Text(text) => self.hasher.hash_one((account, model, text.as_bytes().get(..FIRST_BYTES)?)),
            Value::Object(_) | Value::Bare(_) => return None,
        };
        Some(Conversation(hash))
    }

    /// Puts the server that knows a conversation first, if it is among those that are free.
    pub fn prefer(&self, conversation: Conversation, targets: &mut [Target], is_free: impl Fn(&Target) -> bool) {
        let Some(known) = self.server_of(conversation) else { return };
        let at = targets.iter().position(|target| target.provider == known);
        if let Some(at) = at
            && let Some(before) = targets.get_mut(..=at)
            && before.last().is_some_and(is_free)
        {
            before.rotate_right(1);
        }
    }

    fn server_of(&self, Conversation(hash): Conversation) -> Option<ProviderId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.recent.get(&hash).or_else(|| known.older.get(&hash)).copied()
    }

    /// A server answers a conversation.
    pub fn note(&self, Conversation(hash): Conversation, server: ProviderId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.recent.len() >= MOST && !known.recent.contains_key(&hash) {
            known.older = std::mem::take(&mut known.recent);
        }
        known.recent.insert(hash, server);
    }
}

/// What the model said: with it a turn begins that was not there before.
fn is_answer(message: Value<'_>) -> bool {
    let Value::Object(message) = message else { return false };
    walk::entries(message).any(|(key, value)| key == "role" && value == Value::Text("assistant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: i64) -> Target {
        Target::nowhere(id, None)
    }

    #[test]
    fn a_conversation_is_known_by_its_beginning() {
        let affinity = Affinity::new();
        let of = |account, model, content: &str| affinity.of(AccountId::from_i64(account), model, content);
        // Without a system's message too.
        let one = r#"[{"role":"user","content":"hi"}]"#;
        let more =
            r#"[{"role":"user","content":"hi"},{"role":"assistant","content":"yo"},{"role":"user","content":"x"}]"#;
        assert!(of(1, "m", one).is_some() && of(1, "m", one) == of(1, "m", more));
        let first = of(1, "m", r#"[{"role":"system","content":"x"},{"role":"user","content":"hi"}]"#);
        let goes_on =
            r#"[{"role":"system","content":"x"},{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]"#;
        assert_eq!(first, of(1, "m", goes_on));
        for (account, model, content) in [
            (2, "m", goes_on),
            (1, "n", goes_on),
            (1, "m", r#"[{"role":"system","content":"x"},{"role":"user","content":"ho"}]"#),
            (1, "m", r#"[{"role":"system","content":"x"}]"#),
        ] {
            assert_ne!(first, of(account, model, content), "{account} {model} {content}");
        }
        let long = format!("\"{}", "a".repeat(FIRST_BYTES));
        assert_eq!(of(1, "m", &format!("{long}b\"")), of(1, "m", &format!("{long}c\"")));
        assert_eq!(of(1, "m", "\"short: nothing to remember\""), None);
        assert_eq!(of(1, "m", "7"), None);
    }

    #[test]
    fn who_knows_it_comes_first_if_it_is_free() {
        let affinity = Affinity::new();
        let names = |targets: &[Target]| targets.iter().map(|t| t.provider.to_i64()).collect::<Vec<_>>();
        let conversation = Conversation(7);
        let mut targets = [target(1), target(2), target(3)];
        affinity.prefer(conversation, &mut targets, |_| true);
        assert_eq!(names(&targets), [1, 2, 3], "nobody knows it");
        affinity.note(conversation, ProviderId::from_i64(3));
        affinity.prefer(conversation, &mut targets, |_| false);
        assert_eq!(names(&targets), [1, 2, 3]);
        affinity.prefer(conversation, &mut targets, |target| target.provider.to_i64() == 3);
        assert_eq!(names(&targets), [3, 1, 2]);
        affinity.note(conversation, ProviderId::from_i64(9));
        affinity.prefer(conversation, &mut targets, |_| true);
        assert_eq!(names(&targets), [3, 1, 2], "who knows it does not serve the model any more");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let affinity = Affinity::new();
        let server = ProviderId::from_i64(1);
        for one in 0..5 * MOST as u64 {
            affinity.note(Conversation(one), server);
        }
        let known = affinity.known.lock().unwrap();
        assert!(known.recent.len() <= MOST && known.older.len() <= MOST);
        drop(known);
        assert_eq!(affinity.server_of(Conversation(5 * MOST as u64 - 1)), Some(server));
        assert_eq!(affinity.server_of(Conversation(0)), None);
    }
}
