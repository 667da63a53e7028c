//! A whole chat answer in the client's dialect.

use std::sync::Arc;

use super::stream::Answer;
use crate::dialect::translate::context::Context;
use crate::dialect::translate::{Answering, Broken};

/// What may be kept of an answer, in times its bytes: a call takes some hundred, and servers write it in no less than
/// seventy.
const TIMES: usize = 8;
/// As above, beside that.
const BESIDE: usize = 16 << 20;
/// As above, of the longest.
const MOST: usize = 64 << 20;

/// A whole chat answer, read to be told in the client's dialect: what it used is told last, since what it cost is not
/// known before.
#[derive(Debug)]
pub struct WholeTranslation(Answer);

impl WholeTranslation {
    /// Reads an answer.
    ///
    /// # Errors
    /// It is no chat answer, or one that takes many times its bytes.
    pub fn read(context: &Arc<Context>, answering: &Answering<'_>, answer: &[u8]) -> Result<Self, Broken> {
        let text = std::str::from_utf8(answer).map_err(|_| Broken::new("the answer is not UTF-8"))?;
        let most = answer.len().saturating_mul(TIMES).saturating_add(BESIDE).min(MOST);
        let mut made = Answer::new(context, answering, Some(most));
        // Events are of streams.
        let mut none = Vec::new();
        made.event(text, &mut none)?;
        made.close(&mut none);
        Ok(Self(made))
    }

    /// What it takes, and what telling it takes besides, in bytes.
    pub fn takes(&self) -> usize {
        2 * self.0.kept()
    }

    /// The answer as one object. `usage`: what stands in the chat answer now, if that is another object.
    pub fn told(mut self, usage: Option<&str>) -> Vec<u8> {
        if let Some(usage) = usage {
            self.0.used(usage);
        }
        self.0.whole().into_bytes()
    }
}
