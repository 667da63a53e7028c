//! What a server's error means: the next one may do better, another time will do, or the request is at fault.

use std::borrow::Cow;
use std::time::Duration;

use super::attempts::{AttemptFailure, Fault, FaultKind};
use super::reason::{self, LONGEST_LOGGED, Reason, shortened};
use super::refusal::ServerError;
use crate::domain::secret::Secret;
use crate::upstream::{Target, UpstreamResponse};

/// What of an error is read; the reason stands at the beginning of a longer one.
const MOST_READ: usize = 256 << 10;
/// How long its text may take.
const READ_TIME: Duration = Duration::from_secs(10);

/// Sorts a server's error. `model` is the public name of what it calls otherwise.
pub async fn read_error(answer: UpstreamResponse, target: &Target, model: &str) -> AttemptFailure {
    let (status, wait) = (answer.status, answer.retry_after);
    let body = answer.body.start(MOST_READ, READ_TIME).await;
    let private = Private { model: &target.upstream_model, key: target.api_key.as_ref().map(Secret::expose) };
    sort(status, wait, &body, private, model)
}

/// What a server may say and a caller must not see.
#[derive(Clone, Copy)]
pub(super) struct Private<'a> {
    /// What the server calls the model; often a path.
    pub model: &'a str,
    /// The provider's key.
    pub key: Option<&'a str>,
}

/// Sorts an error by its status and what it says.
pub(super) fn sort(
    status: u16,
    wait: Option<Duration>,
    body: &[u8],
    private: Private<'_>,
    model: &str,
) -> AttemptFailure {
    let upstream_model = private.model;
    let reason = || reason::read(body).map(|reason| reason.without(private.key));
    let of_failure = || reason::of_failure(body, private.key).map(|text| reason::named(text, upstream_model, model));
    match status {
        408 | 425 | 429 => AttemptFailure::Busy { status: 429, says: None, wait },
        503 | 529 => AttemptFailure::Busy { status, says: of_failure(), wait },
        400 | 404 | 409 | 413 | 422 => match reason() {
            Some(reason) if matches!(status, 400 | 404) && reason.is_unknown_model(upstream_model) => {
                fault(FaultKind::UnknownModel, status, Some(&reason), "it does not have the model".into())
            }
            // Without a reason, or with a web server's own, a 404 means that there is no such path.
            None if status == 404 => {
                fault(FaultKind::Settings(status), status, None, "it does not know the path".into())
            }
            Some(reason) if status == 404 && is_no_path(&reason.message) => {
                fault(FaultKind::Settings(status), status, Some(&reason), "it does not know the path".into())
            }
            reason => {
                let none = || Reason { message: "the provider refused the request".to_owned(), ..Reason::default() };
                let reason = reason.unwrap_or_else(none).renamed(upstream_model, model).shown();
                AttemptFailure::Request(Box::new(ServerError { status, reason }))
            }
        },
        300..=399 => AttemptFailure::Fault(Fault {
            kind: FaultKind::Settings(status),
            why: format!("it answered {status}: redirects are not followed"),
            says: "an unusable answer".into(),
        }),
        // A key, a path, a method: what no client can mend.
        401 | 402 | 403 | 405 | 410 | 501 => {
            fault(FaultKind::Settings(status), status, reason().as_ref(), "it answered with an error".into())
        }
        _ => {
            let says =
                of_failure().filter(|_| status >= 500).map_or(Cow::Borrowed("it answered with an error"), |text| {
                    Cow::Owned(format!("it answered {status}: {text}"))
                });
            fault(FaultKind::Error(status), status, reason().as_ref(), says)
        }
    }
}

/// What web servers say when there is nothing at a path.
fn is_no_path(message: &str) -> bool {
    let text = message.trim().trim_end_matches('.').to_ascii_lowercase();
    matches!(text.as_str(), "not found" | "file not found" | "404 page not found" | "404 not found" | "page not found")
        || text.starts_with("cannot post ")
        || text.starts_with("invalid url (post ")
}

fn fault(kind: FaultKind, status: u16, reason: Option<&Reason>, says: Cow<'static, str>) -> AttemptFailure {
    let why = match reason {
        Some(reason) => format!("it answered {status}: {}", shortened(&reason.message, LONGEST_LOGGED)),
        None => format!("it answered {status}"),
    };
    AttemptFailure::Fault(Fault { kind, why, says })
}
