//! Writes images and reasons to a terminal.

use core::fmt::Display;

use elbo::Model;
use embedded_io::{Write, WriteFmtError};
use heapless::String;

use crate::art::Canvas;

/// The widest row that is drawn, in characters.
const WIDEST: usize = 256;

/// How a model's images appear on a terminal.
pub struct Screen(Canvas);

impl Screen {
    /// The screen for a model. If its metadata cannot be decoded, images are shown as squares of values without a known
    /// unit.
    pub fn of(model: &Model<'_>) -> Self {
        Self(model.meta().map_or(Canvas { width: 8, probabilities: true }, |meta| Canvas::of(&meta)))
    }

    /// Writes an image, one line per row.
    pub fn draw<W: Write>(&self, serial: &mut W, image: &[i16]) -> Result<(), W::Error> {
        for row in 0..self.0.rows(image) {
            let mut line = String::<WIDEST>::new();
            // A row that is wider than the screen is cut.
            let _ = self.0.row(image, row, &mut line);
            serial.write_all(line.as_bytes())?;
            serial.write_all(b"\r\n")?;
        }
        Ok(())
    }
}

/// Writes why there is nothing to show.
pub fn explain<W: Write>(serial: &mut W, reason: impl Display) -> Result<(), W::Error> {
    match serial.write_fmt(format_args!("{reason}\r\n")) {
        Err(WriteFmtError::Other(error)) => Err(error),
        _ => serial.flush(),
    }
}
