//! The interface between applications and boards.

use elbo_link::StackUse;
use embedded_hal::i2c::I2c;
use embedded_io::{Read, ReadReady, Write};

use crate::lis3dh::{Axes, Lis3dh};

/// A board: a serial port to the host, a counter, and measurements of its memory.
pub trait Board {
    /// Its name in the host's list of boards.
    const NAME: &'static str;
    /// The serial port to the host.
    type Serial: Read + ReadReady + Write;
    /// The bus of the accelerometer.
    type Bus: I2c;

    /// The serial port.
    fn serial(&mut self) -> &mut Self::Serial;

    /// A counter that increases and wraps. The host calibrates its speed.
    fn ticks(&mut self) -> u32;

    /// Runs a loop of two instructions `loops` times, so that the host can calibrate the counter.
    fn spin(&mut self, loops: u32);

    /// Waits for this time.
    fn delay_ms(&mut self, milliseconds: u32);

    /// The memory used since the reset.
    fn memory_use(&mut self) -> StackUse;

    /// The accelerometer, if the board has one.
    fn accelerometer(&mut self) -> Option<&mut Lis3dh<Self::Bus>>;

    /// Executes an undefined instruction. Only boards used for fuzzing implement this.
    fn undefined(&mut self) {}

    /// Sets the measurement of an emulated accelerometer. Returns false on a board with a real accelerometer.
    fn feed(&mut self, _axes: Axes) -> bool {
        false
    }
}

/// The static memory that an application uses.
#[derive(Debug)]
pub struct Memory<'m> {
    /// The arena of the session.
    pub arena: &'m mut [i16],
    /// The input of a program.
    pub input: &'m mut [i16],
    /// The outputs of a program.
    pub output: &'m mut [i16],
    /// Operands of benchmarks, or mutated blobs and the memory to run them; may be empty.
    pub scratch: &'m mut [u32],
}
