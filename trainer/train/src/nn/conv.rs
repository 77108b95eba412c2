//! Convolutions and transposed convolutions as single operations. The patches of a few images at a time are gathered
//! into a matrix that fits the cache (im2col), and multiplied. For the adjoint the product is scattered back (col2im).
//! Each half of the batch has its own thread.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::Activation;
use super::dense::{both, values, with_values};
use super::gemm::product;
use super::math;

/// Largest number of elements of a matrix of patches, 256 KB.
const CHUNK: usize = 1 << 16;
/// A convolution with at least this many multiply-accumulates is shared by two threads.
const SPLIT_AT: usize = 1 << 18;

/// How a square kernel moves over an image. Both directions are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Distance of two positions, in pixels of the input of a convolution or of the output of a transposed convolution.
    pub stride: usize,
    /// Rows and columns of zeros around the input of a convolution, or that are removed around the output of a
    /// transposed convolution.
    pub pad: usize,
    /// Rows and columns that a transposed convolution adds below and to the right. It is below `stride`.
    pub output_padding: usize,
}

impl Window {
    /// The side of the output of a convolution, `(side + 2 pad - kernel) / stride + 1` rounded down. It is 0 if the
    /// kernel does not fit.
    #[must_use]
    pub fn output_side(&self, side: usize) -> usize {
        (side + 2 * self.pad).checked_sub(self.kernel).map_or(0, |rest| rest / self.stride.max(1) + 1)
    }

    /// The side of the output of a transposed convolution, `(side - 1) stride + kernel - 2 pad + output_padding`.
    #[must_use]
    pub fn transposed_output_side(&self, side: usize) -> usize {
        let whole = side.saturating_sub(1) * self.stride + self.kernel + self.output_padding;
        if side == 0 { 0 } else { whole.saturating_sub(2 * self.pad) }
    }

    /// The index of the input pixel for each element of the patches of an image, ordered by output pixel, `ky` and
    /// `kx`. `height * width` stands for a position outside the image. [`super::composed`] uses this as the definition.
    pub(super) fn taps(&self, [height, width]: [usize; 2], transposed: bool) -> Vec<u32> {
        let side = |n| if transposed { self.transposed_output_side(n) } else { self.output_side(n) };
        let input = |o: usize, k: usize, n: usize| {
            let at = if transposed {
                (o + self.pad).checked_sub(k).filter(|at| at % self.stride == 0).map(|at| at / self.stride)
            } else {
                (o * self.stride + k).checked_sub(self.pad)
            };
            at.filter(|at| *at < n)
        };
        let mut taps = Vec::new();
        for (oy, ox) in (0..side(height)).flat_map(|oy| (0..side(width)).map(move |ox| (oy, ox))) {
            for (ky, kx) in (0..self.kernel).flat_map(|ky| (0..self.kernel).map(move |kx| (ky, kx))) {
                let pixel = input(oy, ky, height).zip(input(ox, kx, width));
                taps.push(pixel.map_or(height * width, |(y, x)| y * width + x) as u32);
            }
        }
        taps
    }
}

/// The patches of an image `[height, width, channels]`, one for each of `rows` by `cols` positions of the window.
#[derive(Clone, Copy)]
struct Patches {
    window: Window,
    height: usize,
    width: usize,
    channels: usize,
    rows: usize,
    cols: usize,
}

impl Patches {
    fn count(&self) -> usize {
        self.rows * self.cols
    }

    fn len(&self) -> usize {
        self.window.kernel * self.window.kernel * self.channels
    }

    fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Calls `f` for each row of each patch, with its range in the matrix, the range of the part inside the image, and
    /// the position of this part in the image.
    #[inline(always)]
    fn for_each_patch_row(&self, mut f: impl FnMut(Range<usize>, Range<usize>, usize)) {
        let Window { kernel, stride, pad, .. } = self.window;
        let c = self.channels;
        let inside = |first: usize, n: usize| {
            let low = pad.saturating_sub(first).min(kernel);
            (low, (n + pad).saturating_sub(first).clamp(low, kernel))
        };
        let mut at = 0;
        for py in 0..self.rows {
            let rows = inside(py * stride, self.height);
            for px in 0..self.cols {
                let (low, high) = inside(px * stride, self.width);
                for ky in 0..kernel {
                    let all = at..at + kernel * c;
                    let part = if (rows.0..rows.1).contains(&ky) { at + low * c..at + high * c } else { at..at };
                    let start = match part.is_empty() {
                        true => 0,
                        false => ((py * stride + ky - pad) * self.width + px * stride + low - pad) * c,
                    };
                    f(all, part, start);
                    at += kernel * c;
                }
            }
        }
    }

    /// Gathers the patches of an image into a matrix `[count, len]`.
    fn read(&self, image: &[f32], matrix: &mut [f32]) {
        self.for_each_patch_row(|all, part, start| {
            matrix[all.start..part.start].fill(0.0);
            matrix[part.end..all.end].fill(0.0);
            let n = part.len();
            matrix[part].copy_from_slice(&image[start..start + n]);
        });
    }

    /// The adjoint of [`Self::read`]. It adds every patch to its position in the image.
    fn scatter(&self, matrix: &[f32], image: &mut [f32]) {
        self.for_each_patch_row(|_, part, start| {
            let n = part.len();
            image[start..start + n].iter_mut().zip(&matrix[part]).for_each(|(to, from)| *to += from);
        });
    }

    /// Ranges of images whose patches fill a matrix of [`CHUNK`] elements.
    fn chunks(&self, images: usize) -> impl Iterator<Item = Range<usize>> {
        let n = (CHUNK / (self.count() * self.len()).max(1)).max(1);
        (0..images).step_by(n).map(move |start| start..(start + n).min(images))
    }
}

/// The values of these images. `values` has `width` values for each image.
fn values_of_images(values: &[f32], width: usize, images: Range<usize>) -> &[f32] {
    &values[images.start * width..images.end * width]
}

fn values_of_images_mut(values: &mut [f32], width: usize, images: Range<usize>) -> &mut [f32] {
    &mut values[images.start * width..images.end * width]
}

/// Adds the bias of each channel to rows of pixels, and applies the activation.
fn finish(activation: Activation, y: &mut [f32], bias: &[f32], row: usize) {
    // This processes a whole row of pixels at a time, because there may be only one channel.
    let tiled: Vec<f32> = bias.iter().copied().cycle().take(row).collect();
    y.chunks_exact_mut(row.max(1)).for_each(|row| activation.add_bias(row, &tiled));
}

/// The sum of each channel over all pixels.
fn sum_of_channels(g: &[f32], channels: usize, row: usize) -> Vec<f32> {
    let (mut rows, mut sum) = (vec![0.0f32; row], vec![0.0f32; channels]);
    g.chunks_exact(row.max(1)).for_each(|g| math::add(&mut rows, g));
    rows.chunks_exact(channels.max(1)).for_each(|g| math::add(&mut sum, g));
    sum
}

/// A convolution of `[b, h, w, c]` to `[b, rows, cols, o]`, or a transposed convolution.
pub(super) struct Conv {
    pub window: Window,
    pub activation: Activation,
    pub transposed: bool,
}

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    images: usize,
    inp: usize,
    out: usize,
    /// Rows and columns of the output.
    shape: [usize; 2],
    /// The patches of the input, or of the output of a transposed convolution.
    patches: Patches,
}

impl Sizes {
    /// Number of values of an image in the input and in the output.
    fn widths(&self, transposed: bool) -> (usize, usize) {
        let positions = self.patches.count();
        match transposed {
            false => (self.patches.image(), positions * self.out),
            true => (positions * self.inp, self.patches.image()),
        }
    }

    fn macs(&self) -> usize {
        self.images * self.patches.count() * self.inp * self.out * self.patches.window.kernel.pow(2)
    }
}

impl Conv {
    fn sizes(&self, x: &[usize], w: &[usize], bias: &[usize]) -> Result<Sizes> {
        let Window { kernel, stride, output_padding, .. } = self.window;
        let (&[images, h, width, inp], &[out, ky, kx, wi], &[bo]) = (x, w, bias) else {
            bail!("convolution: expected x [b, h, w, c], w [o, k, k, c], bias [o], found {x:?}, {w:?}, {bias:?}");
        };
        if (ky, kx, wi, bo) != (kernel, kernel, inp, out) || stride == 0 || kernel == 0 {
            bail!("convolution: x {x:?}, w {w:?}, bias {bias:?} and {:?} do not match", self.window);
        }
        let side = |n| if self.transposed { self.window.transposed_output_side(n) } else { self.window.output_side(n) };
        let shape = [side(h), side(width)];
        if shape.contains(&0) || self.transposed && output_padding >= stride {
            bail!("convolution: {:?} does not fit into an image of {h} by {width}", self.window);
        }
        let (image, channels, positions) = match self.transposed {
            false => ([h, width], inp, shape),
            true => (shape, out, [h, width]),
        };
        let patches = Patches {
            window: self.window,
            height: image[0],
            width: image[1],
            channels,
            rows: positions[0],
            cols: positions[1],
        };
        Ok(Sizes { images, inp, out, shape, patches })
    }

    /// The weights as the matrix that multiplies patches: `[o, k k c]` for a convolution. For a transposed convolution,
    /// `[o, k, k, c]` becomes `[k k o, c]`.
    fn matrix(&self, s: Sizes, w: &[f32]) -> Vec<f32> {
        if !self.transposed {
            return w.to_vec();
        }
        let mut matrix = Vec::with_capacity(w.len());
        let taps = self.window.kernel.pow(2);
        for (tap, o) in (0..taps).flat_map(|tap| (0..s.out).map(move |o| (tap, o))) {
            matrix.extend_from_slice(&w[(o * taps + tap) * s.inp..][..s.inp]);
        }
        matrix
    }

    /// The inverse of [`Self::matrix`], applied to the sum of the gradients of the two halves.
    fn weights(&self, s: Sizes, mut matrix: Vec<f32>, other: &[f32]) -> Vec<f32> {
        math::add(&mut matrix, other);
        if !self.transposed {
            return matrix;
        }
        let mut w = Vec::with_capacity(matrix.len());
        let taps = self.window.kernel.pow(2);
        for (o, tap) in (0..s.out).flat_map(|o| (0..taps).map(move |tap| (o, tap))) {
            w.extend_from_slice(&matrix[(tap * s.out + o) * s.inp..][..s.inp]);
        }
        w
    }

    /// Computes the output of some images. `y` is zero before.
    fn forward(&self, s: Sizes, images: usize, x: &[f32], matrix: &[f32], bias: &[f32], y: &mut [f32]) {
        let p = s.patches;
        let (from, to) = s.widths(self.transposed);
        let mut buffer = Vec::new();
        for chunk in p.chunks(images) {
            let rows = chunk.len() * p.count();
            buffer.resize(rows * p.len(), 0.0);
            let (x, y) = (values_of_images(x, from, chunk.clone()), values_of_images_mut(y, to, chunk));
            if self.transposed {
                product((rows, p.len(), s.inp), (x, false), (matrix, true), &mut buffer, false);
                let parts = buffer.chunks_exact(p.count() * p.len());
                y.chunks_exact_mut(to).zip(parts).for_each(|(y, part)| p.scatter(part, y));
            } else {
                let parts = buffer.chunks_exact_mut(p.count() * p.len());
                x.chunks_exact(from).zip(parts).for_each(|(x, part)| p.read(x, part));
                product((rows, s.out, p.len()), (&buffer, false), (matrix, true), y, false);
            }
            finish(self.activation, y, bias, s.shape[1] * s.out);
        }
    }

    /// Computes the gradients of some images, and returns that of the bias. `dx` and `dw` are zero before, or empty if
    /// they are not needed.
    fn backward(
        &self,
        s: Sizes,
        images: usize,
        [x, matrix, y, gy]: [&[f32]; 4],
        dx: &mut [f32],
        dw: &mut [f32],
    ) -> Vec<f32> {
        let p = s.patches;
        let (from, to) = s.widths(self.transposed);
        let mut g = vec![0.0f32; images * to];
        self.activation.backward(y, gy, &mut g);
        let mut buffer = Vec::new();
        for chunk in p.chunks(images) {
            let rows = chunk.len() * p.count();
            let (x, g) = (values_of_images(x, from, chunk.clone()), values_of_images(&g, to, chunk.clone()));
            buffer.resize(rows * p.len(), 0.0);
            let gather = |image: &[f32], width: usize, buffer: &mut Vec<f32>| {
                let parts = buffer.chunks_exact_mut(p.count() * p.len());
                image.chunks_exact(width).zip(parts).for_each(|(image, part)| p.read(image, part));
            };
            if self.transposed {
                gather(g, to, &mut buffer);
                if !dw.is_empty() {
                    product((p.len(), s.inp, rows), (&buffer, true), (x, false), dw, true);
                }
                if !dx.is_empty() {
                    product(
                        (rows, s.inp, p.len()),
                        (&buffer, false),
                        (matrix, false),
                        values_of_images_mut(dx, from, chunk),
                        false,
                    );
                }
                continue;
            }
            if !dw.is_empty() {
                gather(x, from, &mut buffer);
                product((s.out, p.len(), rows), (g, true), (&buffer, false), dw, true);
            }
            if !dx.is_empty() {
                product((rows, p.len(), s.out), (g, false), (matrix, false), &mut buffer, false);
                let parts = buffer.chunks_exact(p.count() * p.len());
                values_of_images_mut(dx, from, chunk)
                    .chunks_exact_mut(from)
                    .zip(parts)
                    .for_each(|(dx, part)| p.scatter(part, dx));
            }
        }
        sum_of_channels(&g, s.out, s.shape[1] * s.out)
    }
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        "elbo-conv"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let s = self.sizes(lx.dims(), lw.dims(), lb.dims())?;
        let (x, bias) = (values(x, lx)?, values(bias, lb)?);
        let matrix = self.matrix(s, values(w, lw)?);
        let (from, to) = s.widths(self.transposed);
        let mut y = vec![0.0f32; s.images * to];
        let half = if s.macs() < SPLIT_AT { 0 } else { s.images / 2 };
        let ((x0, x1), (y0, y1)) = (x.split_at(half * from), y.split_at_mut(half * to));
        both(
            half > 0,
            || self.forward(s, half, x0, &matrix, bias, y0),
            || self.forward(s, s.images - half, x1, &matrix, bias, y1),
        );
        Ok((CpuStorage::F32(y), Shape::from((s.images, s.shape[0], s.shape[1], s.out))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        gy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let s = self.sizes(x.dims(), w.dims(), bias.dims())?;
        let (want_x, want_w, want_b) = (x.track_op(), w.track_op(), bias.track_op());
        let (from, to) = s.widths(self.transposed);
        let room = |wanted: bool, n: usize| vec![0.0f32; if wanted { n } else { 0 }];
        let (mut dx, mut dw0) = (room(want_x, x.elem_count()), room(want_w, w.elem_count()));
        let mut dw1 = dw0.clone();
        let (mut db0, mut db1) = (Vec::new(), Vec::new());
        with_values([x, w, y, gy], |[x, w, y, gy]| {
            let matrix = self.matrix(s, w);
            let half = if s.macs() < SPLIT_AT { 0 } else { s.images / 2 };
            let (x, y, gy) = (x.split_at(half * from), y.split_at(half * to), gy.split_at(half * to));
            let dx = dx.split_at_mut(if want_x { half * from } else { 0 });
            both(
                half > 0,
                || db0 = self.backward(s, half, [x.0, &matrix, y.0, gy.0], dx.0, &mut dw0),
                || db1 = self.backward(s, s.images - half, [x.1, &matrix, y.1, gy.1], dx.1, &mut dw1),
            );
            Ok(())
        })?;
        math::add(&mut db0, &db1);
        let device = x.device();
        Ok((
            want_x.then(|| Tensor::from_vec(dx, x.shape(), device)).transpose()?,
            want_w.then(|| Tensor::from_vec(self.weights(s, dw0, &dw1), w.shape(), device)).transpose()?,
            want_b.then(|| Tensor::from_vec(db0, bias.shape(), device)).transpose()?,
        ))
    }
}

#[cfg(test)]
mod tests;
