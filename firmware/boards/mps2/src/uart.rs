//! The CMSDK APB UART (Arm DDI 0479, section 4.3).

use core::convert::Infallible;
use core::marker::PhantomData;

use elbo_board::Register;
use embedded_io::{ErrorType, Read, ReadReady, Write};

use crate::layout::Layout;

const TRANSMIT_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;
const ENABLE_BOTH: u32 = 3;
const BAUD: u32 = 115_200;

/// UART 0 of a board.
#[derive(Debug)]
pub struct Uart<L> {
    data: Register,
    state: Register,
    layout: PhantomData<L>,
}

impl<L: Layout> Uart<L> {
    /// Starts the port.
    pub fn new() -> Self {
        // SAFETY: the offsets of the CMSDK APB UART that the layout places here.
        let [data, state, mut control, mut divider] =
            [0x00, 0x04, 0x08, 0x10].map(|offset| unsafe { Register::at(L::UART, offset) });
        divider.write(L::CLOCK / BAUD);
        control.write(ENABLE_BOTH);
        Self { data, state, layout: PhantomData }
    }
}

impl<L> ErrorType for Uart<L> {
    type Error = Infallible;
}

impl<L> Read for Uart<L> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(byte) = buffer.first_mut() else { return Ok(0) };
        while self.state.read() & RECEIVE_FULL == 0 {}
        *byte = self.data.read() as u8;
        Ok(1)
    }
}

impl<L> ReadReady for Uart<L> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.state.read() & RECEIVE_FULL != 0)
    }
}

impl<L> Write for Uart<L> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            while self.state.read() & TRANSMIT_FULL != 0 {}
            self.data.write(u32::from(*byte));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while self.state.read() & TRANSMIT_FULL != 0 {}
        Ok(())
    }
}
