//! What an account does with its keys and its money.

pub mod alert;
pub mod earnings;
pub mod key_body;
pub mod keys;
pub mod payments;
pub mod redeem;
pub mod withdrawals;
