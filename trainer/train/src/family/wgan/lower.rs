//! The programs of a WGAN: the generator samples and decodes, and the critic scores.

use candle_core::Result;
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::FloatModel;
use elbo_compiler::graph::{Builder, FloatProgram, NodeId};

use super::{FoldedLayer, Wgan};
use crate::lower::{Affine, activate};
use crate::nn::Activation;

/// Binary logarithm of a factor for the critic's value. The program computes the value multiplied by it, because
/// clipped weights make the value small and activations on a device have at most 15 fractional bits. The scale of the
/// output accounts for the factor.
const VALUE_LOG2: i8 = 8;

/// Layers, each followed by its activation function.
type Layers = Vec<(Affine, Activation)>;

pub(super) fn lower(wgan: &Wgan) -> Result<FloatModel> {
    let mut model = FloatModel::default();
    let mut add = |name: &str, layers: Vec<FoldedLayer>| -> Layers {
        let add = |(i, layer): (usize, FoldedLayer)| {
            let name = format!("{name}.{i}");
            (Affine::with_numbers(&mut model, &name, layer.layer, &layer.w, &layer.b), layer.activation)
        };
        layers.into_iter().enumerate().map(add).collect()
    };
    let generator = add("generator", wgan.generator_layers()?);
    let mut critic = wgan.critic_layers()?;
    if let Some(value) = critic.last_mut() {
        value.w.iter_mut().chain(&mut value.b).for_each(|v| *v *= f32::from(1i16 << VALUE_LOG2));
    }
    let critic = add("critic", critic);
    let spec = wgan.spec();
    let draw = |b: &mut Builder, z: NodeId| {
        let out = apply(b, &generator, z);
        if spec.unit { b.map(Opcode::Sigmoid, 0, &[out]) } else { out }
    };
    let mut b = Builder::default();
    let z = b.normal(spec.latent);
    let out = draw(&mut b, z);
    let sample = b.finish(ProgramKind::Sample, &[out]);
    let mut b = Builder::default();
    let z = b.input(spec.latent);
    let out = draw(&mut b, z);
    let decode = b.finish(ProgramKind::Decode, &[out]);
    model.programs = vec![sample, decode, score(spec.body.input, &critic)];
    Ok(model)
}

fn apply(b: &mut Builder, layers: &Layers, x: NodeId) -> NodeId {
    layers.iter().fold(x, |x, (layer, activation)| {
        let pre = layer.apply(b, x);
        activate(b, *activation, pre)
    })
}

/// Minus the critic's value, which is higher for rows that look less real. Its scale is arbitrary.
fn score(input: usize, critic: &Layers) -> FloatProgram {
    let mut b = Builder::default();
    let x = b.input(input);
    let value = apply(&mut b, critic, x);
    let value = b.scalar(Opcode::Sum, VALUE_LOG2, &[value]);
    let out = b.scalar(Opcode::Neg, 0, &[value]);
    b.finish(ProgramKind::Score, &[out])
}
