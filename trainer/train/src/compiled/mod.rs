//! Tests of the compiler on the models of the families.

use elbo::program::ProgramKind;
use elbo_compiler::FloatModel;

mod families;
mod fold;
mod reference;
mod vae;

/// Runs a program of the float graph and returns its outputs. The program reads the row `x` if it has an input, and takes
/// its noise from the start of `noise`.
fn run_graph(graph: &FloatModel, kind: ProgramKind, x: &[f32], noise: &[f32]) -> Vec<Vec<f32>> {
    let mut draws = noise.iter();
    let program = graph.program(kind).unwrap_or_else(|| panic!("no {}", kind.name()));
    let inputs: &[&[f32]] = if kind.signature().inputs == 0 { &[] } else { &[x] };
    graph.run(program, inputs, &mut |out| out.iter_mut().zip(&mut draws).for_each(|(out, draw)| *out = *draw))
}
