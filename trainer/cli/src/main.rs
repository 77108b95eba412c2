//! The command `elbo`.

use std::io::Write;
use std::process::ExitCode;

/// Training frees and allocates large tensors at every step; the system's allocator would map and unmap each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// candle's own pool of threads spins between operations, on the core that the fused operations' other half needs.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// Whether errors carry a backtrace; those of panics are another variable's.
const BACKTRACES: &str = "RUST_LIB_BACKTRACE";

/// Whether an error value holds a backtrace. candle prints it inside its messages, which shall be one line even for a
/// user who has set RUST_BACKTRACE for other programs. A panic still shows its own.
const BACKTRACES_OF_ERRORS: &str = "RUST_LIB_BACKTRACE";

fn main() -> ExitCode {
    for (variable, value) in [(CANDLE_THREADS, "1"), (BACKTRACES_OF_ERRORS, "0")] {
        if std::env::var_os(variable).is_none() {
            // SAFETY: no other thread exists yet.
            unsafe { std::env::set_var(variable, value) };
        }
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
            // If nobody reads standard error, nothing is left to say.
            let _ = writeln!(std::io::stderr(), "elbo: {text}");
            ExitCode::FAILURE
        }
    }
}
