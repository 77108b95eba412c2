//! An I2C bus with a LIS3DH accelerometer for emulated boards. QEMU does not emulate the device, so it is simulated in
//! software below the driver. Its measurements arrive over the serial port.

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

use heapless::Deque;

use crate::lis3dh::{
    ADDRESS, AUTO_INCREMENT, Axes, CTRL_REG1, CTRL_REG4, CTRL_REG5, FIFO_CTRL_REG, FIFO_EMPTY, FIFO_ENABLE,
    FIFO_OVERRUN, FIFO_SRC_REG, FIFO_STREAM, HIGH_RESOLUTION, IDENTITY, OUT_X_L, RATE_100_HZ, RATE_200_HZ, WHO_AM_I,
};

/// Samples in the queue of the device.
const QUEUE: usize = 32;

/// The registers of the device and the reading that it will report.
#[derive(Clone, Debug)]
pub struct EmulatedLis3dh {
    registers: [u8; 0x40],
    pointer: u8,
    axes: Axes,
    queue: Deque<Axes, QUEUE>,
    overrun: bool,
}

impl Default for EmulatedLis3dh {
    fn default() -> Self {
        Self::with_identity(IDENTITY)
    }
}

impl EmulatedLis3dh {
    /// A device that answers `WHO_AM_I` with `identity`. It lies flat.
    #[must_use]
    pub fn with_identity(identity: u8) -> Self {
        let mut registers = [0; 0x40];
        registers[usize::from(WHO_AM_I)] = identity;
        let axes = Axes { x: 0, y: 0, z: 1000 };
        Self { registers, pointer: 0, axes, queue: Deque::new(), overrun: false }
    }

    /// Puts a measurement into the queue, as the device does at every sample. If it is full, the oldest is lost.
    pub fn measure(&mut self, axes: Axes) {
        if !self.has_queue() {
            return self.set_axes(axes);
        }
        if self.queue.is_full() {
            self.queue.pop_front();
            self.overrun = true;
        }
        let _ = self.queue.push_back(axes);
    }

    fn has_queue(&self) -> bool {
        let register = |index: u8| self.registers[usize::from(index)];
        register(CTRL_REG5) == FIFO_ENABLE && register(FIFO_CTRL_REG) == FIFO_STREAM
    }

    /// Prepares what a read of this register returns.
    fn fetch(&mut self, pointer: u8) {
        if !self.has_queue() {
            self.queue.clear();
            self.overrun = false;
            return;
        }
        match pointer & 0x3F {
            OUT_X_L => {
                if let Some(axes) = self.queue.pop_front() {
                    self.axes = axes;
                    self.overrun = false;
                }
            }
            FIFO_SRC_REG => {
                let overrun = if self.overrun { FIFO_OVERRUN } else { 0 };
                let empty = if self.queue.is_empty() { FIFO_EMPTY } else { 0 };
                self.registers[usize::from(FIFO_SRC_REG)] = overrun | empty | (self.queue.len() as u8).min(31);
            }
            _ => {}
        }
    }

    /// Sets the acceleration that the device measures.
    pub fn set_axes(&mut self, axes: Axes) {
        self.axes = axes;
    }

    /// Like the real device, it measures only after it has been started.
    fn convert(&mut self) {
        let register = |index: u8| self.registers[usize::from(index)];
        let running =
            [RATE_100_HZ, RATE_200_HZ].contains(&register(CTRL_REG1)) && register(CTRL_REG4) == HIGH_RESOLUTION;
        let axes = if running { self.axes } else { Axes::default() };
        let out = usize::from(OUT_X_L);
        for (axis, pair) in [axes.x, axes.y, axes.z].into_iter().zip(self.registers[out..out + 6].chunks_exact_mut(2)) {
            pair.copy_from_slice(&(axis.clamp(-2048, 2047) << 4).to_le_bytes());
        }
    }

    fn step(&mut self) -> usize {
        let index = usize::from(self.pointer & 0x3F);
        if self.pointer & AUTO_INCREMENT != 0 {
            self.pointer = AUTO_INCREMENT | (index as u8 + 1) & 0x3F;
        }
        index
    }
}

impl ErrorType for EmulatedLis3dh {
    type Error = ErrorKind;
}

impl I2c for EmulatedLis3dh {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        if address != ADDRESS {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) => {
                    let Some((&pointer, values)) = bytes.split_first() else { continue };
                    self.pointer = pointer;
                    for value in values {
                        let index = self.step();
                        self.registers[index] = *value;
                    }
                }
                Operation::Read(bytes) => {
                    self.fetch(self.pointer);
                    self.convert();
                    for byte in bytes.iter_mut() {
                        let index = self.step();
                        *byte = self.registers[index];
                    }
                }
            }
        }
        Ok(())
    }
}
