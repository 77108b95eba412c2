//! The variables of a model, which have names, and the dense layers that use them.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use elbo_compiler::DenseLayer;

use crate::nn::{self, Activation, Rng};

/// Every variable of a model with its name, in the order of creation.
///
/// The model uses each variable multiplied by its scale. The scale is 1 unless [`Params::set_scale`] has changed it. An
/// optimiser that normalises gradients, like Adam, changes the effective value of a variable faster if its scale is
/// larger (the equalised learning rate of arXiv 1710.10196, section 4.1). A smaller scale is useful if the gradients
/// are mostly noise.
pub struct Params {
    vars: Vec<(String, Var)>,
    /// The scale of each variable.
    scales: Vec<f64>,
    rng: Rng,
    device: Device,
    dtype: DType,
}

impl Params {
    /// No variables. The initial values of new variables are drawn with `seed`.
    ///
    /// # Errors
    /// A `dtype` that is not a float type.
    pub fn new(seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        if !dtype.is_float() {
            bail!("a model needs a float type, found {dtype:?}");
        }
        Ok(Self { vars: Vec::new(), scales: Vec::new(), rng: Rng::new(seed), device: device.clone(), dtype })
    }

    /// Creates a dense layer with the variables `NAME.weight` `[out, inp]` and `NAME.bias` `[out]`, both uniform in
    /// `+-1/sqrt(inp)`.
    ///
    /// # Errors
    /// A width of zero.
    pub fn dense(&mut self, name: &str, inp: usize, out: usize) -> Result<Dense> {
        if inp == 0 || out == 0 {
            bail!("every layer needs widths of at least 1, found {inp} to {out} for {name}");
        }
        let (w, b) = self.rng.dense(inp, out, self.dtype, &self.device)?;
        let weight = self.push(format!("{name}.weight"), w);
        self.push(format!("{name}.bias"), b);
        Ok(Dense { at: weight.0, inp, out })
    }

    /// Creates a dense layer, named like that of [`Params::dense`], whose output is initially the constant that
    /// `values` draws. Its variables have the scale `scale`.
    ///
    /// # Errors
    /// As [`Params::dense`].
    pub fn constant(
        &mut self,
        name: &str,
        inp: usize,
        scale: f64,
        values: impl FnOnce(&mut Rng) -> Vec<f32>,
    ) -> Result<Dense> {
        let bias: Vec<f32> = values(&mut self.rng).into_iter().map(|v| v / scale as f32).collect();
        let layer = self.dense(name, inp, bias.len())?;
        layer.slots().into_iter().for_each(|slot| self.set_scale(slot, scale));
        let set = |slot: Slot, values: &Tensor| self.set(slot, &values.to_dtype(self.dtype)?.to_device(&self.device)?);
        set(layer.weight(), &Tensor::zeros((layer.out, inp), DType::F32, &Device::Cpu)?)?;
        set(layer.bias(), &Tensor::from_vec(bias, layer.out, &Device::Cpu)?)?;
        Ok(layer)
    }

    /// Creates dense layers `NAME.0`, `NAME.1` and so on with these widths. Each is followed by `activation`.
    ///
    /// # Errors
    /// A width of zero.
    pub fn mlp(&mut self, name: &str, inp: usize, widths: &[usize], activation: Activation) -> Result<Mlp> {
        let (mut layers, mut out) = (Vec::new(), inp);
        for (i, &width) in widths.iter().enumerate() {
            layers.push(self.dense(&format!("{name}.{i}"), out, width)?);
            out = width;
        }
        Ok(Mlp { layers, activation, out })
    }

    /// Creates a variable of any shape, uniform in `+-bound`.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn uniform(&mut self, name: &str, shape: &[usize], bound: f64) -> Result<Slot> {
        let values = self.rng.uniform(-bound, bound, shape, self.dtype, &self.device)?;
        self.variable(name, &values)
    }

    /// Creates a variable with the given values.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn variable(&mut self, name: &str, values: &Tensor) -> Result<Slot> {
        let var = Var::from_tensor(&values.to_dtype(self.dtype)?.to_device(&self.device)?)?;
        Ok(self.push(name.to_owned(), var))
    }

    fn push(&mut self, name: String, var: Var) -> Slot {
        self.vars.push((name, var));
        self.scales.push(1.0);
        Slot(self.vars.len() - 1)
    }

    /// Sets the scale of a variable.
    pub fn set_scale(&mut self, slot: Slot, scale: f64) {
        self.scales[slot.0] = scale;
    }

    /// Multiplies the values of a variable.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn scale_values(&self, slot: Slot, by: f64) -> Result<()> {
        self.set(slot, &(self.get(slot) * by)?)
    }

    /// All variables with their names.
    pub fn vars(&self) -> &[(String, Var)] {
        &self.vars
    }

    /// All variables, in the order of creation.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.vars.len()).map(Slot)
    }

    /// The effective value of a variable: the variable multiplied by its scale.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn effective(&self, slot: Slot) -> Result<Tensor> {
        match self.scales[slot.0] {
            1.0 => Ok(self.get(slot).clone()),
            scale => self.get(slot) * scale,
        }
    }

    /// A variable without its scale.
    pub fn get(&self, slot: Slot) -> &Tensor {
        self.vars[slot.0].1.as_tensor()
    }

    /// Sets a variable, without its scale.
    ///
    /// # Errors
    /// Values of another shape or type.
    pub fn set(&self, slot: Slot, values: &Tensor) -> Result<()> {
        self.vars[slot.0].1.set(values)
    }

    /// The effective values of a variable, row-major.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn values(&self, slot: Slot) -> Result<Vec<f32>> {
        self.effective(slot)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }

    /// Copies of all variables by name. They do not change when the training continues.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn save(&self) -> Result<HashMap<String, Tensor>> {
        self.vars.iter().map(|(name, var)| Ok((name.clone(), var.copy()?.detach()))).collect()
    }

    /// Sets all variables from tensors with the same names, converted to the type and device of the model. Tensors with
    /// other names are ignored. If it fails, nothing has changed.
    ///
    /// # Errors
    /// A tensor is missing, or has another shape than its variable.
    pub fn load(&self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let find = |(name, var): &(String, Var)| match tensors.get(name) {
            None => bail!("the checkpoint has no {name}"),
            Some(t) if t.shape() != var.shape() => {
                bail!("the checkpoint has {name} of shape {:?}, expected {:?}", t.dims(), var.dims())
            }
            Some(t) => t.to_device(var.device())?.to_dtype(var.dtype()),
        };
        let found = self.vars.iter().map(find).collect::<Result<Vec<_>>>()?;
        self.vars.iter().zip(&found).try_for_each(|((_, var), t)| var.set(t))
    }
}

/// The index of a variable of [`Params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

/// A dense layer with two variables of [`Params`].
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    at: usize,
    /// Number of inputs.
    pub inp: usize,
    /// Number of outputs.
    pub out: usize,
}

impl Dense {
    /// The variable of the weights, `[out, inp]`.
    pub fn weight(self) -> Slot {
        Slot(self.at)
    }

    /// The variable of the biases, `[out]`.
    pub fn bias(self) -> Slot {
        Slot(self.at + 1)
    }

    /// The variables of the weights and of the biases.
    pub fn slots(self) -> [Slot; 2] {
        [self.weight(), self.bias()]
    }

    /// `activation(x W^T + b)`: `x [b, inp]` to `[b, out]`.
    ///
    /// # Errors
    /// A batch of another width, type or device.
    pub fn apply(self, params: &Params, x: &Tensor, activation: Activation) -> Result<Tensor> {
        nn::linear(x, &params.effective(self.weight())?, &params.effective(self.bias())?, activation)
    }

    /// A copy of the effective weights and biases as numbers.
    ///
    /// # Errors
    /// Any error of candle.
    pub fn layer(self, params: &Params) -> Result<DenseLayer> {
        let (w, b) = (params.values(self.weight())?, params.values(self.bias())?);
        Ok(DenseLayer { w, b, out: self.out, inp: self.inp })
    }
}

/// A sequence of dense layers, each followed by the same activation function.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// The layers, starting at the input.
    pub layers: Vec<Dense>,
    /// The activation function after each layer.
    pub activation: Activation,
    /// Width of the last layer, or of the input if there is no layer.
    pub out: usize,
}

impl Mlp {
    /// `x [b, inp]` to `[b, out]`.
    ///
    /// # Errors
    /// A batch of another width, type or device.
    pub fn apply(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |h, layer| layer.apply(params, &h, self.activation))
    }
}
