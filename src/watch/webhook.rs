//! One alert by webhook, signed as Standard Webhooks 1.0.0 says:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, USER_AGENT};
use ring::hmac;
use serde_json::json;

use super::undelivered::Undelivered;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::alerts::AlertRow;
use crate::upstream::fetch;

/// How long the receiver may take, all in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of its answer, in bytes: nothing of it is of use but that it came.
const MOST_READ: usize = 1 << 10;
/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// How long a secret may be, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What the receiver does not take because of what it is; all else is taken to pass.
const REFUSED: [u16; 5] = [400, 409, 413, 415, 422];

/// A fresh secret of 32 bytes.
///
/// # Errors
/// The system has no random bytes.
pub fn new_secret() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes))))
}

/// The bytes of a secret.
///
/// # Errors
/// It is none; the text says why, and nothing of it.
pub fn check_secret(secret: &Secret) -> Result<Vec<u8>, String> {
    let bytes = secret.expose().strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
    bytes
        .filter(|bytes| SECRET_BYTES.contains(&bytes.len()))
        .ok_or_else(|| format!("a secret is {PREFIX} and base64 of 24 to 64 bytes"))
}

/// What is signed: the alert's id, the time of this try, the body.
fn signature(secret: &[u8], id: &str, at: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// Posts an alert.
pub async fn post(url: &str, secret: &Secret, alert: &AlertRow, now: Timestamp) -> Result<(), Undelivered> {
    let secret = check_secret(secret).map_err(Undelivered::later)?;
    let (id, at) = (alert.id.to_string(), now.seconds());
    let body = json!({"type": alert.kind, "timestamp": alert.created_at, "data": alert.detail}).to_string();
    let request = Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("coordinator/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature(&secret, &id, at, &body))
        .body(Bytes::from(body));
    let request = request.map_err(|e| Undelivered::later(format!("it cannot be sent: {e}")))?;
    let answer = fetch(request, PATIENCE, MOST_READ).await.map_err(Undelivered::later)?;
    match answer.status().as_u16() {
        200..=299 => Ok(()),
        status @ 300..=399 => Err(Undelivered::later(format!("it answered {status}: redirects are not followed"))),
        status => {
            let lets_pass = REFUSED.contains(&status);
            Err(Undelivered { error: format!("it answered {status}"), lets_pass, is_final: false })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_example_is_signed_as_it_says() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let bytes = check_secret(&secret).unwrap_or_default();
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(&bytes, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_long_enough_and_never_repeated_to_whoever_typed_it() {
        assert!(new_secret().is_ok_and(|secret| check_secret(&secret).is_ok_and(|bytes| bytes.len() == 32)));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for bad in ["", "whsec_", "hunter2", "whsec_aHVudGVyMg==", "whsec_!!!", "whsec_\r\n", &long] {
            let why = check_secret(&Secret::new(bad.into())).err().unwrap_or_default();
            assert!(why.starts_with("a secret is whsec_") && !why.contains("hunter2"), "{bad}: {why}");
        }
    }
}
