//! What runs models, and what says which there are and what they cost.

pub mod count_tokens;
pub mod models;
pub mod quote;
pub mod run;
mod stream;
