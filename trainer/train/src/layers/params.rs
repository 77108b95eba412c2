//! The variables of a model by name, and the layers over them.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use elbo_compiler::DenseLayer;

use crate::nn::{self, Activation, Rng};

/// Every variable of a model, with its name, in the order in which they were made.
///
/// A variable acts times its scale, 1 unless [`Params::scaled`] says otherwise. An optimiser that normalises gradients, as Adam
/// does, moves what a scaled variable gives that much faster or slower (the equalised learning rate of arXiv 1710.10196,
/// section 4.1): slower where gradients are mostly noise.
pub struct Params {
    vars: Vec<(String, Var)>,
    /// Of every variable.
    scales: Vec<f64>,
    rng: Rng,
    device: Device,
    dtype: DType,
}

impl Params {
    /// None yet; what is made is drawn from `seed`.
    ///
    /// # Errors
    /// A `dtype` that is not a float type.
    pub fn new(seed: u64, device: &Device, dtype: DType) -> Result<Self> {
        if !dtype.is_float() {
            bail!("a model in {dtype:?}, which is not a float type");
        }
        Ok(Self { vars: Vec::new(), scales: Vec::new(), rng: Rng::new(seed), device: device.clone(), dtype })
    }

    /// A dense layer `NAME.weight` `[out, inp]`, `NAME.bias` `[out]`, both uniform in `+-1/sqrt(inp)`.
    ///
    /// # Errors
    /// A width of zero.
    pub fn dense(&mut self, name: &str, inp: usize, out: usize) -> Result<Dense> {
        if inp == 0 || out == 0 {
            bail!("every width of a model is at least 1: {name} is {inp} to {out}");
        }
        let (w, b) = self.rng.dense(inp, out, self.dtype, &self.device)?;
        let weight = self.push(format!("{name}.weight"), w);
        self.push(format!("{name}.bias"), b);
        Ok(Dense { at: weight.0, inp, out })
    }

    /// A dense layer as [`Params::dense`] names it that starts as a constant, which `values` draws; its variables act
    /// at `scale`.
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
        layer.slots().into_iter().for_each(|slot| self.scaled(slot, scale));
        let set = |slot: Slot, values: &Tensor| self.set(slot, &values.to_dtype(self.dtype)?.to_device(&self.device)?);
        set(layer.weight(), &Tensor::zeros((layer.out, inp), DType::F32, &Device::Cpu)?)?;
        set(layer.bias(), &Tensor::from_vec(bias, layer.out, &Device::Cpu)?)?;
        Ok(layer)
    }

    /// Dense layers `NAME.0`, `NAME.1` and so on of these widths, each followed by `activation`.
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

    /// A variable of any shape, uniform in `+-bound`.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn uniform(&mut self, name: &str, shape: &[usize], bound: f64) -> Result<Slot> {
        let values = self.rng.uniform(-bound, bound, shape, self.dtype, &self.device)?;
        self.set_up(name, &values)
    }

    /// A variable with given values.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn set_up(&mut self, name: &str, values: &Tensor) -> Result<Slot> {
        let var = Var::from_tensor(&values.to_dtype(self.dtype)?.to_device(&self.device)?)?;
        Ok(self.push(name.to_owned(), var))
    }

    fn push(&mut self, name: String, var: Var) -> Slot {
        self.vars.push((name, var));
        self.scales.push(1.0);
        Slot(self.vars.len() - 1)
    }

    /// Makes a variable act times `scale`.
    pub fn scaled(&mut self, slot: Slot, scale: f64) {
        self.scales[slot.0] = scale;
    }

    /// Multiplies a variable's values.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn stretch(&self, slot: Slot, by: f64) -> Result<()> {
        self.set(slot, &(self.get(slot) * by)?)
    }

    /// Every variable with its name.
    pub fn vars(&self) -> &[(String, Var)] {
        &self.vars
    }

    /// Every variable, in the order in which they were made.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.vars.len()).map(Slot)
    }

    /// A variable as it acts, times its scale.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn acting(&self, slot: Slot) -> Result<Tensor> {
        match self.scales[slot.0] {
            1.0 => Ok(self.get(slot).clone()),
            scale => self.get(slot) * scale,
        }
    }

    /// A variable.
    pub fn get(&self, slot: Slot) -> &Tensor {
        self.vars[slot.0].1.as_tensor()
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// Values of another shape or type.
    pub fn set(&self, slot: Slot, values: &Tensor) -> Result<()> {
        self.vars[slot.0].1.set(values)
    }

    /// A variable's values as it acts, row-major.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn values(&self, slot: Slot) -> Result<Vec<f32>> {
        self.acting(slot)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }

    /// Copies of every variable by name; training on does not change them.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn save(&self) -> Result<HashMap<String, Tensor>> {
        self.vars.iter().map(|(name, var)| Ok((name.clone(), var.copy()?.detach()))).collect()
    }

    /// Sets every variable from tensors of the same name, converted to the model's type and device; other names are
    /// ignored. On an error nothing has changed.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape than its variable.
    pub fn load(&self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let find = |(name, var): &(String, Var)| match tensors.get(name) {
            None => bail!("the checkpoint lacks {name}"),
            Some(t) if t.shape() != var.shape() => {
                bail!("the checkpoint has {name} of shape {:?}, not {:?}", t.dims(), var.dims())
            }
            Some(t) => t.to_device(var.device())?.to_dtype(var.dtype()),
        };
        let found = self.vars.iter().map(find).collect::<Result<Vec<_>>>()?;
        self.vars.iter().zip(&found).try_for_each(|((_, var), t)| var.set(t))
    }
}

/// One variable of [`Params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

/// A dense layer over two variables of [`Params`].
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

    /// Weights and biases.
    pub fn slots(self) -> [Slot; 2] {
        [self.weight(), self.bias()]
    }

    /// `activation(x W^T + b)`: `x [b, inp]` to `[b, out]`.
    ///
    /// # Errors
    /// A batch of another width, type or device.
    pub fn apply(self, params: &Params, x: &Tensor, activation: Activation) -> Result<Tensor> {
        nn::linear(x, &params.acting(self.weight())?, &params.acting(self.bias())?, activation)
    }

    /// A copy as plain numbers.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn layer(self, params: &Params) -> Result<DenseLayer> {
        let (w, b) = (params.values(self.weight())?, params.values(self.bias())?);
        Ok(DenseLayer { w, b, out: self.out, inp: self.inp })
    }
}

/// A stack of dense layers, each followed by the same activation.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// From the input on.
    pub layers: Vec<Dense>,
    /// After every layer.
    pub activation: Activation,
    /// Width of the last layer; of the input where there is none.
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
