//! Networks with several inputs. Their first layer is a sum of affine maps with one weight matrix for each input.

use candle_core::{Result, Tensor, bail};

use crate::layers::{Dense, Mlp, Params, Slot};
use crate::nn::{self, Activation};

/// The continuous variables that a network can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The data.
    X,
    /// The auxiliary variable.
    A,
    /// The latent variable.
    Z,
}

impl Input {
    fn name(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::A => "a",
            Self::Z => "z",
        }
    }
}

/// How a network gets its class, which determines how many copies of each row it returns.
#[derive(Clone, Copy, Debug)]
pub enum Class<'t> {
    /// There is no class. The output has this many copies of each row, one after the other.
    Copies(usize),
    /// The class of each row, `u32 [b]`.
    Known(&'t Tensor),
    /// All classes. Copy `k` of a row has class `k`.
    Every,
}

/// A network of dense layers with several inputs (arXiv 1602.05473, section 2.2).
///
/// The weights `NAME.x.weight`, `NAME.a.weight` and `NAME.z.weight` are `[out, inp]`. `NAME.y.weight` is `[classes,
/// out]`, and a class adds its row. The other hidden layers are `NAME.1`, `NAME.2` and so on, and the heads are
/// `NAME.HEAD`.
pub struct Net {
    /// Weights of the continuous inputs.
    pub inputs: Vec<(Input, Slot)>,
    /// The rows of the classes, if the network reads the class.
    pub classes: Option<Slot>,
    /// Bias of the first layer, `[out]`.
    pub bias: Slot,
    /// Hidden layers after the first.
    pub rest: Mlp,
    /// The affine maps of the last hidden layer.
    pub heads: Vec<Dense>,
}

impl Net {
    /// A network with variables that are uniform in `+-1/sqrt(fan_in)`, where the class counts as one input. The
    /// weights of the hidden layers are multiplied by [`Activation::gain`].
    ///
    /// # Errors
    /// No hidden layer, a width of zero, or any error of candle.
    pub fn new(
        params: &mut Params,
        name: &str,
        inputs: &[(Input, usize)],
        classes: usize,
        hidden: (&[usize], Activation),
        heads: &[(&str, usize)],
    ) -> Result<Self> {
        let (&[first, ref rest @ ..], activation) = hidden else {
            bail!("{name} needs at least one hidden layer");
        };
        if first == 0 || inputs.iter().any(|(_, width)| *width == 0) {
            bail!("every layer needs widths of at least 1: {name} has the inputs {inputs:?} and {first} hidden units");
        }
        let fan_in = inputs.iter().map(|(_, width)| width).sum::<usize>() + usize::from(classes > 0);
        let bound = 1.0 / (fan_in as f64).sqrt();
        let mut weight = |input: &str, shape: &[usize]| params.uniform(&format!("{name}.{input}"), shape, bound);
        let mut slots = Vec::new();
        for (input, width) in inputs {
            slots.push((*input, weight(&format!("{}.weight", input.name()), &[first, *width])?));
        }
        let classes = (classes > 0).then(|| weight("y.weight", &[classes, first])).transpose()?;
        let bias = weight("bias", &[first])?;
        let (mut layers, mut out) = (Vec::new(), first);
        for (i, &width) in rest.iter().enumerate() {
            layers.push(params.dense(&format!("{name}.{}", i + 1), out, width)?);
            out = width;
        }
        let head = |(head, width): &(&str, usize)| params.dense(&format!("{name}.{head}"), out, *width);
        let heads = heads.iter().map(head).collect::<Result<_>>()?;
        let hidden = slots.iter().map(|(_, weight)| *weight).chain(layers.iter().map(|layer| layer.weight()));
        hidden.into_iter().try_for_each(|weight| params.scale_values(weight, activation.gain()))?;
        Ok(Self { inputs: slots, classes, bias, rest: Mlp { layers, activation, out }, heads })
    }

    /// The outputs of the heads, `[c b, out]` each, for `b` rows in `c` copies. An input with `b` rows is the same for
    /// every copy, and its affine map is computed only once. Other inputs have `c b` rows. Inputs that the network does
    /// not read are ignored.
    ///
    /// # Errors
    /// An input that is missing or has another width or number of rows.
    pub fn apply(
        &self,
        params: &Params,
        given: &[(Input, &Tensor)],
        class: Class<'_>,
        b: usize,
    ) -> Result<Vec<Tensor>> {
        let bias = params.get(self.bias);
        let (mut base, mut each): (Option<Tensor>, Option<Tensor>) = (None, None);
        let add = |sum: &mut Option<Tensor>, part: Tensor| -> Result<()> {
            *sum = Some(match sum.take() {
                Some(sum) => (sum + part)?,
                None => part,
            });
            Ok(())
        };
        let zero = bias.zeros_like()?.detach();
        for (input, slot) in &self.inputs {
            let Some((_, values)) = given.iter().find(|(name, _)| name == input) else {
                bail!("the network reads `{}`, which is missing", input.name());
            };
            let part = nn::linear(values, params.get(*slot), &zero, Activation::Identity)?;
            add(if values.dim(0)? == b { &mut base } else { &mut each }, part)?;
        }
        let shared = bias.unsqueeze(0)?;
        let rows = match (class, self.classes) {
            (Class::Every, Some(classes)) => params.effective(classes)?.broadcast_add(&shared)?,
            (Class::Known(y), Some(classes)) => {
                add(&mut base, params.effective(classes)?.index_select(y, 0)?)?;
                shared
            }
            (Class::Copies(n), None) => shared.broadcast_as((n, shared.dim(1)?))?,
            (Class::Every | Class::Known(_), None) => shared,
            (Class::Copies(_), Some(_)) => bail!("the network reads the class, which is missing"),
        };
        let first = nn::joint_sum(each.as_ref(), base.as_ref(), &rows, self.rest.activation)?;
        let hidden = self.rest.apply(params, &first)?;
        self.heads.iter().map(|head| head.apply(params, &hidden, Activation::Identity)).collect()
    }
}
