//! Random tokens: of a session of the admin page, and of the one-time link that sets up the first admin.

use std::sync::{Mutex, PoisonError};

use ring::digest;

use super::HashFailed;
use crate::domain::secret::Secret;

/// 256 random bits as text. The server keeps only the hash.
#[derive(Debug, Clone)]
pub struct Token(Secret);

impl Token {
    /// A fresh one.
    pub fn generate() -> Result<Self, HashFailed> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|e| HashFailed::new(&e))?;
        Ok(Self(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())))
    }

    /// The text, for the one who may have it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What the server keeps.
    pub fn hash(&self) -> [u8; 32] {
        Self::hash_of(self.expose())
    }

    /// The hash of a text that somebody presents. A token has 256 bits to guess, so a plain hash will do.
    pub fn hash_of(text: &str) -> [u8; 32] {
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()) {
            *to = *from;
        }
        hash
    }
}

/// The one-time token that sets up the first admin: it dies with the process, or when it was used.
#[derive(Debug, Default)]
pub struct SetupToken(Mutex<Option<[u8; 32]>>);

impl SetupToken {
    /// Lets `token` set up the first admin.
    pub fn allow(&self, token: &Token) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.hash());
    }

    /// `text` is the token. Hashes are compared, so the time it takes tells nothing of the token.
    pub fn is(&self, text: &str) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == Some(Token::hash_of(text))
    }

    /// It was used.
    pub fn spend(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_token_works_until_it_is_spent() {
        let (Ok(token), Ok(other)) = (Token::generate(), Token::generate()) else { panic!("no entropy") };
        assert_eq!(token.expose().len(), 64);
        assert_ne!(token.expose(), other.expose());
        assert!(!format!("{token:?}").contains(token.expose()));
        let setup = SetupToken::default();
        assert!(!setup.is(token.expose()));
        setup.allow(&token);
        assert!(setup.is(token.expose()));
        assert!(!setup.is(other.expose()));
        assert!(!setup.is(""));
        setup.spend();
        assert!(!setup.is(token.expose()));
    }
}
