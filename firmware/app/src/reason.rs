//! The reason for a refusal, cut to the size of a frame.

use core::fmt::{self, Display, Write};

use elbo_link::CHUNK;
use heapless::String;

/// A text, cut at the end of the buffer.
#[derive(Clone, Debug, Default)]
pub struct Reason(String<CHUNK>);

impl Reason {
    /// The message of `error`.
    pub fn new(error: impl Display) -> Self {
        let mut reason = Self::default();
        let _ = write!(reason, "{error}");
        reason
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Write for Reason {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| self.0.push(letter).map_err(|_| fmt::Error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        assert_eq!(Reason::new("short").as_str(), "short");
        let long = "é".repeat(CHUNK);
        assert_eq!(Reason::new(&long).as_str(), "é".repeat(CHUNK / 2));
    }
}
