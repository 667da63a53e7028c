//! A withdrawal: earnings that an account asks for, and how an admin decides.

use super::ids::AccountId;
use super::money::MicroUsd;

/// A withdrawal to be asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose earnings.
    pub account: AccountId,
    /// How much.
    pub amount: MicroUsd,
    /// What the account says of it.
    pub note: String,
}

/// How an admin decides.
#[derive(Debug, Clone)]
pub enum Decision {
    /// The money was sent; with what the admin notes of it.
    Paid(Option<String>),
    /// It was not, and goes back; with the reason.
    Rejected(Option<String>),
}
