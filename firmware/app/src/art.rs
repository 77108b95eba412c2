//! Images as text.

use core::fmt::{self, Write};

use elbo::{Likelihood, Meta};

/// From empty to full.
const SHADES: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];

/// How a model's outputs are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Pixels per row.
    pub width: usize,
    /// Whether values are probabilities in Q15. Otherwise the smallest value of the image is drawn darkest.
    pub probabilities: bool,
}

impl Canvas {
    /// The canvas for a model, according to its metadata.
    #[must_use]
    pub fn of(meta: &Meta<'_>) -> Self {
        Self { width: usize::from(meta.shape[1]).max(1), probabilities: meta.likelihood == Likelihood::Bernoulli }
    }

    /// Writes one row of an image. A pixel takes two characters, because characters are tall.
    ///
    /// # Errors
    /// The errors of `out`.
    pub fn row(&self, image: &[i16], row: usize, out: &mut impl Write) -> fmt::Result {
        let (low, high) = if self.probabilities {
            (0, i32::from(i16::MAX))
        } else {
            let low = image.iter().copied().min().unwrap_or(0);
            (i32::from(low), i32::from(image.iter().copied().max().unwrap_or(0)))
        };
        let span = (high - low + 1).max(1);
        let start = row.saturating_mul(self.width);
        for &value in image.iter().skip(start).take(self.width) {
            let level = (i32::from(value) - low).clamp(0, span - 1) * SHADES.len() as i32 / span;
            let shade = SHADES.get(level as usize).copied().unwrap_or('@');
            out.write_char(shade)?;
            out.write_char(shade)?;
        }
        Ok(())
    }

    /// Number of rows of an image.
    #[must_use]
    pub fn rows(&self, image: &[i16]) -> usize {
        image.len().div_ceil(self.width.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(canvas: Canvas, image: &[i16]) -> String {
        let mut text = String::new();
        for row in 0..canvas.rows(image) {
            canvas.row(image, row, &mut text).unwrap();
            text.push('\n');
        }
        text
    }

    #[test]
    fn probabilities_use_the_whole_range() {
        let canvas = Canvas { width: 5, probabilities: true };
        let image = [0, 3276, 3277, 29491, 32767, 16384, -5, 0, 0, 0];
        assert_eq!(drawn(canvas, &image), "    ..%%@@\n++        \n");
    }

    #[test]
    fn other_images_are_stretched() {
        let canvas = Canvas { width: 3, probabilities: false };
        assert_eq!(drawn(canvas, &[-32768, 0, 32767]), "  ++@@\n");
        assert_eq!(drawn(canvas, &[7, 7, 7]), "      \n");
    }

    #[test]
    fn a_ragged_or_empty_image_is_drawn_as_far_as_it_goes() {
        let canvas = Canvas { width: 2, probabilities: true };
        assert_eq!(drawn(canvas, &[32767, 32767, 32767]), "@@@@\n@@\n");
        assert_eq!(drawn(canvas, &[]), "");
    }
}
