//! The binary: hands its arguments to the command line.

/// See Cargo.toml for why.
#[global_allocator]
static ALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    coordinator::cli::main()
}
