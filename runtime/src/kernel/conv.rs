//! Convolution and transposed convolution: gathers the patch of each output pixel and applies the [dense](super::dense)
//! layer to it. Every dense kernel therefore also serves convolutions, with the same bits.
//!
//! Images are stored pixel by pixel, row-major, with the channels innermost (HWC). The taps of a patch are in the order
//! `ky`, `kx`, channel. A tap outside the image is zero.

use super::dense::{DenseMatrix, dense};
use super::pack::LANES;

/// The geometry of a convolution (`up` is 1) or of a transposed convolution (`up` is above 1; then `stride` is 1).
///
/// Output pixel `o` of a convolution reads the input pixels `o * stride + ky - pad`, one for each tap `ky` in
/// `0..kernel`, and likewise across. Input pixel `i` of a transposed convolution contributes to the output pixels `i *
/// up + ky - pad`. This is a convolution of the input with `up - 1` zeros between neighbouring pixels. An output pixel
/// therefore needs only the taps with `ky = (o + pad) mod up`, and the zeros are never read. There are `up * up` phases
/// `(o_y mod up, o_x mod up)`, row-major. Each has a matrix `[out_channels, taps * in_channels]` of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Rows of the input.
    pub height: u8,
    /// Columns of the input.
    pub width: u8,
    /// Rows and columns of the kernel, at most 15.
    pub kernel: u8,
    /// Distance in input pixels between neighbouring output pixels, at most 15.
    pub stride: u8,
    /// Distance in output pixels between neighbouring input pixels, at most 15.
    pub up: u8,
    /// Padding, at most 15: zeros around the input of a convolution, or pixels cut off around the output of a
    /// transposed convolution.
    pub pad: u8,
    /// Rows below and columns at the right that a transposed convolution adds; less than `up`.
    pub output_padding: u8,
}

/// One axis of one phase: through tap `i`, output `j` of the phase reads the input pixel `first + j * out + i * tap`.
#[derive(Clone, Copy)]
struct Axis {
    taps: u32,
    first: i32,
    out: i32,
    tap: i32,
}

impl ConvGeometry {
    /// Decodes the geometry from an operation's two immediates. It is the inverse of [`pack`](Self::pack) and never
    /// fails.
    pub fn unpack(imm: u32, param: i8) -> Self {
        let nibble = |shift: u32| (imm >> shift & 15) as u8;
        let [height, width, ..] = imm.to_le_bytes();
        Self {
            height,
            width,
            kernel: nibble(16),
            stride: nibble(20),
            up: nibble(24),
            pad: nibble(28),
            output_padding: param as u8,
        }
    }

    /// The immediates of an operation, from the lowest bit on: height, width (8 bits each), kernel, stride, up, pad (4
    /// bits each). The second value is the output padding. Fields that do not fit are truncated;
    /// [`is_valid`](Self::is_valid) refuses them.
    pub fn pack(self) -> (u32, i8) {
        let field = |value: u8, shift: u32| (value as u32 & 15) << shift;
        let size = self.height as u32 | (self.width as u32) << 8;
        let rest = field(self.kernel, 16) | field(self.stride, 20) | field(self.up, 24) | field(self.pad, 28);
        (size | rest, self.output_padding as i8)
    }

    /// Whether every field is in range, every phase has a tap (`kernel >= up`), and the output has at least one pixel.
    pub fn is_valid(self) -> bool {
        let fields = [self.kernel, self.stride, self.up];
        let output = self.output();
        fields.iter().all(|field| (1..16).contains(field))
            && self.pad < 16
            && (self.stride == 1 || self.up == 1)
            && self.kernel >= self.up
            && self.output_padding < self.up
            && self.height > 0
            && self.width > 0
            && output.0 > 0
            && output.1 > 0
    }

    /// Rows and columns of the output, or 0 if the kernel does not fit.
    pub fn output(self) -> (u32, u32) {
        (self.side(self.height), self.side(self.width))
    }

    fn side(self, input: u8) -> u32 {
        let (kernel, pads) = (u32::from(self.kernel), 2 * u32::from(self.pad));
        let Some(steps) = u32::from(input).checked_sub(1) else { return 0 };
        if self.up == 1 {
            let rest = (u32::from(input) + pads).checked_sub(kernel);
            rest.and_then(|rest| rest.checked_div(u32::from(self.stride))).map_or(0, |steps| steps + 1)
        } else {
            let whole = steps * u32::from(self.up) + kernel + u32::from(self.output_padding);
            whole.saturating_sub(pads)
        }
    }

    /// Number of phases and therefore of matrices: `up * up`.
    pub fn phases(self) -> u32 {
        u32::from(self.up) * u32::from(self.up)
    }

    /// Number of taps of a phase, which is the number of columns of its matrix per input channel; 0 if there is no such
    /// phase.
    pub fn taps(self, phase: u32) -> u32 {
        let (y, x) = self.split(phase);
        self.axis(y).taps * self.axis(x).taps
    }

    /// Halfwords of an input image with `channels` channels, or `None` if the number is too large.
    pub fn input_len(self, channels: u32) -> Option<u32> {
        (u32::from(self.height) * u32::from(self.width)).checked_mul(channels)
    }

    /// Halfwords of an output image with `channels` channels, or `None` if the number is too large.
    pub fn output_len(self, channels: u32) -> Option<u32> {
        let (height, width) = self.output();
        height.checked_mul(width)?.checked_mul(channels)
    }

    /// Halfwords of scratch that [`conv`] needs: the longest patch and one output pixel, each rounded up to a multiple
    /// of 4. `None` if the number is too large.
    pub fn scratch_len(self, in_channels: u32, out_channels: u32) -> Option<u32> {
        let longest = u32::from(self.kernel).checked_next_multiple_of(u32::from(self.up))?;
        let taps = longest.checked_div(u32::from(self.up))?;
        let patch = (taps * taps).checked_mul(in_channels)?.checked_next_multiple_of(LANES as u32)?;
        patch.checked_add(out_channels.checked_next_multiple_of(LANES as u32)?)
    }

    /// Multiply-accumulates of one execution. Taps outside the image count, because they are multiplied too.
    pub fn macs(self, in_channels: u32, out_channels: u32) -> u64 {
        let (height, width) = self.output();
        let channels = u64::from(in_channels).saturating_mul(u64::from(out_channels));
        channels.saturating_mul(self.taps_along(height) * self.taps_along(width))
    }

    /// Number of taps along an axis, summed over its output pixels.
    fn taps_along(self, outputs: u32) -> u64 {
        let up = u32::from(self.up);
        let of_phase = |phase: u32| {
            let pixels = (outputs + up - 1 - phase).checked_div(up).unwrap_or(0);
            u64::from(pixels * self.axis(phase).taps)
        };
        (0..up).map(of_phase).sum()
    }

    /// The phase's row and column.
    fn split(self, phase: u32) -> (u32, u32) {
        let up = u32::from(self.up);
        (phase.checked_div(up).unwrap_or(0), phase.checked_rem(up).unwrap_or(0))
    }

    fn axis(self, phase: u32) -> Axis {
        let (kernel, pad, up) = (u32::from(self.kernel), u32::from(self.pad), u32::from(self.up));
        if up == 1 {
            let taps = if phase == 0 { kernel } else { 0 };
            return Axis { taps, first: -(pad as i32), out: i32::from(self.stride), tap: 1 };
        }
        let shifted = phase + pad;
        let first = shifted.checked_div(up).unwrap_or(0);
        let taps = if phase < up { (kernel + up - 1).saturating_sub(shifted - first * up) / up.max(1) } else { 0 };
        Axis { taps, first: first as i32, out: 1, tap: -1 }
    }

    /// Copies the patch that output `(j_y, j_x)` of a phase reads into `patch`, with zeros outside the image:
    /// `taps(phase) * channels` halfwords, or fewer if `patch` is shorter.
    pub fn gather<T: Copy + Default>(self, x: &[T], channels: usize, phase: u32, output: (u32, u32), patch: &mut [T]) {
        let (y, x_phase) = self.split(phase);
        self.copy(x, channels, (self.axis(y), self.axis(x_phase)), output, patch);
    }

    fn copy<T: Copy + Default>(
        self,
        x: &[T],
        channels: usize,
        axes: (Axis, Axis),
        output: (u32, u32),
        patch: &mut [T],
    ) {
        let (top, left) = (axes.0.at(output.0), axes.1.at(output.1));
        let mut pixels = patch.chunks_mut(channels.max(1));
        let mut row = top;
        for _ in 0..axes.0.taps {
            let mut col = left;
            for pixel in pixels.by_ref().take(axes.1.taps as usize) {
                match self.pixel(x, channels, row, col) {
                    Some(values) => pixel.iter_mut().zip(values).for_each(|(to, from)| *to = *from),
                    None => pixel.fill(T::default()),
                }
                col = col.wrapping_add(axes.1.tap);
            }
            row = row.wrapping_add(axes.0.tap);
        }
    }

    /// The channels of an input pixel, or `None` outside the image.
    fn pixel<T>(self, x: &[T], channels: usize, row: i32, col: i32) -> Option<&[T]> {
        // A negative number becomes larger than any side.
        let (row, col, width) = (row as u32, col as u32, u32::from(self.width));
        if row >= u32::from(self.height) || col >= width {
            return None;
        }
        let start = ((row * width + col) as usize).checked_mul(channels)?;
        x.get(start..start.checked_add(channels)?)
    }
}

impl Axis {
    /// The input pixel that output `j` of the phase reads through its first tap.
    fn at(self, j: u32) -> i32 {
        self.first.wrapping_add((j as i32).wrapping_mul(self.out))
    }
}

/// Convolves: reads [`input_len`](ConvGeometry::input_len) elements of `x` and writes
/// [`output_len`](ConvGeometry::output_len) elements of `out`.
///
/// Each output pixel is [`dense`] of `matrices(phase)` applied to the gathered patch. The rows of the matrix are the
/// output's channels, and its columns are the phase's taps times the input's channels. `scratch` must begin at a word
/// and have at least [`scratch_len`](ConvGeometry::scratch_len) halfwords. `x` and `out` need no alignment. Nothing
/// past their stated lengths is read or written. An output pixel is not written if its phase has no matrix, if the
/// matrix's columns are not a multiple of the phase's taps, or if a slice is too short. This never happens in a
/// verified program.
pub fn conv<'a>(
    x: &[i16],
    geometry: ConvGeometry,
    matrices: impl Fn(usize) -> Option<DenseMatrix<'a>>,
    scratch: &mut [i16],
    out: &mut [i16],
) {
    let (height, width) = geometry.output();
    let up = u32::from(geometry.up);
    for phase in 0..geometry.phases() {
        let Some(matrix) = matrices(phase as usize) else { continue };
        let (first_row, first_col) = geometry.split(phase);
        let axes = (geometry.axis(first_row), geometry.axis(first_col));
        let taps = (axes.0.taps * axes.1.taps) as usize;
        let Some(channels) = matrix.cols.checked_div(taps).filter(|channels| channels * taps == matrix.cols) else {
            continue;
        };
        let patch_len = matrix.cols.div_ceil(LANES).saturating_mul(LANES);
        let Some((patch, pixel)) = scratch.split_at_mut_checked(patch_len) else { continue };
        if pixel.len() / LANES < matrix.rows.div_ceil(LANES) {
            continue;
        }
        let (mut row, mut j) = (first_row, 0);
        while row < height {
            let (mut col, mut i) = (first_col, 0);
            while col < width {
                geometry.copy(x, channels, axes, (j, i), patch);
                dense(&matrix, patch, pixel);
                let start = (row.wrapping_mul(width).wrapping_add(col) as usize).wrapping_mul(matrix.rows);
                if let Some(to) = out.get_mut(start..start.wrapping_add(matrix.rows)) {
                    to.iter_mut().zip(&*pixel).for_each(|(to, from)| *to = *from);
                }
                (col, i) = (col + up, i + 1);
            }
            (row, j) = (row + up, j + 1);
        }
    }
}

#[cfg(test)]
mod tests;
