//! The variables of a model by name, and the layers over them.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use crate::nn::{self, Activation, Rng};

/// A dense layer as plain numbers, for the compiler: `y = W x + b`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseLayer {
    /// Weights, row-major, `[out, inp]`.
    pub w: Vec<f32>,
    /// Bias, `[out]`.
    pub b: Vec<f32>,
    /// Number of outputs.
    pub out: usize,
    /// Number of inputs.
    pub inp: usize,
}

/// Every variable of a model, with its name, in the order in which they were made.
pub struct Params {
    vars: Vec<(String, Var)>,
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
        Ok(Self { vars: Vec::new(), rng: Rng::new(seed), device: device.clone(), dtype })
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
        self.vars.push((format!("{name}.weight"), w));
        self.vars.push((format!("{name}.bias"), b));
        Ok(Dense { at: self.vars.len() - 2, inp, out, scale: 1.0 })
    }

    /// A dense layer as [`Params::dense`] names it that starts as a constant, which `values` draws; `scale` as in
    /// [`Dense::scaled`].
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
        let layer = self.dense(name, inp, bias.len())?.scaled(scale);
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
        self.vars.push((name.to_owned(), Var::from_tensor(&values.to_dtype(self.dtype)?.to_device(&self.device)?)?));
        Ok(Slot(self.vars.len() - 1))
    }

    /// Every variable with its name.
    pub fn vars(&self) -> &[(String, Var)] {
        &self.vars
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

    /// A variable's values, row-major.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn values(&self, slot: Slot) -> Result<Vec<f32>> {
        self.get(slot).flatten_all()?.to_dtype(DType::F32)?.to_vec1()
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
    /// What weights and biases are multiplied by before they act.
    scale: f64,
}

impl Dense {
    /// The layer with weights and biases multiplied by `scale` before they act. An optimiser that normalises gradients, as
    /// Adam does, then moves what the layer gives `scale` times as fast (the equalised learning rate of arXiv 1710.10196,
    /// section 4.1): for outputs whose gradient is mostly noise.
    #[must_use]
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// The variable of the weights, `[out, inp]`.
    pub fn weight(self) -> Slot {
        Slot(self.at)
    }

    /// The variable of the biases, `[out]`.
    pub fn bias(self) -> Slot {
        Slot(self.at + 1)
    }

    /// `activation(x W^T + b)`: `x [b, inp]` to `[b, out]`.
    ///
    /// # Errors
    /// A batch of another width, type or device.
    pub fn apply(self, params: &Params, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let (w, b) = (params.get(self.weight()), params.get(self.bias()));
        if self.scale == 1.0 {
            return nn::linear(x, w, b, activation);
        }
        nn::linear(x, &(w * self.scale)?, &(b * self.scale)?, activation)
    }

    /// A copy as plain numbers.
    ///
    /// # Errors
    /// Whatever candle reports.
    pub fn layer(self, params: &Params) -> Result<DenseLayer> {
        let (mut w, mut b) = (params.values(self.weight())?, params.values(self.bias())?);
        w.iter_mut().chain(&mut b).for_each(|v| *v *= self.scale as f32);
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
