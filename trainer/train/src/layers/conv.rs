//! Layers over flat rows, dense or convolutional, and the encoders and mirrored decoders that are stacked of them.
//!
//! An image in a row lies pixel by pixel, row-major, channels innermost (HWC).

use candle_core::{Result, Tensor, bail};
use elbo::kernel::ConvGeometry;
use elbo_compiler::DenseLayer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::params::{Dense, Params, Slot};
use crate::data::Kind;
use crate::nn::{self, Activation, Window};
use crate::settings::{DataShape, RecipeError};

/// Convolutions between an image and the dense layers, the table `[conv]` of a family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConvRecipe {
    /// Channels after each convolution of the encoder, from the image on; the decoder mirrors them.
    pub channels: Vec<usize>,
    /// Rows and columns of every kernel.
    pub kernel: usize,
    /// By how much every convolution shrinks the image, and the decoder's mirror of it enlarges it.
    pub stride: usize,
}

impl Default for ConvRecipe {
    fn default() -> Self {
        Self { channels: vec![16, 32], kernel: 4, stride: 2 }
    }
}

impl ConvRecipe {
    /// The first field that is out of its range: its name, what is expected, what was found.
    #[must_use]
    pub fn mistake(&self) -> Option<(&'static str, &'static str, String)> {
        if self.channels.is_empty() || self.channels.contains(&0) {
            return Some((
                "conv.channels",
                "at least one number of channels, each at least 1",
                format!("{:?}", self.channels),
            ));
        }
        if !(1..16).contains(&self.stride) {
            return Some(("conv.stride", "a whole number from 1 to 15", self.stride.to_string()));
        }
        // A narrower kernel would leave holes in what the decoder draws.
        if !(self.stride..16).contains(&self.kernel) {
            return Some(("conv.kernel", "a whole number from the stride to 15", self.kernel.to_string()));
        }
        None
    }

    /// Checks every range that does not depend on the data.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self) -> std::result::Result<(), RecipeError> {
        let refuse = |(field, expected, found)| Err(RecipeError::invalid(field, expected, found));
        self.mistake().map_or(Ok(()), refuse)
    }

    /// The convolutions of images of this shape, with the rows and columns of one.
    ///
    /// # Errors
    /// `Invalid` for a table.
    pub fn of_data(&self, data: &DataShape) -> std::result::Result<([usize; 2], Self), RecipeError> {
        if data.kind == Kind::Table {
            let expected = "no table [conv] for a table, whose rows are no images";
            return Err(RecipeError::invalid("conv", expected, format!("rows of {} features", data.dim())));
        }
        Ok((data.shape, self.clone()))
    }

    /// The encoder's window: padded so that an image shrinks by the stride alone.
    fn window(&self) -> Window {
        let pad = self.kernel.saturating_sub(self.stride).div_ceil(2);
        Window { kernel: self.kernel, stride: self.stride, pad, output_padding: 0 }
    }
}

/// A layer over two variables of [`Params`].
#[derive(Clone, Copy, Debug)]
pub enum Layer {
    /// Weights `[out, inp]`, bias `[out]`.
    Dense(Dense),
    /// Weights `[out_channels, kernel, kernel, in_channels]`, bias `[out_channels]`.
    Conv(Conv),
}

/// A convolution or a transposed convolution of an image.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    weight: Slot,
    bias: Slot,
    /// How its kernel moves.
    pub window: Window,
    /// Whether it is a transposed one.
    pub transposed: bool,
    /// Rows, columns and channels of the input.
    pub input: [usize; 3],
    /// Rows, columns and channels of the output.
    pub output: [usize; 3],
}

impl From<Dense> for Layer {
    fn from(dense: Dense) -> Self {
        Self::Dense(dense)
    }
}

impl Layer {
    /// Number of inputs.
    pub fn inp(self) -> usize {
        match self {
            Self::Dense(dense) => dense.inp,
            Self::Conv(conv) => conv.input.iter().product(),
        }
    }

    /// Number of outputs.
    pub fn out(self) -> usize {
        match self {
            Self::Dense(dense) => dense.out,
            Self::Conv(conv) => conv.output.iter().product(),
        }
    }

    /// The variable of the weights.
    pub fn weight(self) -> Slot {
        match self {
            Self::Dense(dense) => dense.weight(),
            Self::Conv(conv) => conv.weight,
        }
    }

    /// The variable of the biases.
    pub fn bias(self) -> Slot {
        match self {
            Self::Dense(dense) => dense.bias(),
            Self::Conv(conv) => conv.bias,
        }
    }

    /// The activation of its affine map: `x [b, inp]` to `[b, out]`.
    ///
    /// # Errors
    /// A batch of another width, type or device.
    pub fn apply(self, params: &Params, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.apply_with(x, params.get(self.weight()), params.get(self.bias()), activation)
    }

    /// As [`Self::apply`], with weights and bias in place of its own.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn apply_with(self, x: &Tensor, w: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
        match self {
            Self::Dense(_) => nn::linear(x, w, bias, activation),
            Self::Conv(conv) => conv.run(x, w, bias, activation, conv.transposed, conv.input),
        }
    }

    /// The adjoint of its linear part, `W^T g`: `g [b, out]` to `[b, inp]`, differentiable by `w` and `g`.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn adjoint(self, w: &Tensor, g: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(_) => g.matmul(w),
            Self::Conv(conv) => {
                let w = w.permute((3, 1, 2, 0))?.contiguous()?;
                let bias = Tensor::zeros(w.dim(0)?, w.dtype(), w.device())?;
                let conv =
                    if conv.transposed { conv } else { Conv { window: mirror(conv.window, conv.input)?, ..conv } };
                conv.run(g, &w, &bias, Activation::Identity, !conv.transposed, conv.output)
            }
        }
    }
}

impl Conv {
    fn run(
        self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        activation: Activation,
        transposed: bool,
        [height, width, channels]: [usize; 3],
    ) -> Result<Tensor> {
        let b = x.dim(0)?;
        let x = x.reshape((b, height, width, channels))?;
        let y = match transposed {
            false => nn::conv2d(&x, w, bias, self.window, activation)?,
            true => nn::conv_transpose2d(&x, w, bias, self.window, activation)?,
        };
        y.flatten_from(1)
    }

    /// Its geometry in the runtime's terms. The fields are cut to eight bits; [`ConvGeometry::is_valid`] tells whether they fit.
    pub fn geometry(self) -> ConvGeometry {
        let Window { kernel, stride, pad, output_padding } = self.window;
        let (up, stride) = if self.transposed { (stride, 1) } else { (1, stride) };
        let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let [height, width, _] = self.input;
        ConvGeometry {
            height: byte(height),
            width: byte(width),
            kernel: byte(kernel),
            stride: byte(stride),
            up: byte(up),
            pad: byte(pad),
            output_padding: byte(output_padding),
        }
    }

    /// The matrices of the runtime's convolution, one for each phase: `[out_channels, taps * in_channels]` from the
    /// weights `w [out_channels, kernel, kernel, in_channels]`, with the same biases.
    pub fn matrices(self, w: &[f32], bias: &[f32]) -> Vec<DenseLayer> {
        let Window { kernel, stride, pad, .. } = self.window;
        let (inp, out) = (self.input[2], self.output[2]);
        let up = if self.transposed { stride } else { 1 };
        let taps_of = |phase: usize| (0..kernel).filter(move |tap| (phase + pad) % up == tap % up);
        let matrix = |(py, px): (usize, usize)| {
            let mut rows = Vec::new();
            for (o, ky) in (0..out).flat_map(|o| taps_of(py).map(move |ky| (o, ky))) {
                for kx in taps_of(px) {
                    rows.extend_from_slice(&w[((o * kernel + ky) * kernel + kx) * inp..][..inp]);
                }
            }
            DenseLayer { inp: rows.len() / out.max(1), w: rows, b: bias.to_vec(), out }
        };
        (0..up).flat_map(|py| (0..up).map(move |px| (py, px))).map(matrix).collect()
    }
}

/// Layers after each other, each followed by the same activation.
#[derive(Clone, Debug)]
pub struct Stack {
    /// From the input on.
    pub layers: Vec<Layer>,
    /// After every layer.
    pub activation: Activation,
    /// Number of outputs.
    pub out: usize,
}

impl Stack {
    /// `x [b, inp]` to `[b, out]`.
    ///
    /// # Errors
    /// A batch of another width, type or device.
    pub fn apply(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |h, layer| layer.apply(params, &h, self.activation))
    }
}

/// The shape of an encoder, and of the decoder that mirrors it.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// Number of data dimensions.
    pub input: usize,
    /// Convolutions, with the rows and columns of the image that a row of data is.
    pub conv: Option<([usize; 2], ConvRecipe)>,
    /// Widths of the dense hidden layers, from the data on.
    pub hidden: Vec<usize>,
    /// After every hidden layer.
    pub activation: Activation,
}

impl Body {
    /// Hidden layers `NAME.0`, `NAME.1` and so on, from the data on: convolutions, then dense ones.
    ///
    /// # Errors
    /// A width of zero, or an image that is too small for its convolutions.
    pub fn encoder(&self, params: &mut Params, name: &str) -> Result<Stack> {
        let mut builder = Builder { params, name, layers: Vec::new(), out: self.input };
        for pair in self.images()?.windows(2) {
            builder.conv(pair[0], pair[1], self.window(pair[0], false)?, false)?;
        }
        self.hidden.iter().try_for_each(|&width| builder.dense(width))?;
        Ok(builder.stack(self.activation))
    }

    /// Hidden layers `NAME.0`, `NAME.1` and so on, from `latent` values on, the encoder's in reverse: dense ones, then
    /// transposed convolutions, all but the last, which is the [`Self::head`].
    ///
    /// # Errors
    /// As [`Self::encoder`].
    pub fn decoder(&self, params: &mut Params, name: &str, latent: usize) -> Result<Stack> {
        let images = self.images()?;
        let mut builder = Builder { params, name, layers: Vec::new(), out: latent };
        self.hidden.iter().rev().try_for_each(|&width| builder.dense(width))?;
        if let Some(smallest) = images.last() {
            builder.dense(smallest.iter().product())?;
        }
        for pair in images.get(1..).unwrap_or_default().windows(2).rev() {
            builder.conv(pair[1], pair[0], self.window(pair[0], true)?, true)?;
        }
        Ok(builder.stack(self.activation))
    }

    /// The layer `NAME` from the end of the decoder to the data.
    ///
    /// # Errors
    /// As [`Self::encoder`].
    pub fn head(&self, params: &mut Params, name: &str, decoder: &Stack) -> Result<Layer> {
        match self.images()?[..] {
            [image, first, ..] => conv(params, name, first, image, self.window(image, true)?, true),
            _ => Ok(params.dense(name, decoder.out, self.input)?.into()),
        }
    }

    /// Rows, columns and channels of the image and after each convolution; none without convolutions.
    fn images(&self) -> Result<Vec<[usize; 3]>> {
        let Some(([rows, cols], recipe)) = &self.conv else { return Ok(Vec::new()) };
        if rows * cols != self.input {
            bail!("convolutions of an image of {rows} by {cols}, but rows of {} values", self.input);
        }
        let mut images = vec![[*rows, *cols, 1]];
        for (i, &channels) in recipe.channels.iter().enumerate() {
            let [rows, cols, _] = images[i];
            let window = recipe.window();
            let next = [window.shrunk(rows), window.shrunk(cols), channels];
            if next.contains(&0) || rows < recipe.stride || cols < recipe.stride {
                bail!("conv.channels: an image of {rows} by {cols} is too small for convolution {}; name fewer", i + 1);
            }
            images.push(next);
        }
        Ok(images)
    }

    /// The window between `image` and what follows it; the transposed one gives back all of the image.
    fn window(&self, image: [usize; 3], transposed: bool) -> Result<Window> {
        let window = self.conv.as_ref().map(|(_, recipe)| recipe.window()).unwrap_or(Window {
            kernel: 1,
            stride: 1,
            pad: 0,
            output_padding: 0,
        });
        if transposed { mirror(window, image) } else { Ok(window) }
    }
}

/// The window of the transposed convolution that gives back all of `image` from what `window` makes of it.
fn mirror(window: Window, [rows, cols, _]: [usize; 3]) -> Result<Window> {
    let rest = |side: usize| (side + 2 * window.pad).saturating_sub(window.kernel) % window.stride;
    if rest(rows) != rest(cols) {
        bail!(
            "conv.stride: {} pixels a step divide an image of {rows} by {cols} unevenly; choose another stride",
            window.stride
        );
    }
    Ok(Window { output_padding: rest(rows), ..window })
}

struct Builder<'b> {
    params: &'b mut Params,
    name: &'b str,
    layers: Vec<Layer>,
    out: usize,
}

impl Builder<'_> {
    fn dense(&mut self, width: usize) -> Result<()> {
        let name = format!("{}.{}", self.name, self.layers.len());
        self.layers.push(self.params.dense(&name, self.out, width)?.into());
        self.out = width;
        Ok(())
    }

    fn conv(&mut self, input: [usize; 3], output: [usize; 3], window: Window, transposed: bool) -> Result<()> {
        let name = format!("{}.{}", self.name, self.layers.len());
        self.layers.push(conv(self.params, &name, input, output, window, transposed)?);
        self.out = output.iter().product();
        Ok(())
    }

    fn stack(self, activation: Activation) -> Stack {
        Stack { layers: self.layers, activation, out: self.out }
    }
}

/// Variables `NAME.weight`, `NAME.bias`, both uniform in `+-1/sqrt(fan_in)`, the fan-in being the number of inputs that
/// meet in an output.
fn conv(
    params: &mut Params,
    name: &str,
    input: [usize; 3],
    output: [usize; 3],
    window: Window,
    transposed: bool,
) -> Result<Layer> {
    let spread = if transposed { (window.stride * window.stride) as f64 } else { 1.0 };
    let bound = 1.0 / ((window.kernel * window.kernel * input[2]) as f64 / spread).sqrt();
    let weight =
        params.uniform(&format!("{name}.weight"), &[output[2], window.kernel, window.kernel, input[2]], bound)?;
    let bias = params.uniform(&format!("{name}.bias"), &[output[2]], bound)?;
    Ok(Layer::Conv(Conv { weight, bias, window, transposed, input, output }))
}

#[cfg(test)]
mod tests;
