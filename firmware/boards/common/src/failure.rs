//! On a failure, prints a message and ends the emulator with an error status, so that a test fails too. The message
//! goes to the emulator's standard error, because standard output is the serial port.

use core::panic::PanicInfo;

use cortex_m_rt::{ExceptionFrame, exception};
use cortex_m_semihosting::debug;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    #[cfg(feature = "defmt")]
    defmt::error!("{}", defmt::Display2Format(info));
    #[cfg(not(feature = "defmt"))]
    cortex_m_semihosting::heprintln!("{}", info);
    end()
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    #[cfg(feature = "defmt")]
    defmt::error!("hard fault at {:#x}, called from {:#x}", frame.pc(), frame.lr());
    #[cfg(not(feature = "defmt"))]
    cortex_m_semihosting::heprintln!("hard fault at {:#x}, called from {:#x}", frame.pc(), frame.lr());
    end()
}

fn end() -> ! {
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
