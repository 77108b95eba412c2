//! The monitor judges the windows of a sensor by a model with a front end, and sends what it finds to the host.
//!
//! Samples come from the board's sensor, or from the host, which replays a recording. Every complete window is scored, its
//! p-value goes to the detector, and the verdict is sent. In an alarm the features that contribute most are named. A
//! sensor that is stuck, saturated or silent is reported, and gives no verdict.

mod link;
mod machine;
mod ring;
mod sensor;
mod source;
#[cfg(test)]
mod tests;
mod watch;
mod worst;

pub use link::{AlarmPin, Devices, NoPin, NoWatchdog, Pin, Watchdog, monitor};
pub use machine::Machine;
pub use ring::Ring;
pub use sensor::examine;
pub use source::{Accelerometer, Adc, Converted, Next, Samples};
pub use watch::{CHANNELS, DEFAULT, Sizes, Watch, WatchMemory};
