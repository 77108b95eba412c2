//! What an application asks of a board.

use elbo_link::StackUse;
use embedded_hal::i2c::I2c;
use embedded_io::{Read, ReadReady, Write};

use crate::lis3dh::{Axes, Lis3dh};

/// A board: a serial port to the host, a counter, and what it knows about its memory.
pub trait Board {
    /// Its name in the host's registry.
    const NAME: &'static str;
    /// The serial port to the host.
    type Serial: Read + ReadReady + Write;
    /// The bus of the accelerometer.
    type Bus: I2c;

    /// The serial port.
    fn serial(&mut self) -> &mut Self::Serial;

    /// A counter that goes up and wraps; the host finds out how fast.
    fn ticks(&mut self) -> u32;

    /// Runs a loop of two instructions `loops` times, for the host to calibrate the counter by.
    fn spin(&mut self, loops: u32);

    /// Waits.
    fn delay_ms(&mut self, milliseconds: u32);

    /// How much memory has been used since the reset.
    fn memory_use(&mut self) -> StackUse;

    /// The accelerometer, on a board that has one.
    fn accelerometer(&mut self) -> Option<&mut Lis3dh<Self::Bus>>;

    /// Executes an undefined instruction, on a board that is there to be fuzzed.
    fn undefined(&mut self) {}

    /// Sets what an emulated accelerometer measures; false on a board whose accelerometer is real.
    fn feed(&mut self, _axes: Axes) -> bool {
        false
    }
}

/// The memory that an application runs in, all of it static.
#[derive(Debug)]
pub struct Memory<'m> {
    /// The session's arena.
    pub arena: &'m mut [i16],
    /// A program's input.
    pub input: &'m mut [i16],
    /// A program's outputs.
    pub output: &'m mut [i16],
    /// Operands of synthetic benches, or blobs to fuzz with and their memory; may be empty.
    pub scratch: &'m mut [u32],
}
