//! What a provider may be called, and what its key may be.

use super::ids::ProviderId;
use super::secret::Secret;

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
