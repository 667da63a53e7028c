//! `coordinator version`: which release, made of which commit.

use serde_json::json;

use super::Failed;
use super::output::Output;

/// `make dist` says which; a build by hand does not.
const COMMIT: Option<&str> = option_env!("COORDINATOR_COMMIT");

pub fn run(out: Output) -> Result<(), Failed> {
    let version = env!("CARGO_PKG_VERSION");
    out.print(&json!({"version": version, "commit": COMMIT}), |_| {
        format!(
            "coordinator {version} ({})",
            COMMIT.map_or("built by hand".to_owned(), |commit| format!("commit {commit}"))
        )
    })
}
