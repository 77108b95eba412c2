//! The programs of a WGAN: sample and decode by the generator, score by the critic.

use candle_core::Result;
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::FloatModel;
use elbo_compiler::graph::{Builder, FloatProgram, NodeId};

use super::{FoldedLayer, Wgan};
use crate::lower::{Affine, activate};
use crate::nn::Activation;

/// The critic's value is computed at this many times its size, a power of two, and read back at its own: clipped weights
/// make it small, and a device's activations have 15 fractional bits at most.
const VALUE_LOG2: i8 = 8;

/// Layers after each other with what follows each.
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

/// The negative of the critic's value, higher for what looks less real; its scale is arbitrary.
fn score(input: usize, critic: &Layers) -> FloatProgram {
    let mut b = Builder::default();
    let x = b.input(input);
    let value = apply(&mut b, critic, x);
    let value = b.scalar(Opcode::Sum, VALUE_LOG2, &[value]);
    let out = b.scalar(Opcode::Neg, 0, &[value]);
    b.finish(ProgramKind::Score, &[out])
}
