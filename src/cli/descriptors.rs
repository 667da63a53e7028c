//! How many files and connections a process may have open.

/// Each stream takes two descriptors: the soft limit of 1,024 would end at 500 of them.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() {
        tracing::warn!(current = limit.current, "the limit of open files could not be raised");
    }
}
