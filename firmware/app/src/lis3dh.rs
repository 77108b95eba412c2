//! Driver for STMicroelectronics' LIS3DH accelerometer and relatives with the same registers (LIS2DH12, the
//! accelerometer of the LSM303AGR), on any embedded-hal I2C bus.

use embedded_hal::i2c::I2c;

/// The address when the SA0 pin is high, as on most breakouts and inside the LSM303AGR.
pub const ADDRESS: u8 = 0x19;

pub(crate) const WHO_AM_I: u8 = 0x0F;
pub(crate) const IDENTITY: u8 = 0x33;
pub(crate) const CTRL_REG1: u8 = 0x20;
pub(crate) const CTRL_REG4: u8 = 0x23;
pub(crate) const CTRL_REG5: u8 = 0x24;
pub(crate) const FIFO_CTRL_REG: u8 = 0x2E;
pub(crate) const FIFO_SRC_REG: u8 = 0x2F;
pub(crate) const OUT_X_L: u8 = 0x28;
/// Set in a register's address to also read the following registers.
pub(crate) const AUTO_INCREMENT: u8 = 0x80;
/// 100 samples per second, all axes enabled.
pub(crate) const RATE_100_HZ: u8 = 0x57;
/// 200 samples per second, all axes enabled.
pub(crate) const RATE_200_HZ: u8 = 0x67;
/// In CTRL_REG5: the FIFO is used.
pub(crate) const FIFO_ENABLE: u8 = 0x40;
/// In FIFO_CTRL_REG: empty, and without use; a FIFO that overwrites its oldest sample.
pub(crate) const FIFO_BYPASS: u8 = 0x00;
pub(crate) const FIFO_STREAM: u8 = 0x80;
/// In FIFO_SRC_REG: a sample was overwritten; nothing is queued.
pub(crate) const FIFO_OVERRUN: u8 = 0x40;
pub(crate) const FIFO_EMPTY: u8 = 0x20;
/// The measurements that a queue can hold, in thousandths of g: 12 bits.
pub const FIFO_RANGE: core::ops::RangeInclusive<i16> = -2048..=2047;
/// Both bytes of an axis belong to the same sample; 12 bits; a range of ±2 g, so that a unit is a thousandth of g.
pub(crate) const HIGH_RESOLUTION: u8 = 0x88;

/// An acceleration in thousandths of g. A board that lies flat and does not move measures (0, 0, 1000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Axes {
    /// To the right.
    pub x: i16,
    /// Away from the user.
    pub y: i16,
    /// Up.
    pub z: i16,
}

/// Why the accelerometer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lis3dhError<E> {
    /// The bus failed.
    Bus(E),
    /// Another device answers at this address.
    Identity(u8),
}

/// What the queue of an accelerometer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// The oldest sample.
    Sample(Axes),
    /// No sample yet.
    Nothing,
    /// The queue was full, and samples were overwritten. The next call returns the oldest that is left.
    Overrun,
}

/// A configured accelerometer.
#[derive(Debug)]
pub struct Lis3dh<I> {
    bus: I,
    address: u8,
    /// Samples that are known to be queued.
    ready: u8,
}

impl<I: I2c> Lis3dh<I> {
    /// Checks the identity of the device and starts it.
    ///
    /// # Errors
    /// The bus fails, or another device answers.
    pub fn new(mut bus: I, address: u8) -> Result<Self, Lis3dhError<I::Error>> {
        let mut identity = [0];
        bus.write_read(address, &[WHO_AM_I], &mut identity).map_err(Lis3dhError::Bus)?;
        if identity != [IDENTITY] {
            return Err(Lis3dhError::Identity(identity[0]));
        }
        bus.write(address, &[CTRL_REG1, RATE_100_HZ]).map_err(Lis3dhError::Bus)?;
        bus.write(address, &[CTRL_REG4, HIGH_RESOLUTION]).map_err(Lis3dhError::Bus)?;
        Ok(Self { bus, address, ready: 0 })
    }

    /// The latest sample.
    ///
    /// # Errors
    /// The bus fails.
    pub fn axes(&mut self) -> Result<Axes, Lis3dhError<I::Error>> {
        let mut bytes = [0; 6];
        self.bus.write_read(self.address, &[OUT_X_L | AUTO_INCREMENT], &mut bytes).map_err(Lis3dhError::Bus)?;
        let [xl, xh, yl, yh, zl, zh] = bytes;
        // 12 bits, left-justified.
        let axis = |low, high| i16::from_le_bytes([low, high]) >> 4;
        Ok(Axes { x: axis(xl, xh), y: axis(yl, yh), z: axis(zl, zh) })
    }

    /// Starts the queue of 32 samples (the FIFO), which the device fills 200 times a second. Call [`queued`](Self::queued)
    /// instead of [`axes`](Self::axes) from then on.
    ///
    /// # Errors
    /// The bus fails.
    pub fn start_queue(&mut self) -> Result<(), Lis3dhError<I::Error>> {
        self.ready = 0;
        let settings = [
            (CTRL_REG1, RATE_200_HZ),
            (CTRL_REG5, FIFO_ENABLE),
            // Leaving the bypass empties the queue.
            (FIFO_CTRL_REG, FIFO_BYPASS),
            (FIFO_CTRL_REG, FIFO_STREAM),
        ];
        for (register, value) in settings {
            self.bus.write(self.address, &[register, value]).map_err(Lis3dhError::Bus)?;
        }
        Ok(())
    }

    /// The oldest sample of the queue. The number of samples is asked for only when those that are known have been read.
    ///
    /// # Errors
    /// The bus fails.
    pub fn queued(&mut self) -> Result<Queued, Lis3dhError<I::Error>> {
        if self.ready == 0 {
            let mut source = [0];
            self.bus.write_read(self.address, &[FIFO_SRC_REG], &mut source).map_err(Lis3dhError::Bus)?;
            let [source] = source;
            if source & FIFO_EMPTY != 0 {
                return Ok(Queued::Nothing);
            }
            // Five bits count up to 31; a full queue shows as an overrun.
            let overrun = source & FIFO_OVERRUN != 0;
            self.ready = if overrun { 32 } else { source & 0x1F };
            if overrun {
                return Ok(Queued::Overrun);
            }
        }
        if self.ready == 0 {
            return Ok(Queued::Nothing);
        }
        self.ready -= 1;
        self.axes().map(Queued::Sample)
    }

    /// The bus that the device is on.
    pub fn bus_mut(&mut self) -> &mut I {
        &mut self.bus
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulated::EmulatedLis3dh;

    #[test]
    fn reads_back_what_the_device_measures() {
        let mut device = Lis3dh::new(EmulatedLis3dh::default(), ADDRESS).unwrap();
        for axes in [Axes { x: 0, y: 0, z: 1000 }, Axes { x: -707, y: 12, z: 707 }, Axes { x: 2047, y: -2048, z: -1 }] {
            device.bus_mut().set_axes(axes);
            assert_eq!(device.axes(), Ok(axes));
        }
    }

    #[test]
    fn an_acceleration_beyond_the_range_saturates() {
        let mut device = Lis3dh::new(EmulatedLis3dh::default(), ADDRESS).unwrap();
        device.bus_mut().set_axes(Axes { x: i16::MAX, y: i16::MIN, z: 0 });
        assert_eq!(device.axes(), Ok(Axes { x: 2047, y: -2048, z: 0 }));
    }

    #[test]
    fn no_device_at_the_address_is_a_bus_error() {
        let error = Lis3dh::new(EmulatedLis3dh::default(), 0x18).unwrap_err();
        assert!(matches!(error, Lis3dhError::Bus(_)));
    }

    #[test]
    fn another_device_is_refused() {
        let error = Lis3dh::new(EmulatedLis3dh::with_identity(0x32), ADDRESS).unwrap_err();
        assert_eq!(error, Lis3dhError::Identity(0x32));
    }
}
