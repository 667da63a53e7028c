//! Who presents a credential: keys and passwords, hashed and verified.

mod hash;
mod verifier;

pub use hash::{HashFailed, hash_key, hash_password, verify_password};
pub use verifier::{AuthError, Verifier};
