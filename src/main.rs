//! The binary: nothing yet but the foundation it will stand on.

fn main() {}
