//! The command `elbo`.

use std::process::ExitCode;

/// Training frees and allocates large tensors at every step; the system's allocator would map and unmap each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match elbo_trainer::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("elbo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
