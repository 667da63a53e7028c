//! Black-box stories against the real binary, with a scripted upstream where a provider would be.
//!
//! `world` is what a story needs: the binary on a data directory of its own, an HTTP client on a bare
//! socket, an upstream that misbehaves on demand. `stories` tells them, a file a theme.

// A test may stop at the first surprise: that is what it is for. Helpers beside `#[test]` functions
// are not covered by the allowances in clippy.toml.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod world;
mod stories;
mod model;
mod tidy;
