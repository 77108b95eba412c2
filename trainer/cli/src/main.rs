//! The command `elbo`.

use std::process::ExitCode;

/// Training frees and allocates large tensors at every step; the system's allocator would map and unmap each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// candle's own pool of threads spins between operations, on the core that the fused operations' other half needs.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// Whether errors carry a backtrace; those of panics are another variable's.
const BACKTRACES: &str = "RUST_LIB_BACKTRACE";

fn main() -> ExitCode {
    if std::env::var_os(CANDLE_THREADS).is_none() {
        // SAFETY: no other thread exists yet.
        unsafe { std::env::set_var(CANDLE_THREADS, "1") };
    }
    // Errors of the tensor library would show where they were made, which tells a user nothing.
    if std::env::var_os(BACKTRACES).is_none() {
        // SAFETY: no other thread exists yet.
        unsafe { std::env::set_var(BACKTRACES, "0") };
    }
    match elbo_cli::run() {
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
