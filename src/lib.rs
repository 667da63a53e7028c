//! The coordinator: one deep story, *hold → wait → send → meter → settle → answer*.
//!
//! The layout shows the story as floors. A file uses only what stands below it, and rooms on one
//! floor do not know each other.
//!
//! | floor | room | what it is |
//! |---|---|---|
//! | 4 | `main.rs`, [`cli`] | arguments, subcommands, wiring, exit codes; the only reader of the environment |
//! | 3 | [`http`] | HTTP ⇄ domain: the table of routes, who may ask, one error table, pages |
//! | 3 | [`join`] | what `coordinator join` runs: a machine behind a NAT that serves for a coordinator |
//! | 3 | [`demo`] | a provider of its own, to try all this without a model; serves HTTP as `http` does |
//! | 2 | [`relay`] | the story, told once, and the holds in memory. The only room that knows the order |
//! | 2 | [`certs`] | the certificate that the server shows: from files, or from an authority |
//! | 2 | [`watch`] | what needs attention while the server runs: alerts, and how they get to whom they concern |
//! | 2 | [`auth`] | who presents a credential: keys and passwords, hashed and verified |
//! | 1 | [`store`] | the only room with SQL: writer, readers, one file per table family, and the shapes in which rows are shown |
//! | 1 | [`upstream`] | choose a provider, send, stream back; ask an authority or a webhook. With `join`, the only room that names the HTTP client |
//! | 1 | [`meter`] | bytes in → usage out. Pure: no I/O, no clock, no async |
//! | ½ | [`dialect`] | what clients and servers say, and one dialect in the words of another. Pure; all above may use it |
//! | ½ | [`tunnel`] | the wire between a machine that joined and the coordinator: what both ends say, and its bounds |
//! | 0 | [`domain`] | money, prices, usage, ids, key format, settlement arithmetic; JSON and events as bytes |
//!
//! What holds everywhere, and what breaks if it does not:
//!
//! - **A balance is never below zero, and money is conserved.** What one usage row takes, the same row
//!   gives; [`store::audit`] derives every balance again from the rows.
//! - **The commit comes before the last byte.** Of a response that a client has whole, the charge is in the database.
//! - **A hold outlives its commit.** [`relay::holds`] releases only after the debit is durable, and
//!   admission reads the balance under the holds' lock: no request is admitted on money already spent.
//! - **Nothing remembered is older than the last commit.** Commands write the same file while the server
//!   runs, so what admissions remember of keys, balances, prices and providers ([`store::AdmissionCache`]) is used
//!   only after looking whether anybody has committed since; for money, right before the holds' lock is taken. Of its
//!   own charges the server knows what they left; after any other commit it forgets all, before a hold is let go. Only for
//!   a price, never for money, does a look less than a millisecond ago do.
//! - **An estimate never lowers a report.** What bounds a charge is what cannot be exceeded (the bytes, a bound for
//!   each medium, the output bound) or what was held. What no server could read in two ways is all that is sent:
//!   [`dialect::request::fields`], [`dialect::request::lookalike`] and [`dialect::request::hosted`] refuse the rest.
//! - **One request is not the server.** Each server is asked once, three in all (one that turns out to
//!   speak chat alone, a second time, in chat); only refused connections, and
//!   hang-ups on different requests that our own question confirms, make one down.
//! - **A busy server keeps nobody out.** Whoever waits for a place does so with its money held, and places go to
//!   accounts in turn, by the work that they ask for (`relay::queue`).
//! - **Nothing is waited for, or kept, from who may not ask.** Key, balance and limits are checked before the body,
//!   and the bytes in flight have one budget ([`domain::byte_budget`]).
//! - **An unknown commit ends the process.** Nobody gets a yes or a no that might be wrong.

pub mod domain;
pub mod dialect;
pub mod tunnel;
pub mod meter;
pub mod store;
pub mod upstream;
pub mod certs;
pub mod auth;
pub mod watch;
pub mod relay;
pub mod http;
pub mod join;
pub mod demo;
pub mod cli;
