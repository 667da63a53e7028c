//! Stories of the account's routes, through the whole server in one process.

mod caps;
mod keys;
mod money;
mod reads;
