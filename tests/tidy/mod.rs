//! The house keeps its order: what the map in `src/lib.rs` and `CONTRIBUTING.md` promise, read from the sources.

mod rust;
mod sources;
mod floors;
mod places;
mod sizes;
mod circles;
mod names;
mod contributing;
