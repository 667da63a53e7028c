//! Money, prices, usage, ids, key format and settlement arithmetic. Pure: no I/O, no async, and no clock but
//! [`time::Timestamp::now`], which only the floors above call. (`ids` counts, and asks the system for random bytes.)

pub mod money;
pub mod usage;
pub mod price;
pub mod settle;
pub mod charge;
pub mod base32;
pub mod time;
pub mod ids;
pub mod keys;
pub mod key_limits;
pub mod withdrawal;
pub mod note;
pub mod email;
pub mod near_miss;
pub mod model_name;
pub mod provider;
pub mod invite_code;
pub mod secret;
pub mod json;
pub mod sse;
pub mod number;
pub mod endpoint;
pub mod byte_budget;
pub mod inflate;
pub mod metrics;
pub mod alert;
