//! What runs models, and what says which there are and what they cost.

pub mod models;
pub mod quote;
pub mod run;
