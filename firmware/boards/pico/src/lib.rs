//! The Raspberry Pi Pico. UART 0 on GPIO 0 (out) and 1 (in) at 115200 baud; a LIS3DH on I2C 0, GPIO 4 (data) and 5
//! (clock); logs through the debug probe.
#![no_std]

mod board;

use board::Pico;
use defmt_rtt as _;
use elbo::{Arena, Nats};
use elbo_app::Memory;
use elbo_app::monitor::{Accelerometer, Devices, NoPin, NoWatchdog, WatchMemory};
use elbo_model::{ARENA, FEATURES, RING, VALUES, WINDOW, blob};
use panic_probe as _;
use static_cell::ConstStaticCell;

/// The loader that the boot ROM runs: sets the flash chip up for execution in place.
#[unsafe(link_section = ".boot2")]
#[used]
static BOOT2: [u8; 256] = rp2040_boot2::BOOT_LOADER_GENERIC_03H;

/// Words for the operands of a dense bench.
const SCRATCH: usize = if cfg!(feature = "bench") { 32_000 } else { 0 };

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
    let ended = elbo_app::serve(&mut Pico::start(), blob(), memory());
    restart(ended.is_err())
}

/// Draws samples as text. They differ after every reset.
pub fn generate() -> ! {
    let mut board = Pico::start();
    let seed = board.random_seed();
    let ended = elbo_app::generate(&mut board, blob(), memory(), seed, u32::MAX);
    restart(ended.is_err())
}

/// Draws the decoded latent for the current tilt as text.
pub fn steer() -> ! {
    let ended = elbo_app::steer(&mut Pico::start(), blob(), memory());
    restart(ended.is_err())
}

/// Judges the windows of the accelerometer.
pub fn monitor() -> ! {
    let mut devices = Devices { live: Accelerometer::default(), alarm: NoPin, watchdog: NoWatchdog };
    let ended = elbo_app::monitor::monitor(&mut Pico::start(), blob(), watch_memory(), &mut devices);
    restart(ended.is_err())
}

/// Restarts if the serial line failed (noise, a break, an unplugged cable). Otherwise the application has ended.
fn restart(failed: bool) -> ! {
    if failed {
        defmt::warn!("the serial line failed; starting over");
        cortex_m::peripheral::SCB::sys_reset()
    }
    loop {
        cortex_m::asm::wfi();
    }
}
