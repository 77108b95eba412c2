//! Layers over flat rows, dense or convolutional, and encoders and decoders that consist of them.
//!
//! A row contains the pixels of an image in row-major order, with the channels innermost (HWC).

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
    /// Number of channels after each convolution of the encoder, starting at the image. The decoder has the same
    /// channels in reverse order.
    pub channels: Vec<usize>,
    /// Number of rows and columns of every kernel.
    pub kernel: usize,
    /// Factor by which every convolution of the encoder shrinks the image. The decoder enlarges it by the same factor.
    pub stride: usize,
}

impl Default for ConvRecipe {
    fn default() -> Self {
        Self { channels: vec![16, 32], kernel: 4, stride: 2 }
    }
}

impl ConvRecipe {
    /// The first field that is out of its range: its name, the expectation and the value.
    #[must_use]
    pub fn out_of_range(&self) -> Option<(&'static str, &'static str, String)> {
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
        // A kernel that is smaller than the stride would leave gaps in the output of the decoder.
        if !(self.stride..16).contains(&self.kernel) {
            return Some(("conv.kernel", "a whole number from the stride to 15", self.kernel.to_string()));
        }
        None
    }

    /// Checks the ranges that do not depend on the data.
    ///
    /// # Errors
    /// `Invalid`, which names the field.
    pub fn check(&self) -> std::result::Result<(), RecipeError> {
        let refuse = |(field, expected, found)| Err(RecipeError::invalid(field, expected, found));
        self.out_of_range().map_or(Ok(()), refuse)
    }

    /// The rows and columns of the images, and their convolutions.
    ///
    /// # Errors
    /// `Invalid` if the data are a table.
    pub fn of_data(&self, data: &DataShape) -> std::result::Result<([usize; 2], Self), RecipeError> {
        if data.kind == Kind::Table {
            let expected = "no table [conv] for tabular data, because convolutions need images";
            return Err(RecipeError::invalid("conv", expected, format!("rows of {} features", data.dim())));
        }
        Ok((data.shape, self.clone()))
    }

    /// The window of the encoder's convolutions. Its padding ensures that the stride alone determines how much an image
    /// shrinks.
    fn window(&self) -> Window {
        let pad = self.kernel.saturating_sub(self.stride).div_ceil(2);
        Window { kernel: self.kernel, stride: self.stride, pad, output_padding: 0 }
    }
}

/// A layer with two variables of [`Params`].
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
    /// The kernel, its stride and the padding.
    pub window: Window,
    /// Whether the convolution is transposed.
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

    /// Applies the layer and then the activation: `x [b, inp]` to `[b, out]`.
    ///
    /// # Errors
    /// A batch of another width, type or device.
    pub fn apply(self, params: &Params, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.apply_with(x, params.get(self.weight()), params.get(self.bias()), activation)
    }

    /// Like [`Self::apply`], but with the given weights and biases.
    ///
    /// # Errors
    /// Shapes, types or devices that do not match.
    pub fn apply_with(self, x: &Tensor, w: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
        match self {
            Self::Dense(_) => nn::linear(x, w, bias, activation),
            Self::Conv(conv) => conv.run(x, w, bias, activation, conv.transposed, conv.input),
        }
    }

    /// The adjoint of the linear part, `W^T g`: `g [b, out]` to `[b, inp]`. It is differentiable with respect to `w`
    /// and `g`.
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

    /// The geometry as the runtime represents it. The fields are truncated to eight bits; [`ConvGeometry::is_valid`]
    /// checks whether they fit.
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

    /// The matrices of the runtime's convolution, one for each phase, `[out_channels, taps * in_channels]`, from
    /// weights `w [out_channels, kernel, kernel, in_channels]`. All have the same biases.
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

/// A sequence of layers, each followed by the same activation function.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The layers, starting at the input.
    pub layers: Vec<Layer>,
    /// The activation function after each layer.
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

/// The shape of an encoder and of the decoder that mirrors it.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// Number of data dimensions.
    pub input: usize,
    /// Number of rows and columns of the image in a row of data, and the convolutions.
    pub conv: Option<([usize; 2], ConvRecipe)>,
    /// Widths of the dense hidden layers, starting at the data.
    pub hidden: Vec<usize>,
    /// The activation function after each hidden layer.
    pub activation: Activation,
}

impl Body {
    /// Creates the hidden layers of the encoder: first the convolutions, then the dense layers. They are called
    /// `NAME.0`, `NAME.1` and so on.
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

    /// Creates the hidden layers of the decoder from `latent` values on, called `NAME.0`, `NAME.1` and so on. These are
    /// the layers of the encoder in reverse order: first dense layers, then transposed convolutions. The last
    /// transposed convolution is the [`Self::head`].
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

    /// Creates the layer `NAME` from the last hidden layer of the decoder to the data.
    ///
    /// # Errors
    /// As [`Self::encoder`].
    pub fn head(&self, params: &mut Params, name: &str, decoder: &Stack) -> Result<Layer> {
        match self.images()?[..] {
            [image, first, ..] => conv(params, name, first, image, self.window(image, true)?, true),
            _ => Ok(params.dense(name, decoder.out, self.input)?.into()),
        }
    }

    /// Rows, columns and channels of the image and of the output of each convolution. Empty if there are no
    /// convolutions.
    fn images(&self) -> Result<Vec<[usize; 3]>> {
        let Some(([rows, cols], recipe)) = &self.conv else { return Ok(Vec::new()) };
        if rows * cols != self.input {
            bail!("convolutions: an image of {rows} by {cols} needs as many values in a row, found {}", self.input);
        }
        let mut images = vec![[*rows, *cols, 1]];
        for (i, &channels) in recipe.channels.iter().enumerate() {
            let [rows, cols, _] = images[i];
            let window = recipe.window();
            let next = [window.output_side(rows), window.output_side(cols), channels];
            if next.contains(&0) || rows < recipe.stride || cols < recipe.stride {
                bail!("conv.channels: an image of {rows} by {cols} is too small for convolution {}; name fewer", i + 1);
            }
            images.push(next);
        }
        Ok(images)
    }

    /// The window of the convolution from `image` to the next layer, or of the transposed convolution back.
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

/// The window of the transposed convolution that maps the output of `window` back to the size of `image`.
fn mirror(window: Window, [rows, cols, _]: [usize; 3]) -> Result<Window> {
    let rest = |side: usize| (side + 2 * window.pad).saturating_sub(window.kernel) % window.stride;
    if rest(rows) != rest(cols) {
        bail!(
            "conv.stride: a stride of {} does not divide an image of {rows} by {cols} evenly; choose another stride",
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

/// Creates the variables `NAME.weight` and `NAME.bias`. Both are uniform in `+-1/sqrt(fan_in)`, where `fan_in` is the
/// number of inputs that contribute to an output.
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
