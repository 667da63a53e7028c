//! A text that must not be seen: a provider's key, a password.

use std::fmt;

use serde::Deserialize;

/// A secret text. Its `Debug` shows nothing; there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Turns what an operator wrote as a secret (`env:VARIABLE`) into the secret, if there is one.
pub type ResolveSecret = fn(&Secret) -> Option<Secret>;

impl Secret {
    /// Hides `text`.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text: only for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("canary".into());
        assert_eq!((format!("{secret:?}").as_str(), secret.expose()), ("[secret]", "canary"));
    }
}
