//! argon2id, with costs fit for what is hashed. The PHC text carries them, so they can change.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::hmac;

use crate::domain::keys::PlainKey;
use crate::domain::secret::Secret;

/// A key's secret is 256 random bits, beyond any guessing: the hash need not be slow. KiB, passes.
const KEY_COST: (u32, u32) = (1_024, 1);
/// The floor for passwords that people choose. KiB, passes.
/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>
const PASSWORD_COST: (u32, u32) = (19 * 1_024, 2);

/// Hashing failed: no random bytes for a salt, or no memory.
#[derive(Debug, thiserror::Error)]
#[error("hashing failed: {0}")]
pub struct HashFailed(String);

impl HashFailed {
    pub(super) fn new(cause: &dyn std::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// What is stored of a key: its PHC text, a blank, and its tag, by which a forgery is refused for nothing.
///
/// # Errors
/// No random bytes, no memory.
pub fn hash_key(key: &PlainKey) -> Result<String, HashFailed> {
    Ok(with_tag(key, &hash(key.expose().as_bytes(), KEY_COST)?))
}

/// A PHC text with the tag of the key whose it is.
pub(super) fn with_tag(key: &PlainKey, phc: &str) -> String {
    let tag = hmac::sign(&tag_key(phc), key.expose().as_bytes());
    tag.as_ref().iter().fold(format!("{phc} "), |text, byte| format!("{text}{byte:02x}"))
}

/// The key is the one of this PHC text and tag. Takes as long whatever is wrong.
pub(super) fn has_tag(key: &PlainKey, phc: &str, tag: &str) -> bool {
    let byte = |at| tag.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or_default();
    let bytes: Vec<u8> = (0..tag.len() / 2).map(|n| byte(2 * n)).collect();
    hmac::verify(&tag_key(phc), key.expose().as_bytes(), &bytes).is_ok()
}

/// A tag is keyed by the PHC text, whose salt is random: the same key has another tag in another row.
fn tag_key(phc: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, phc.as_bytes())
}

/// The PHC text of a password. Takes tens of milliseconds: not on a worker thread.
///
/// # Errors
/// No random bytes, no memory.
pub fn hash_password(password: &Secret) -> Result<String, HashFailed> {
    hash(password.expose().as_bytes(), PASSWORD_COST)
}

/// The password is the one of this PHC text. `None` verifies against a text that nothing matches, so
/// that an unknown name takes as long as a wrong password.
pub fn verify_password(password: &Secret, phc: Option<&str>) -> bool {
    static NOBODY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    match phc {
        Some(phc) => verify(password.expose().as_bytes(), phc),
        None => {
            let nobody = NOBODY.get_or_init(|| hash(b"nobody", PASSWORD_COST).unwrap_or_default());
            verify(password.expose().as_bytes(), nobody);
            false
        }
    }
}

fn hash(secret: &[u8], (memory, passes): (u32, u32)) -> Result<String, HashFailed> {
    let failed = HashFailed::new;
    let params = Params::new(memory, passes, 1, None).map_err(|e| failed(&e))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(secret).map_err(|e| failed(&e))?.to_string())
}

/// The secret is the one of this PHC text, whatever costs it names.
pub(super) fn verify(secret: &[u8], phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|hash| Argon2::default().verify_password(secret, &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hashed_is_verified_and_nothing_else() {
        let Ok(key) = PlainKey::generate() else { panic!("no entropy") };
        let Ok(stored) = hash_key(&key) else { panic!("no hash") };
        let Some((phc, tag)) = stored.split_once(' ') else { panic!("{stored}") };
        assert!(has_tag(&key, phc, tag) && with_tag(&key, phc) == stored);
        let Ok(forged) = PlainKey::generate() else { panic!("no entropy") };
        assert!(!has_tag(&forged, phc, tag));
        for wrong in ["", "0", &tag[2..], "é", &"0".repeat(64), &format!("{tag}00")] {
            assert!(!has_tag(&key, phc, wrong), "{wrong}");
        }
        assert!(phc.starts_with("$argon2id$v=19$m=1024,t=1,p=1$"), "{phc}");
        assert!(verify(key.expose().as_bytes(), phc));
        assert!(!verify(b"other", phc));
        assert!(!verify(b"other", "not a hash"));
        let secret = |text: &str| Secret::new(text.to_owned());
        let Ok(phc) = hash_password(&secret("correct horse")) else { panic!("no hash") };
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify_password(&secret("correct horse"), Some(&phc)));
        assert!(!verify_password(&secret("wrong"), Some(&phc)));
        assert!(!verify_password(&secret("nobody"), None));
    }
}
