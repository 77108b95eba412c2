//! The application `monitor` with devices that only read and write memory.

use core::convert::Infallible;
use core::hint::black_box;
use core::ops::RangeInclusive;

use elbo::{Arena, Nats};
use elbo_app::Board;
use elbo_app::lis3dh::Lis3dh;
use elbo_app::monitor::{Adc, Converted, Devices, Next, NoPin, NoWatchdog, WatchMemory, monitor};
use elbo_link::StackUse;
use elbo_model::{ARENA, FEATURES, RING, WINDOW, blob};
use embedded_hal::i2c::{ErrorKind, I2c, Operation};
use embedded_io::{ErrorType, Read, ReadReady, Write};
use static_cell::ConstStaticCell;

/// All memory of the firmware.
struct Memory {
    arena: Arena<ARENA>,
    ring: [i16; RING],
    window: [i16; WINDOW],
    rows: [i16; 2 * FEATURES],
    nats: [Nats; FEATURES],
}

static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
    arena: Arena::new(),
    ring: [0; RING],
    window: [0; WINDOW],
    rows: [0; 2 * FEATURES],
    nats: [Nats::from_bits(0); FEATURES],
});

/// Runs the monitor on what lies in memory.
pub fn run() {
    let Some(memory) = MEMORY.try_take() else { return };
    let Memory { arena, ring, window, rows, nats } = memory;
    let memory = WatchMemory { arena: arena.as_mut_slice(), ring, window, rows, nats };
    let mut devices = Devices { live: Converted(Values), alarm: NoPin, watchdog: NoWatchdog };
    let _ = monitor(&mut Bare { port: Port }, blob(), memory, &mut devices);
}

struct Bare {
    port: Port,
}

struct Port;

impl ErrorType for Port {
    type Error = Infallible;
}

impl Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        buffer.fill(black_box(0));
        Ok(black_box(buffer.len()))
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(black_box(true))
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        black_box(bytes);
        // All of them: a writer that takes none ends in a panic of `write_all`.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A bus without devices.
struct NoBus;

impl embedded_hal::i2c::ErrorType for NoBus {
    type Error = ErrorKind;
}

impl I2c for NoBus {
    fn transaction(&mut self, _: u8, _: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        Err(ErrorKind::Other)
    }
}

impl Board for Bare {
    const NAME: &'static str = "minimal";
    type Serial = Port;
    type Bus = NoBus;

    fn serial(&mut self) -> &mut Port {
        &mut self.port
    }

    fn ticks(&mut self) -> u32 {
        black_box(0)
    }

    fn spin(&mut self, loops: u32) {
        black_box(loops);
    }

    fn delay_ms(&mut self, milliseconds: u32) {
        black_box(milliseconds);
    }

    fn memory_use(&mut self) -> StackUse {
        StackUse { static_bytes: black_box(0), stack_bytes: 0, free_bytes: 0 }
    }

    fn accelerometer(&mut self) -> Option<&mut Lis3dh<NoBus>> {
        None
    }
}

/// A converter that reads memory.
struct Values;

impl Adc for Values {
    fn read(&mut self, sample: &mut [i16]) -> Next {
        sample.fill(black_box(0));
        black_box(Next::Sample)
    }

    fn range(&self) -> RangeInclusive<i16> {
        0..=4095
    }
}
