//! A release's functions stand in the order that packaging/functions.py wrote down.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=packaging/functions.ld");
    println!("cargo::rerun-if-env-changed=COORDINATOR_ANY_ORDER");
    let is = |name: &str, value: &str| var(name).is_ok_and(|found| found == value);
    // The linker takes some seconds for it: not for tests, nor for `make run`. One that reads no scripts, as mold, is
    // spared it by COORDINATOR_ANY_ORDER=1.
    if !is("COORDINATOR_ANY_ORDER", "1")
        && is("OPT_LEVEL", "3")
        && is("CARGO_CFG_TARGET_OS", "linux")
        && let Ok(project) = var("CARGO_MANIFEST_DIR")
    {
        println!("cargo::rustc-link-arg-bin=coordinator=-Wl,-T,{project}/packaging/functions.ld");
    }
}
