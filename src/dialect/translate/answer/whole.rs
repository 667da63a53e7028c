//! A whole chat answer in the client's dialect.

use std::sync::Arc;

use super::stream::Answer;
use crate::dialect::translate::context::Context;
use crate::dialect::translate::{Answering, Broken};

/// A whole chat answer in the client's dialect.
///
/// # Errors
/// It is no chat answer.
pub fn whole(context: &Arc<Context>, answering: &Answering<'_>, answer: &[u8]) -> Result<Vec<u8>, Broken> {
    let text = std::str::from_utf8(answer).map_err(|_| Broken::new("the answer is not UTF-8"))?;
    let mut made = Answer::new(context, answering, true);
    made.event(text, &mut Vec::new())?;
    Ok(made.whole().into_bytes())
}
