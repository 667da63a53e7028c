//! A chat server's answer in the client's dialect.

mod chunk;
mod order;
mod arguments;
mod custom;
mod think;
mod counts;
mod alike;
mod block;
mod events;
mod in_responses;
mod in_messages;
pub(super) mod stream;
pub(super) mod whole;
#[cfg(test)]
mod tests;
