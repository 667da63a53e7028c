//! What the relay does beside the story of a request: looks at providers, counts and prices prompts for free, checks the
//! meters.
//!
//! | file | what it is |
//! |---|---|
//! | [`probe`] | what a provider serves and reports, from one short request to each endpoint |
//! | `capacity` | how busy the servers of each model are |
//! | `places` | how many requests a server says that it takes at once |
//! | `trial` | which field a server takes for the output bound |
//! | [`offers`] | who serves the models for which somebody waits |
//! | `machines` | machines that join, and leave |
//! | [`watch`] | asking the servers that are down until they answer |
//! | `unpaid` | an account that cannot pay is told of |
//! | [`count`] | `count_tokens`, by a provider or by the tokenizer here |
//! | [`quote`] | what a request would cost now |
//! | `index` | the index of usage rows by account |
//! | [`recount`] | the tokenizer's count beside what a provider reported, for one answer in some |

pub mod capacity;
pub mod probe;
pub mod offers;
mod places;
mod machines;
mod trial;
pub mod watch;
mod index;
pub mod count;
pub mod quote;
pub mod recount;
pub mod unpaid;
