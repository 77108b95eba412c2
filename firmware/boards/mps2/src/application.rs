//! The applications with the memory that they run in.

use elbo::{Arena, Nats};
use elbo_app::Memory;
use elbo_app::monitor::{Devices, Machine, NoPin, NoWatchdog, WatchMemory};
use elbo_model::{ARENA, FEATURES, RING, VALUES, WINDOW, blob};
use static_cell::ConstStaticCell;

use crate::board::Mps2;
use crate::layout::Layout;

/// Words for the operands of a dense benchmark: 640 by 128, and 400 by 784 with weights of 8 bits. For fuzzing: a blob,
/// and as much memory as on the host.
const SCRATCH: usize = if cfg!(feature = "bench") {
    84_000
} else if cfg!(feature = "fuzz") {
    (1 << 10) + 1 + (1 << 13)
} else {
    0
};
const SEED: u64 = 1;

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
pub fn serve<L: Layout>() -> ! {
    let _ = elbo_app::serve(&mut Mps2::<L>::start(), blob(), memory());
    rest()
}

/// Draws samples as text.
pub fn generate<L: Layout>() -> ! {
    let _ = elbo_app::generate(&mut Mps2::<L>::start(), blob(), memory(), SEED, u32::MAX);
    rest()
}

/// Draws the decoded latent for the current tilt as text.
pub fn steer<L: Layout>() -> ! {
    let _ = elbo_app::steer(&mut Mps2::<L>::start(), blob(), memory());
    rest()
}

/// Judges the windows of a simulated machine, or of a recording that the host sends.
pub fn monitor<L: Layout>() -> ! {
    let mut devices = Devices { live: Machine::new(SEED as u32), alarm: NoPin, watchdog: NoWatchdog };
    let _ = elbo_app::monitor::monitor(&mut Mps2::<L>::start(), blob(), watch_memory(), &mut devices);
    rest()
}

fn rest() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
