//! The BBC micro:bit, as QEMU emulates it: a Cortex-M0 with 16 KB of RAM.
#![no_std]

mod board;
mod timer;
mod uart;

use board::Microbit;
use elbo::{Arena, Nats};
use elbo_app::Memory;
use elbo_app::monitor::{Devices, Machine, NoPin, NoWatchdog, WatchMemory};
use elbo_model::{ARENA, FEATURES, RING, VALUES, WINDOW, blob};
// The M0 has no atomic swap; a critical section replaces it.
use cortex_m as _;
use portable_atomic as _;
use static_cell::ConstStaticCell;

const SEED: u64 = 1;
/// Words for a blob to fuzz, and four kilobytes of memory to run it.
const SCRATCH: usize = if cfg!(feature = "fuzz") {
    (1 << 10) + 1 + (1 << 10)
} else if cfg!(feature = "bench") {
    1 << 10
} else {
    0
};

static ARENA_MEMORY: ConstStaticCell<Arena<ARENA>> = ConstStaticCell::new(Arena::new());
static INPUT: ConstStaticCell<[i16; VALUES]> = ConstStaticCell::new([0; VALUES]);
static OUTPUT: ConstStaticCell<[i16; VALUES]> = ConstStaticCell::new([0; VALUES]);
static SCRATCH_MEMORY: ConstStaticCell<[u32; SCRATCH]> = ConstStaticCell::new([0; SCRATCH]);

static ROWS: ConstStaticCell<[i16; 2 * FEATURES]> = ConstStaticCell::new([0; 2 * FEATURES]);
static NATS: ConstStaticCell<[Nats; FEATURES]> = ConstStaticCell::new([Nats::from_bits(0); FEATURES]);
static RING_MEMORY: ConstStaticCell<[i16; RING]> = ConstStaticCell::new([0; RING]);
static WINDOW_MEMORY: ConstStaticCell<[i16; WINDOW]> = ConstStaticCell::new([0; WINDOW]);

fn memory() -> Memory<'static> {
    Memory {
        arena: ARENA_MEMORY.take().as_mut_slice(),
        input: INPUT.take(),
        output: OUTPUT.take(),
        scratch: SCRATCH_MEMORY.take(),
    }
}

fn watch_memory() -> WatchMemory<'static> {
    WatchMemory {
        arena: ARENA_MEMORY.take().as_mut_slice(),
        ring: RING_MEMORY.take(),
        window: WINDOW_MEMORY.take(),
        rows: ROWS.take(),
        nats: NATS.take(),
    }
}

/// Answers the host's requests.
pub fn serve() -> ! {
    let _ = elbo_app::serve(&mut Microbit::start(), blob(), memory());
    rest()
}

/// Draws samples as text.
pub fn generate() -> ! {
    let _ = elbo_app::generate(&mut Microbit::start(), blob(), memory(), SEED, u32::MAX);
    rest()
}

/// Draws the decoded latent for the current tilt as text.
pub fn steer() -> ! {
    let _ = elbo_app::steer(&mut Microbit::start(), blob(), memory());
    rest()
}

/// Judges the windows of a simulated machine, or of a recording that the host sends.
pub fn monitor() -> ! {
    let mut devices = Devices { live: Machine::new(SEED as u32), alarm: NoPin, watchdog: NoWatchdog };
    let _ = elbo_app::monitor::monitor(&mut Microbit::start(), blob(), watch_memory(), &mut devices);
    rest()
}

fn rest() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
