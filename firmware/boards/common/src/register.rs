//! Device registers.

/// One 32-bit device register.
#[derive(Debug)]
pub struct Register(*mut u32);

impl Register {
    /// The register at `base + offset`.
    ///
    /// # Safety
    /// The address is that of a 32-bit device register on this chip whose reads and writes do not affect memory.
    #[must_use]
    pub const unsafe fn at(base: usize, offset: usize) -> Self {
        Self((base + offset) as *mut u32)
    }

    /// Its value.
    #[must_use]
    pub fn read(&self) -> u32 {
        // SAFETY: `at` was promised a device register.
        unsafe { self.0.read_volatile() }
    }

    /// Sets it.
    pub fn write(&mut self, value: u32) {
        // SAFETY: `at` was promised a device register.
        unsafe { self.0.write_volatile(value) }
    }
}
