//! Folding the layers of a VAE.

use candle_core::{DType, Device};
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::fold::fold;
use elbo_compiler::graph::{Node, NodeKind};
use elbo_compiler::stimulus::{fill_normal, generator};
use elbo_compiler::{FloatModel, Likelihood};

use super::run_graph;
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

/// Asserts that every program of both models gives the same outputs for the same rows and noise.
fn assert_same(before: &FloatModel, after: &FloatModel) {
    let kinds = |model: &FloatModel| model.programs.iter().map(|program| program.kind).collect::<Vec<_>>();
    assert_eq!(kinds(before), kinds(after));
    for program in &before.programs {
        for seed in 0..20 {
            let (mut x, mut noise) = (vec![0.0; 23], vec![0.0; 100]);
            if let Node { kind: NodeKind::Input, len, .. } = program.nodes[0] {
                x.resize(len, 0.0);
            }
            fill_normal(&mut generator(seed), &mut x);
            fill_normal(&mut generator(seed + 100), &mut noise);
            let [a, b] = [before, after].map(|model| run_graph(model, program.kind, &x, &noise).concat());
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{}: {a} {b}", program.kind.name());
            }
        }
    }
}

/// Number of weights of all layers.
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
        // The layer `mu` stays, because other programs give the decoder a latent that does not come from it.
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
