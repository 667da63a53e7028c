//! What a provider may be called, what its key may be, and how it is spoken to.

use std::str::FromStr;

use super::ids::ProviderId;
use super::secret::Secret;

/// The header that a provider's key goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// `authorization: Bearer …`, as nearly all want it.
    #[default]
    Bearer,
    /// `x-api-key: …` with an `anthropic-version`, as Anthropic wants it.
    XApiKey,
}

impl Auth {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::XApiKey => "x-api-key",
        }
    }
}

impl FromStr for Auth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Bearer, Self::XApiKey];
        let found = all.into_iter().find(|auth| auth.as_str() == text);
        found.ok_or_else(|| format!("\"{text}\" is neither bearer nor x-api-key"))
    }
}

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manners {
    /// The header that its key goes into.
    pub auth: Auth,
    /// It writes its reasoning into the content of a chat, between `<think>` and `</think>`.
    pub think_tags: bool,
}

/// Why this cannot be a provider's name, if it cannot.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if !(1..=200).contains(&name.chars().count()) || name.trim() != name || name.chars().any(char::is_control) {
        return Err("a provider name is 1 to 200 characters, none of them a control character");
    }
    if name.starts_with(ProviderId::PREFIX) {
        return Err("a provider name cannot begin like a provider id");
    }
    Ok(())
}

/// Why this cannot be a provider's key, if it cannot: it goes into a header, and what cannot stand there would make
/// every request fail. `env:VARIABLE` stands for the key that the variable holds.
pub fn check_api_key(key: &Secret) -> Result<(), &'static str> {
    let text = key.expose().strip_prefix("env:").unwrap_or(key.expose());
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("a provider's key is visible ASCII characters, without blanks");
    }
    Ok(())
}
