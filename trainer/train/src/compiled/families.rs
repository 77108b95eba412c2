//! Every family's programs: the float graph against the family's own definition in candle, the integer program against
//! the float graph.

use candle_core::{DType, Device, Tensor};
use elbo::kernel::Packing;
use elbo::program::{Opcode, ProgramKind};
use elbo_compiler::Likelihood;
use elbo_compiler::fidelity::{Labels, fidelity, paired};
use elbo_compiler::quantize::WeightBits;
use elbo_compiler::{CompileError, Compiled, HeldOut, ModelDescription, Options, compile};

use super::run_graph;
use crate::data::Kind;
use crate::family::dlgm::DlgmRecipe;
use crate::family::flow::posterior::PosteriorRecipe;
use crate::family::vae::{Parts, Vae, VaeSpec};
use crate::model::Model;
use crate::nn::{Activation, FlowStep, Rng};
use crate::recipe::Recipe;
use crate::settings::{DataShape, ModelRecipe};

const CPU: Device = Device::Cpu;

/// A model by its recipe, its weights as they are drawn, for data of this shape.
fn model(recipe: &str, shape: [usize; 2], kind: Kind, classes: usize) -> Box<dyn Model> {
    let data = if recipe.contains("energy") { "" } else { "[data]\nspec = 'digits'\n" };
    let recipe = format!("name = 'test'\n{recipe}\n{data}");
    Recipe::parse("test", &recipe).unwrap().model(&DataShape { shape, kind, classes }).unwrap()
}

fn rows(model: &dyn Model, n: usize) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(5);
    let rows = match model.likelihood() {
        Likelihood::Bernoulli => {
            let p = rng.uniform(0.0, 1.0, (n, model.input()), DType::F32, &CPU).unwrap();
            rng.bernoulli(&p).unwrap()
        }
        _ => rng.normal((n, model.input()), DType::F32, &CPU).unwrap(),
    };
    rows.clamp(-4.0, 4.0).unwrap().to_vec2().unwrap()
}

fn compiled(model: &dyn Model, rows: &[Vec<f32>]) -> Compiled {
    compiled_with(model, rows, WeightBits::Eight)
}

fn compiled_with(model: &dyn Model, rows: &[Vec<f32>], weight_bits: WeightBits) -> Compiled {
    try_compile(model, rows, weight_bits).unwrap()
}

fn try_compile(model: &dyn Model, rows: &[Vec<f32>], weight_bits: WeightBits) -> Result<Compiled, CompileError> {
    let mut export = Recipe::for_data("digits").export;
    (export.monte_carlo_samples, export.importance_samples) = (3, Some(5));
    let description = ModelDescription {
        family: "test".into(),
        likelihood: model.likelihood(),
        data: model.data_range(),
        latent: model.latent(),
        classes: model.classes(),
    };
    let options = Options {
        front: None,
        example: None,
        name: "test".into(),
        shape: [1, model.input() as u16],
        standardise: None,
        reading: Vec::new(),
        monte_carlo: 3,
        importance: 5,
        packing: Packing::Dsp4,
        weight_bits: Some(weight_bits),
        seed: 1,
    };
    compile(model.lower(&export).unwrap(), &description, rows, HeldOut::Rows(rows), &options)
}

/// All programs of the integer model against the float graph, within these many nats and steps of the output's scale.
#[track_caller]
fn follows(compiled: &Compiled, rows: &[Vec<f32>], nats: f64, steps: f64) {
    for program in &compiled.float.programs {
        let f = fidelity(compiled, program.kind, rows, Labels::default(), 9).unwrap();
        println!("{f}");
        if let Some(d) = f.nats {
            assert!(d.rms < nats + 0.01 * d.float.abs(), "{f}");
        }
        if let Some((d, lsb)) = f.elements {
            assert!(d.rms < steps * lsb, "{f}");
        }
    }
}

/// The float programs against candle: a bound that does not depend on noise, or is exact.
#[track_caller]
fn close(what: &str, found: f32, expected: f32) {
    assert!(
        (found - expected).abs() < 2e-4 * expected.abs().max(1.0),
        "{what}: {found} in the graph, {expected} in candle"
    );
}

#[test]
fn flows_of_rows() {
    for kind in ["realnvp", "nice", "planar", "radial"] {
        let recipe = format!("family = 'flow'\n[flow]\nhidden = [16]\nkind = '{kind}'\nsteps = 4\nscale_log2 = -2\n");
        let model = model(&recipe, [1, 5], Kind::Table, 0);
        let rows = rows(&*model, 40);
        let compiled = compiled(&*model, &rows);
        let x = Tensor::new(rows.clone(), &CPU).unwrap();
        let bounds = model.capabilities().bounds.unwrap();
        let exact = bounds.bound(&x, &mut Rng::new(0)).unwrap().to_vec1::<f32>().unwrap();
        for (x, exact) in rows.iter().zip(&exact) {
            close(kind, -run_graph(&compiled.float, ProgramKind::Score, x, &[])[0][0], *exact);
            // What a flow decodes, it inverts.
            let x_of = run_graph(&compiled.float, ProgramKind::Decode, x, &[]);
            let z = run_graph(&compiled.float, ProgramKind::Invert, &x_of[0], &[]);
            x.iter().zip(&z[0]).for_each(|(z, back)| close(kind, *back, *z));
        }
        follows(&compiled, &rows, 0.1, 40.0);
    }
}

/// A RealNVP whose parameters of these names have these values throughout, of five columns.
fn couplings(hidden: &str, values: &[(&str, f64)]) -> Box<dyn Model> {
    let recipe = format!("family = 'flow'\n[flow]\n{hidden}\nkind = 'realnvp'\nsteps = 3\nscale_log2 = -2\n");
    let model = model(&recipe, [1, 5], Kind::Table, 0);
    fill(&*model, values);
    model
}

fn fill(model: &dyn Model, values: &[(&str, f64)]) {
    let mut tensors = model.params().save().unwrap();
    for (name, value) in values {
        let filled = (tensors[*name].ones_like().unwrap() * *value).unwrap();
        tensors.insert((*name).into(), filled);
    }
    model.params().load(&tensors).unwrap();
}

/// Biases far larger than a layer's weights.
#[test]
fn couplings_with_far_shifts() {
    let far = [("coupling.0.shift.bias", 120.0), ("coupling.2.shift.bias", -120.0)];
    let model = couplings("hidden = [16]", &far);
    compiled(&*model, &rows(&*model, 40));
}

/// Every activation, no hidden layer and two, with shifts and without.
#[test]
fn couplings_with_weights_of_sixteen_bits_follow_closely() {
    let far = [("coupling.0.shift.bias", 5.0), ("coupling.1.shift.bias", -5.0)];
    for hidden in [
        "hidden = []",
        "hidden = [16]",
        "hidden = [13, 6]\nactivation = 'tanh'",
        "hidden = [3]\nactivation = 'identity'",
    ] {
        for values in [&[][..], &far] {
            let model = couplings(hidden, values);
            let rows = rows(&*model, 40);
            follows(&compiled_with(&*model, &rows, WeightBits::Sixteen), &rows, 0.002, 1.0);
        }
    }
}

/// The excess over a flow's limit may need a coarser scale than the row that the flow reads.
#[test]
fn a_flow_reads_rows_more_finely_than_their_excess() {
    let model = couplings("hidden = [16]", &[]);
    let far: Vec<Vec<f32>> = rows(&*model, 40).iter().map(|row| row.iter().map(|x| 3.0 * x).collect()).collect();
    let compiled = compiled_with(&*model, &far, WeightBits::Sixteen);
    let at = compiled.float.programs.iter().position(|program| program.kind == ProgramKind::Score).unwrap();
    let (nodes, fracs) = (&compiled.float.programs[at].nodes, &compiled.scales.nodes[at]);
    let of = |opcode: Opcode| nodes.iter().position(|node| node.opcode() == Some(opcode)).unwrap();
    let read = nodes[of(Opcode::Couplings)].inputs[0];
    assert!(fracs[read] > fracs[of(Opcode::SubVec)], "{fracs:?}");
}

#[test]
fn couplings_that_are_too_large_are_refused() {
    for (name, value) in [("coupling.1.log_scale.weight", 70.0), ("coupling.2.net.0.bias", -3000.0)] {
        let model = couplings("hidden = [16]", &[(name, value)]);
        is_too_large(&*model, name.rsplit_once('.').unwrap().0);
    }
}

#[test]
fn layers_that_are_too_large_are_refused() {
    let cases = [("head.weight", 1e9, "generator.1"), ("generator.0.bias", -1e30, "generator.0")];
    for (name, value, layer) in cases {
        let model = model("family = 'wgan'\n[wgan]\nhidden = [640]\nlatent = 6\n", [8, 8], Kind::Image, 10);
        fill(&*model, &[(name, value)]);
        is_too_large(&*model, layer);
    }
}

/// Refused because of the layer of this name.
#[track_caller]
fn is_too_large(model: &dyn Model, layer: &str) {
    for bits in [WeightBits::Eight, WeightBits::Sixteen] {
        let error = try_compile(model, &rows(model, 40), bits).unwrap_err().to_string();
        assert!(error.contains(&format!("layer {layer}:")) && error.contains("too large"), "{layer}: {error}");
    }
}

/// Dense layers, convolutions both ways, loops and constants with weights of 16 bits.
#[test]
fn sixteen_bits_of_a_weight_leave_a_fraction_of_the_error() {
    let dense = "hidden = [64, 48]\nlatent = 6\n";
    let conv = "hidden = [24]\nlatent = 6\nconv = { channels = [5, 7] }\n";
    let of = |family: &str, rest: &str| format!("family = '{family}'\n[{family}]\n{rest}");
    let recipes = [of("wgan", dense), of("wgan", conv), of("vae", conv), of("adgm", dense), of("dlgm", dense)];
    for recipe in &recipes {
        let model = model(recipe, [8, 8], Kind::Image, 10);
        let rows = rows(&*model, 100);
        let errors = |bits| {
            let compiled = compiled_with(&*model, &rows, bits);
            let of = |kind| fidelity(&compiled, kind, &rows, Labels::default(), 9).unwrap();
            [ProgramKind::Sample, ProgramKind::Decode, ProgramKind::SampleClass]
                .into_iter()
                .filter(|kind| compiled.float.program(*kind).is_some())
                .map(|kind| of(kind).elements.unwrap())
                .collect::<Vec<_>>()
        };
        let (eight, sixteen) = (errors(WeightBits::Eight), errors(WeightBits::Sixteen));
        println!("{recipe}{eight:?}\n{sixteen:?}");
        assert!(!eight.is_empty());
        for ((eight, lsb), (sixteen, _)) in eight.iter().zip(&sixteen) {
            // An error that only consists of rounding hardly shrinks.
            assert!(
                sixteen.rms < (eight.rms / 3.0).max(*lsb) && sixteen.worst < eight.worst,
                "{recipe}: {eight:?} {sixteen:?}"
            );
        }
    }
}

/// The score of a point that a flow drew is the log-density that came with it.
#[test]
fn flows_of_an_energy() {
    for kind in ["realnvp", "nice", "planar", "radial"] {
        let recipe = format!(
            "family = 'flow'\n[flow]\nhidden = [16]\nkind = '{kind}'\nsteps = 4\nscale_log2 = -2\nenergy = 'u1'\n"
        );
        let model = model(&recipe, [1, 2], Kind::Table, 0);
        let rows = rows(&*model, 40);
        let compiled = compiled(&*model, &rows);
        for noise in &rows {
            let drawn = run_graph(&compiled.float, ProgramKind::SampleDensity, &[], noise);
            close(kind, run_graph(&compiled.float, ProgramKind::Score, &drawn[0], &[])[0][0], drawn[1][0]);
        }
        follows(&compiled, &rows, 0.05, 20.0);
    }
}

#[test]
fn posteriors_by_flows_and_convolutions() {
    let flow = "family = 'vae'\n[vae]\nhidden = [16]\nlatent = 4\n[vae.posterior]\nkind = 'planar'\nsteps = 3\n";
    let convolutions = "family = 'vae'\n[vae]\nhidden = [16]\nlatent = 4\n[vae.conv]\nchannels = [3, 5]\n";
    for recipe in [flow, convolutions] {
        let model = model(recipe, [8, 8], Kind::Image, 0);
        let rows = rows(&*model, 40);
        follows(&compiled(&*model, &rows), &rows, 0.2, 300.0);
    }
}

/// What acts at a scale of its own does so in the compiled model too.
#[test]
fn scaled_layers_are_lowered_as_they_act() {
    let flow = PosteriorRecipe { kind: FlowStep::Planar, steps: 3, anneal_steps: 0 };
    let (activation, likelihood) = (Activation::Relu, Likelihood::Bernoulli);
    let spec = VaeSpec { input: 64, hidden: vec![16], latent: 4, activation, likelihood };
    let vae = Vae::with_parts(spec, Parts { flow: Some(&flow), ..Parts::default() }, 0, &CPU, DType::F32).unwrap();
    let layers = ModelRecipe { hidden: vec![16], latent: 4, ..ModelRecipe::default() };
    let dlgm = DlgmRecipe { model: layers, ..DlgmRecipe::default() }.model(64, likelihood, 0).unwrap();
    for model in [&vae as &dyn Model, &dlgm] {
        // Change them from their initial values.
        let mut rng = Rng::new(7);
        for (_, var) in model.params().vars() {
            let noise = rng.normal(var.shape(), DType::F32, &CPU).unwrap();
            var.set(&(var.as_tensor() + (noise * 0.1).unwrap()).unwrap()).unwrap();
        }
    }
    let x = rows(&vae, 1);
    let at = Tensor::new(x.clone(), &CPU).unwrap();
    let number = |t: Tensor| t.to_vec1::<f32>().unwrap()[0];
    let eps = Rng::new(6).normal((5, 1, 4), DType::F32, &CPU).unwrap();
    let noise: Vec<f32> = eps.flatten_all().unwrap().to_vec1().unwrap();
    let importance = run_graph(&compiled(&vae, &x).float, ProgramKind::ScoreImportance, &x[0], &noise)[0][0];
    close("planar posterior", -importance, number(vae.iwae(&at, &eps).unwrap()));
    let none = [Tensor::zeros((1, 4), DType::F32, &CPU).unwrap(), Tensor::zeros((1, 4), DType::F32, &CPU).unwrap()];
    let score = run_graph(&compiled(&dlgm, &x).float, ProgramKind::Score, &x[0], &[])[0][0];
    close("DLGM", -score, number(dlgm.elbo(&at, &none).unwrap()));
}

#[test]
fn deep_latent_gaussian_models() {
    for covariance in ["diagonal", "rank1"] {
        let recipe = format!("family = 'dlgm'\n[dlgm]\nhidden = [16]\nlayers = [5, 3]\ncovariance = '{covariance}'\n");
        let model = model(&recipe, [8, 8], Kind::Image, 0);
        let rows = rows(&*model, 40);
        follows(&compiled(&*model, &rows), &rows, 0.2, 300.0);
    }
}

#[test]
fn auxiliary_models() {
    for family in ["adgm", "sdgm", "avae"] {
        for (shape, kind) in [([8, 8], Kind::Image), ([1, 6], Kind::Table)] {
            let samples = if family == "avae" { "" } else { "samples = 7\n" };
            let recipe =
                format!("family = '{family}'\n[{family}]\nhidden = [16, 12]\nlatent = 3\nauxiliary = 4\n{samples}");
            let model = model(&recipe, shape, kind, 3);
            let rows = rows(&*model, 40);
            let compiled = compiled(&*model, &rows);
            follows(&compiled, &rows, 0.2, 300.0);
            if model.classes() > 0 {
                let probabilities = paired(&compiled, ProgramKind::Classify, &rows, 9).unwrap();
                let sum = |p: &[f32]| p.iter().sum::<f32>();
                assert!(probabilities.iter().all(|pair| pair.vectors.iter().all(|p| (sum(p) - 1.0).abs() < 1e-3)));
            }
        }
    }
}

#[test]
fn adversarial_networks() {
    let dense = "family = 'wgan'\n[wgan]\nhidden = [16]\nlatent = 4\n";
    let convolutions = "family = 'wgan'\n[wgan]\nhidden = [16]\nlatent = 4\nconstraint = 'spectral'\n[wgan.conv]\n";
    for recipe in [dense, convolutions] {
        let model = model(recipe, [8, 8], Kind::Image, 0);
        let rows: Vec<Vec<f32>> = rows(&*model, 40).iter().map(|x| x.iter().map(|v| v.abs() / 4.0).collect()).collect();
        let compiled = compiled(&*model, &rows);
        let x = Tensor::new(rows.clone(), &CPU).unwrap();
        let values = model.capabilities().scorer.unwrap().score(&x).unwrap().to_vec1::<f32>().unwrap();
        for (x, value) in rows.iter().zip(values) {
            close("critic", run_graph(&compiled.float, ProgramKind::Score, x, &[])[0][0], value);
        }
        follows(&compiled, &rows, 0.01, 260.0);
    }
}
