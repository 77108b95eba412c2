//! A simulated board for tests.

use core::convert::Infallible;
use std::collections::VecDeque;

use elbo_link::StackUse;
use embedded_io::{ErrorType, Read, ReadReady, Write};

use crate::board::{Board, Memory};
use crate::emulated::EmulatedLis3dh;
use crate::lis3dh::{ADDRESS, Axes, Lis3dh};

/// A serial port that receives a script. After the script it is silent once, and then the port ends.
pub struct TestSerial {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    silent: bool,
    /// Whether the port stays open after the script.
    waiting: bool,
}

impl ErrorType for TestSerial {
    type Error = Infallible;
}

impl Read for TestSerial {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        match self.incoming.pop_front() {
            Some(byte) => {
                buffer[0] = byte;
                Ok(1)
            }
            None => Ok(0),
        }
    }
}

impl ReadReady for TestSerial {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        if self.waiting {
            return Ok(!self.incoming.is_empty());
        }
        let ready = !self.incoming.is_empty() || self.silent;
        self.silent = !ready;
        Ok(ready)
    }
}

impl Write for TestSerial {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.outgoing.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A board whose counter counts its own readings and spins.
pub struct TestBoard {
    serial: TestSerial,
    ticks: u32,
    accelerometer: Lis3dh<EmulatedLis3dh>,
    /// Whether the measured acceleration can be set.
    pub can_be_fed: bool,
}

impl TestBoard {
    /// A board that receives `script`.
    pub fn new(script: &[u8]) -> Self {
        Self {
            serial: TestSerial {
                incoming: script.iter().copied().collect(),
                outgoing: Vec::new(),
                silent: false,
                waiting: false,
            },
            ticks: 0,
            accelerometer: Lis3dh::new(EmulatedLis3dh::default(), ADDRESS).unwrap(),
            can_be_fed: true,
        }
    }

    /// A board that receives nothing, and whose port stays open until [`hang_up`](Self::hang_up).
    pub fn waiting() -> Self {
        let mut board = Self::new(&[]);
        board.serial.waiting = true;
        board
    }

    /// Ends the port.
    pub fn hang_up(&mut self) {
        self.serial.waiting = false;
    }

    /// The bytes that the board has sent.
    pub fn sent(&self) -> &[u8] {
        &self.serial.outgoing
    }
}

impl Board for TestBoard {
    const NAME: &'static str = "test";
    type Serial = TestSerial;
    type Bus = EmulatedLis3dh;

    fn serial(&mut self) -> &mut TestSerial {
        &mut self.serial
    }

    fn ticks(&mut self) -> u32 {
        self.ticks += 1;
        self.ticks
    }

    fn spin(&mut self, loops: u32) {
        self.ticks += 2 * loops;
    }

    fn delay_ms(&mut self, _: u32) {}

    fn memory_use(&mut self) -> StackUse {
        StackUse { static_bytes: 1, stack_bytes: 2, free_bytes: 3 }
    }

    fn accelerometer(&mut self) -> Option<&mut Lis3dh<EmulatedLis3dh>> {
        Some(&mut self.accelerometer)
    }

    fn feed(&mut self, axes: Axes) -> bool {
        if self.can_be_fed {
            self.accelerometer.bus_mut().set_axes(axes);
        }
        self.can_be_fed
    }
}

/// Memory that is large enough for every application with the default synthetic model.
pub struct Buffers {
    arena: elbo::Arena<1024>,
    /// An image with a mask.
    input: [i16; 128],
    output: [i16; 64],
    scratch: Vec<u32>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { arena: elbo::Arena::new(), input: [0; 128], output: [0; 64], scratch: vec![0; 2000] }
    }
}

impl Buffers {
    /// The memory, borrowed for an application.
    pub fn memory(&mut self) -> Memory<'_> {
        Memory {
            arena: self.arena.as_mut_slice(),
            input: &mut self.input,
            output: &mut self.output,
            scratch: &mut self.scratch,
        }
    }
}
