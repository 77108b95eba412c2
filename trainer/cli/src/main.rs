//! The command `elbo`.

use std::process::ExitCode;

/// Training frees and allocates large tensors at every step; the system's allocator would map and unmap each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// candle's own pool of threads spins between operations, on the core that the fused operations' other half needs.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

fn main() -> ExitCode {
    if std::env::var_os(CANDLE_THREADS).is_none() {
        // SAFETY: no other thread exists yet.
        unsafe { std::env::set_var(CANDLE_THREADS, "1") };
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
