//! The command `elbo`.

use std::process::ExitCode;

/// Training frees and allocates large tensors at every step; the system's allocator would map and unmap each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match elbo_trainer::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Many messages name their cause themselves.
            let mut text = error.to_string();
            for cause in error.chain().skip(1).map(ToString::to_string) {
                if !text.contains(&cause) {
                    text = format!("{text}: {cause}");
                }
            }
            eprintln!("elbo: {text}");
            ExitCode::FAILURE
        }
    }
}
