//! Who presents a credential: keys and passwords, hashed and verified.

mod admin;
mod hash;
mod signin;
mod token;
mod verifier;

pub use admin::{Admin, AdminAccess, session};
pub use hash::{HashFailed, hash_key, hash_password, verify_password};
pub use signin::{SignIn, SignInError, Verified};
pub use token::{SetupToken, Token};
pub use verifier::{AuthError, Verifier};
