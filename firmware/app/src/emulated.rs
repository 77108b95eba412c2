//! An I2C bus with a LIS3DH accelerometer for emulated boards. QEMU does not emulate the device, so it is simulated in
//! software below the driver. Its measurements arrive over the serial port.

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

use crate::lis3dh::{
    ADDRESS, AUTO_INCREMENT, Axes, CTRL_REG1, CTRL_REG4, HIGH_RESOLUTION, IDENTITY, OUT_X_L, RATE_100_HZ, WHO_AM_I,
};

/// The registers of the device and the reading that it will report.
#[derive(Clone, Debug)]
pub struct EmulatedLis3dh {
    registers: [u8; 0x40],
    pointer: u8,
    axes: Axes,
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
        Self { registers, pointer: 0, axes: Axes { x: 0, y: 0, z: 1000 } }
    }

    /// Sets the acceleration that the device measures.
    pub fn set_axes(&mut self, axes: Axes) {
        self.axes = axes;
    }

    /// Like the real device, it measures only after it has been started.
    fn convert(&mut self) {
        let register = |index: u8| self.registers[usize::from(index)];
        let running = register(CTRL_REG1) == RATE_100_HZ && register(CTRL_REG4) == HIGH_RESOLUTION;
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
        self.convert();
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
