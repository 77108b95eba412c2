//! Where the devices of each board are (Arm application notes AN386, AN500 and AN505).

/// One board of the family.
pub trait Layout {
    /// Its name in the host's registry.
    const NAME: &'static str;
    /// Base address of UART 0.
    const UART: usize;
    /// Base address of timer 0.
    const TIMER: usize;
    /// Frequency of the peripheral clock, in hertz.
    const CLOCK: u32;
}

/// Cortex-M4.
#[derive(Debug)]
pub struct An386;

/// Cortex-M7.
#[derive(Debug)]
pub struct An500;

/// Cortex-M33, running in the secure state.
#[derive(Debug)]
pub struct An505;

impl Layout for An386 {
    const NAME: &'static str = "mps2-an386";
    const UART: usize = 0x4000_4000;
    const TIMER: usize = 0x4000_0000;
    const CLOCK: u32 = 25_000_000;
}

impl Layout for An500 {
    const NAME: &'static str = "mps2-an500";
    const UART: usize = An386::UART;
    const TIMER: usize = An386::TIMER;
    const CLOCK: u32 = An386::CLOCK;
}

impl Layout for An505 {
    const NAME: &'static str = "mps2-an505";
    const UART: usize = 0x5020_0000;
    const TIMER: usize = 0x5000_0000;
    const CLOCK: u32 = 20_000_000;
}
