//! What folding makes of the layers of a VAE.

use candle_core::{DType, Device};
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::fold::fold;
use elbo_compiler::graph::{Node, NodeKind};
use elbo_compiler::stimulus::{fill_normal, generator};
use elbo_compiler::{FloatModel, Likelihood};

use crate::family::vae::{Vae, VaeSpec};
use crate::model::Model;
use crate::nn::Activation;
use crate::settings::ExportRecipe;

fn lowered(activation: Activation, likelihood: Likelihood, hidden: &[usize]) -> FloatModel {
    let spec = VaeSpec { input: 23, hidden: hidden.to_vec(), latent: 4, activation, likelihood };
    let vae = Vae::new(spec, 5, &Device::Cpu, DType::F32).unwrap();
    let export = ExportRecipe { monte_carlo_samples: 3, importance_samples: 5, ..ExportRecipe::default() };
    vae.lower(&export).unwrap()
}

/// Runs every program of both models on the same inputs and noise.
fn assert_same(before: &FloatModel, after: &FloatModel) {
    for (program, folded) in before.programs.iter().zip(&after.programs) {
        assert_eq!(program.kind, folded.kind);
        for seed in 0..20 {
            let x = match program.nodes[0] {
                Node { kind: NodeKind::Input, len, .. } => {
                    let mut x = vec![0.0; len];
                    fill_normal(&mut generator(seed), &mut x);
                    x
                }
                _ => Vec::new(),
            };
            let run = |model: &FloatModel, program: &elbo_compiler::graph::FloatProgram| {
                let mut rng = generator(seed + 100);
                model.run(program, &[&x], &mut |out| fill_normal(&mut rng, out))
            };
            let (a, b) = (run(before, program), run(after, folded));
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{}: {a} {b}", program.kind.name());
            }
        }
    }
}

/// Weights of all layers.
fn weights(model: &FloatModel) -> usize {
    model.layers.iter().map(|layer| layer.w.len()).sum()
}

fn dense_nodes(model: &FloatModel, kind: ProgramKind) -> usize {
    let dense = |node: &&Node| node.opcode() == Some(Opcode::Dense);
    model.program(kind).unwrap().nodes.iter().filter(dense).count()
}

#[test]
fn a_linear_vae_becomes_one_layer_each_way() {
    for likelihood in [Likelihood::Bernoulli, Likelihood::Gaussian] {
        let before = lowered(Activation::Identity, likelihood, &[20, 17, 12]);
        let after = fold(before.clone());
        assert_same(&before, &after);
        let heads = 1 + usize::from(likelihood == Likelihood::Gaussian);
        assert_eq!(after.layers.len(), 2 + heads, "{:?}", after.layer_names);
        assert_eq!(after.layer_names[0], "encoder.0+encoder.1+encoder.2+mu");
        assert_eq!((dense_nodes(&before, ProgramKind::Encode), dense_nodes(&after, ProgramKind::Encode)), (5, 2));
        // mu is a latent that the decoder reads in other programs from elsewhere: it stays.
        assert_eq!(dense_nodes(&after, ProgramKind::Reconstruct), 2);
        assert!(weights(&after) < weights(&before) / 3);
    }
}

#[test]
fn a_bottleneck_is_kept() {
    let before = lowered(Activation::Identity, Likelihood::Bernoulli, &[2]);
    // 23 -> 2 -> 4: merged, the two heads of the encoder and the head of the decoder would be larger.
    assert_eq!(fold(before.clone()), before);
}

#[test]
fn layers_with_an_activation_between_them_are_kept() {
    for activation in [Activation::Relu, Activation::Tanh] {
        for likelihood in [Likelihood::Bernoulli, Likelihood::Gaussian] {
            let before = lowered(activation, likelihood, &[20, 12]);
            assert_eq!(fold(before.clone()), before);
        }
    }
}
