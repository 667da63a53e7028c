//! Asking the server that runs on the data directory, for what it alone knows or can reach.

use std::path::Path;
use std::time::Duration;

use ::http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Failed;
use crate::http::block_on;
use crate::http::local::{LONGEST_PATH, socket_path};
use crate::upstream::{Unanswered, ask_local};

/// A server that says nothing for so long is stuck. It answers at once, or gives signs of life.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the server answers; `None` if none runs, or none can be asked.
///
/// # Errors
/// It does not answer, or it refuses.
pub fn ask<T: DeserializeOwned>(dir: &Path, method: Method, path: &str) -> Result<Option<T>, Failed> {
    let socket = socket_path(dir);
    if is_too_long(&socket) {
        return Ok(None);
    }
    let failed = |why: String| Failed::Other(format!("the server that runs on {}: {why}", dir.display()));
    let (status, body) = match block_on(ask_local(&socket, method, path, PATIENCE)) {
        Ok(answer) => answer,
        Err(Unanswered::Nobody) => return Ok(None),
        Err(e) => return Err(failed(e.to_string())),
    };
    if !(200..=299).contains(&status) {
        let said: Option<Value> = serde_json::from_slice(&body).ok();
        let message = said.as_ref().and_then(|said| said.pointer("/error/message")).and_then(Value::as_str);
        return Err(failed(message.map_or_else(|| format!("it answered {status}"), str::to_owned)));
    }
    let answer = serde_json::from_slice(&body);
    answer.map(Some).map_err(|e| failed(format!("its answer is not understood; is it of another version? {e}")))
}

/// No server can listen there.
pub fn is_too_long(socket: &Path) -> bool {
    socket.as_os_str().len() > LONGEST_PATH
}
