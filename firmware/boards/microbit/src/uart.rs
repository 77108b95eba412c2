//! The UART of the nRF51 (reference manual, chapter 29).

use core::convert::Infallible;

use elbo_board::Register;
use embedded_io::{ErrorType, Read, ReadReady, Write};

const BASE: usize = 0x4000_2000;
const ENABLED: u32 = 4;
const BAUD_115200: u32 = 0x01D7_E000;
const TX_PIN: u32 = 24;
const RX_PIN: u32 = 25;

/// The serial port that the board's USB interface passes on.
#[derive(Debug)]
pub struct Uart {
    received: Register,
    sent: Register,
    rx: Register,
    tx: Register,
}

impl Uart {
    /// Starts the port.
    pub fn new() -> Self {
        let register = |offset| {
            // SAFETY: the offsets of the nRF51's UART.
            unsafe { Register::at(BASE, offset) }
        };
        for (offset, value) in
            [(0x50C, TX_PIN), (0x514, RX_PIN), (0x524, BAUD_115200), (0x500, ENABLED), (0x008, 1), (0x000, 1)]
        {
            register(offset).write(value);
        }
        Self { received: register(0x108), sent: register(0x11C), rx: register(0x518), tx: register(0x51C) }
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(byte) = buffer.first_mut() else { return Ok(0) };
        while self.received.read() == 0 {}
        self.received.write(0);
        *byte = self.rx.read() as u8;
        Ok(1)
    }
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.received.read() != 0)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            self.sent.write(0);
            self.tx.write(u32::from(*byte));
            while self.sent.read() == 0 {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
