//! When the allocator gives memory back to the system.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What it reads as the process starts, and at no other time: <https://jemalloc.net/jemalloc.3.html#tuning>
const SETTINGS: &str = "_RJEM_MALLOC_CONF";

/// Starts the process anew, once, as one that gives memory back at once, instead of ten seconds later.
///
/// A machine is mostly somebody's desk or a small box beside the GPU, and its agent asks for memory in bursts: what 500
/// requests take while they connect, 2 to 5 of 20 MiB, stood unused beside their streams, and was dealt out again in
/// larger pieces than are used. It costs a tenth of the agent's time at 2,700 streams a second, which no machine has. A
/// server keeps its ten seconds: with one it carried up to 7 % less. Whoever has set something for the allocator is heard.
pub fn give_back_at_once() {
    if env::var_os(SETTINGS).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Comes back only if it fails, and then all goes on as it is.
    let error = again.args(arguments).env(SETTINGS, "dirty_decay_ms:0").exec();
    drop(error);
}
