//! Stories of the account's routes, through the whole server in one process.

mod admin;
mod caps;
mod edge;
mod keys;
mod money;
mod reads;
