//! Reports on what is known before flashing: layers with their ranges and scales, memory, and the cost of every
//! program.

use crate::compile::Compiled;
use crate::held_out::SCORES;
use crate::rate::percent;
use elbo::coupling::CouplingStack;
use elbo::front::{Bands, Statistic};
use elbo::kernel::ConvGeometry;
use elbo::program::{
    Cost, Immediate, Matrix, NO_TENSOR, OP_WORDS, Op, Opcode, ProgramKind, ProgramRecord, Tensor, op_cost,
};
use elbo::{Calibration, LoadError, Model, Nats, Rate};
use std::collections::BTreeSet;
use std::fmt::{self, Write};

/// Instructions per multiply-accumulate and per other step, and the same two in a stack of couplings with tanh. They
/// were measured by `cargo xtask bench` (the latter with `--model`) and are used only for estimates.
const M4: [f64; 4] = [1.2, 3.8, 4.4, 200.0];
const M0: [f64; 4] = [4.4, 9.2, 11.8, 365.0];

/// Report on the layers.
pub fn layers(compiled: &Compiled) -> String {
    let width = compiled.float.layer_names.iter().map(String::len).fold(12, usize::max);
    let mut text = format!("{:<width$} {:>9} {:>10} {:>7} {:>12}\n", "layer", "shape", "range", "scale", "accumulator");
    let coupled = compiled.float.coupled();
    for (index, (matrix, name)) in compiled.matrices.iter().zip(&compiled.float.layer_names).enumerate() {
        let largest = (0..matrix.rows).map(|row| matrix.largest_accumulator(row)).max().unwrap_or(0);
        let shape = format!("{}x{}", matrix.rows, matrix.cols);
        let frac = compiled.scales.layers[index].output;
        let range = compiled.ranges.layers[index];
        let share = largest as f64 / f64::from(i32::MAX) * 100.0;
        let (range, scale) = if coupled[index] {
            ("-".into(), "Q14.16".into())
        } else {
            (format!("{range:.3}"), Scale(frac).to_string())
        };
        let _ = writeln!(text, "{name:<width$} {shape:>9} {range:>10} {scale:>7} {share:>10.1} %");
    }
    let weights: usize = compiled.float.layers.iter().map(|layer| layer.w.len()).sum();
    let _ = writeln!(text, "{weights} weights of {} bits", u8::from(compiled.weight_bits));
    text
}

struct Scale(u32);

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("Q{}.{}", 15 - self.0, self.0))
    }
}

/// Memory of a blob and the cost of its programs.
pub fn costs(model: &Model<'_>, blob_bytes: usize) -> String {
    let mut text = format!(
        "flash {blob_bytes} bytes (weights and parameters {}), arena {arena} halfwords: Arena::<{arena}>\n",
        model.blob().data().len() * 4,
        arena = model.arena_len(),
    );
    let _ =
        writeln!(text, "{:<18} {:>10} {:>10} {:>14} {:>14}", "program", "MACs", "steps", "~instr. M4", "~instr. M0");
    for kind in ProgramKind::ALL {
        let Some(info) = model.program(kind) else { continue };
        let coupled = coupled_cost(model, kind);
        let (coupled_steps, steps) = (coupled.work - coupled.macs, info.work - info.macs);
        let counts = [info.macs - coupled.macs, steps - coupled_steps, coupled.macs, coupled_steps];
        let counts = counts.map(|count| count as f64);
        let estimate = |costs: [f64; 4]| counts.iter().zip(costs).map(|(count, cost)| count * cost).sum::<f64>();
        let _ = writeln!(
            text,
            "{:<18} {:>10} {:>10} {:>14.0} {:>14.0}",
            kind.name(),
            info.macs,
            info.work,
            estimate(M4),
            estimate(M0)
        );
    }
    text
}

/// What the calibrations of a model's scores support, two lines for each program that scores; empty if none does.
///
/// # Errors
/// The description cannot be decoded.
pub fn calibrations(model: &Model<'_>) -> Result<String, LoadError> {
    let calibrations = model.meta()?.calibrations;
    let scoring = SCORES.into_iter().filter(|kind| model.program(*kind).is_some());
    let lines: Vec<String> = scoring
        .filter_map(|kind| Some(format!("{}: {}\n", kind.name(), calibration(&calibrations.get(kind)?))))
        .collect();
    if lines.is_empty() && SCORES.iter().any(|kind| model.program(*kind).is_some()) {
        return Ok(
            "no calibration: there were no held-out rows of normal running, so that no score has a p-value and no \
                   false-alarm rate a threshold. A firmware must not alarm by this model. Train with a \
                   --calibration-fraction above 0, or with --calibration-folds.\n"
                .to_owned(),
        );
    }
    Ok(lines.concat())
}

/// The number of rows, the smallest p-value, and the thresholds of three false-alarm rates.
fn calibration(of: &Calibration<'_>) -> String {
    let smallest = of.smallest();
    let least = Rate::new(smallest.numerator(), smallest.denominator()).map(percent).unwrap_or_default();
    let clause = |rate: Rate| match of.threshold(rate) {
        Ok(nats) => format!("{} from {nats}", percent(rate)),
        Err(few) => format!("{} needs {} rows", percent(rate), few.needed),
    };
    let clauses = [Rate::ONE_IN_10, Rate::ONE_IN_100, Rate::ONE_IN_1000].map(clause).join("; ");
    format!("calibrated with {} held-out rows, p at least {smallest} ({least})\n  false alarms: {clauses}", of.rows())
}

/// The lines that a firmware with this model needs: the dependency with its features, and the limit of its loading.
pub fn firmware(model: &Model<'_>) -> String {
    let ops = model.blob().ops();
    let features = features((0..ops.len() / OP_WORDS).map(|index| Op::read(ops, index).opcode));
    let work = ProgramKind::ALL.into_iter().filter_map(|kind| model.program(kind)).map(|info| info.work).max();
    let (arena, work) = (model.arena_len(), work.unwrap_or(0));
    let listed: Vec<String> = features.iter().map(|feature| format!("\"{feature}\"")).collect();
    format!(
        "in Cargo.toml:    elbo = {{ version = \"{version}\", default-features = false, features = [{listed}] }}\n\
         in the firmware:  Model::load(MODEL, Limits {{ max_work: {work} }}), Arena::<{arena}>::new()\n",
        version = env!("CARGO_PKG_VERSION"),
        listed = listed.join(", "),
    )
}

/// The fewest features of the crate `elbo` with which it has all of these operations. Some operations come with any of
/// several features.
fn features(opcodes: impl Iterator<Item = Opcode>) -> BTreeSet<&'static str> {
    let choices: BTreeSet<Vec<&str>> = opcodes.map(|opcode| opcode.features().collect()).collect();
    let mut chosen: BTreeSet<&str> =
        choices.iter().filter_map(|features| <[&str; 1]>::try_from(features.as_slice()).ok()).flatten().collect();
    for features in &choices {
        if !features.iter().any(|feature| chosen.contains(feature)) {
            chosen.extend(features.first());
        }
    }
    chosen
}

/// The cost of a program's couplings, which never stand inside a loop.
fn coupled_cost(model: &Model<'_>, kind: ProgramKind) -> Cost {
    let blob = model.blob();
    let mut programs = (0..blob.program_count()).map(|index| ProgramRecord::read(blob.programs(), index));
    let Some(program) = programs.find(|program| program.kind == kind as u32) else { return Cost::default() };
    let matrices = |index: u16| Some(Matrix::read(blob.matrices(), usize::from(index)));
    let ops = (0..program.ops_len).map(|op| Op::read(blob.ops(), (program.ops_start + op) as usize));
    let of = |op: Op| {
        let tensor =
            |reference: u16| Tensor::read(blob.tensors(), program.tensors_start as usize + usize::from(reference));
        op_cost(&op, &op.inputs.map(tensor), &tensor(op.output), &matrices)
    };
    let couplings = ops.filter(|op| op.opcode == Opcode::Couplings).map(of);
    couplings.fold(Cost::default(), |sum, cost| Cost { work: sum.work + cost.work, macs: sum.macs + cost.macs })
}

/// The operations of every program, one per line: `output[length]@place = operation(inputs)`.
pub fn disassembly(model: &Model<'_>) -> String {
    let mut text = String::new();
    let blob = model.blob();
    for index in 0..blob.program_count() {
        let program = ProgramRecord::read(blob.programs(), index);
        let _ = writeln!(text, "{}:", ProgramKind::from_code(program.kind).map_or("?", ProgramKind::name));
        let mut depth = 1;
        for op in 0..program.ops_len {
            let op = Op::read(blob.ops(), (program.ops_start + op) as usize);
            let tensor = |reference: u16| {
                let tensor = Tensor::read(blob.tensors(), program.tensors_start as usize + usize::from(reference));
                let (len, offset, frac) = (tensor.len, tensor.offset, tensor.frac);
                if reference == NO_TENSOR { "-".into() } else { format!("t{reference}[{len}]Q{frac}@{offset}") }
            };
            let facts = op.opcode.facts();
            depth -= usize::from(facts.closes_loop());
            let mut operands: Vec<String> = op.inputs.iter().take(op.opcode.inputs()).map(|t| tensor(*t)).collect();
            operands.extend((facts.is_invertible() && op.param == 1).then(|| "inverse".into()));
            operands.extend(immediate(&op));
            let reads_matrix = op.opcode.rules().uses_arg() && !facts.opens_loop();
            operands.extend(reads_matrix.then(|| format!("matrix {}", op.arg)));
            let indent = "  ".repeat(depth);
            let written = match op.opcode.writes_extra() {
                true => format!("{}, {}", tensor(op.output), tensor(op.inputs[2])),
                false => tensor(op.output),
            };
            let _ = writeln!(text, "{indent}{written} = {:?}({})", op.opcode, operands.join(", "));
            depth += usize::from(facts.opens_loop());
        }
    }
    text
}

/// The field `imm` of an operation's record, as the disassembly shows it. `None` if the operation does not use it.
fn immediate(op: &Op) -> Option<String> {
    match op.opcode.facts().imm() {
        Immediate::None => None,
        Immediate::Iterations => Some(format!("{} times", op.imm)),
        Immediate::Index => Some(format!("from {}", op.imm)),
        Immediate::Interval => Some(format!("{:?}", op.interval())),
        Immediate::Nats => Some(Nats::from_bits(i64::from(op.imm as i32)).to_string()),
        Immediate::Factor => Some(format!("times {}", f64::from(op.imm) / 32768.0)),
        Immediate::Value => Some(format!("value {}", op.imm)),
        Immediate::Geometry => {
            let g = ConvGeometry::unpack(op.imm, op.param);
            let step = if g.up > 1 { format!("up {}", g.up) } else { format!("stride {}", g.stride) };
            Some(format!("{}x{}, kernel {}, {step}", g.height, g.width, g.kernel))
        }
        Immediate::Bands => {
            let bands = Bands::unpack(op.imm)?;
            let shape = if bands.triangular { "triangles" } else { "bands" };
            Some(format!("{:?} window of {}, {shape}", bands.taper, bands.window_len()))
        }
        Immediate::Statistics => {
            let wanted = Statistic::ALL.into_iter().filter(|statistic| statistic.is_in(op.imm));
            Some(wanted.map(|statistic| format!("{statistic:?}")).collect::<Vec<_>>().join(" "))
        }
        Immediate::Couplings => {
            let stack = CouplingStack::unpack(op.imm, op.param);
            let inverse = if stack.is_some_and(|stack| stack.inverse) { "inverse, " } else { "" };
            let density = if stack.is_some_and(|stack| stack.normal) { "density, " } else { "" };
            Some(format!("{inverse}{density}{} couplings", stack.map_or(0, |stack| stack.couplings)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo_writer::operation;

    fn shown(opcode: Opcode, imm: u32, param: i8) -> Option<String> {
        immediate(&Op { imm, param, ..operation(opcode, &[]) })
    }

    #[test]
    fn word_3_is_shown_in_the_units_of_its_operation() {
        let text = |opcode, imm| shown(opcode, imm, 0).unwrap();
        assert_eq!(shown(Opcode::Relu, 0, 0), None);
        assert_eq!(text(Opcode::Loop, 7), "7 times");
        assert_eq!(text(Opcode::Slice, 5), "from 5");
        assert_eq!(text(Opcode::Clamp, Op::interval_imm(-3, 400)), "(-3, 400)");
        assert_eq!(text(Opcode::LeakyRelu, 1 << 13), "times 0.25");
        assert_eq!(text(Opcode::OneHot, 1 << 14), "value 16384");
        assert_eq!(text(Opcode::Offset, -98304i32 as u32), Nats::from_bits(-98304).to_string());
        let (imm, param) = CouplingStack { couplings: 4, inverse: true, ..stack() }.pack();
        assert_eq!(shown(Opcode::Couplings, imm, param).unwrap(), "inverse, 4 couplings");
    }

    #[test]
    fn a_model_needs_the_fewest_features() {
        let needed = |opcodes: &[Opcode]| features(opcodes.iter().copied()).into_iter().collect::<Vec<_>>();
        assert!(needed(&[Opcode::Dense, Opcode::Relu]).is_empty());
        assert_eq!(needed(&[Opcode::Conv, Opcode::Dense, Opcode::LogisticNll]), ["conv", "logistic"]);
        // Select comes with dlgm and with mixture.
        assert_eq!(needed(&[Opcode::Select]), ["dlgm"]);
        assert_eq!(needed(&[Opcode::Select, Opcode::GaussianLogits]), ["mixture"]);
    }

    #[test]
    fn rates_that_are_not_supported_are_said_with_the_rows_that_they_need() {
        let mut scores: Vec<Nats> = (1..=144).map(|nats| Nats::from_bits(nats << 16)).collect();
        let mut buffer = vec![0; Calibration::room(scores.len())];
        let text = calibration(&Calibration::of_scores(&mut scores, &mut buffer).expect("room"));
        assert!(text.contains("with 144 held-out rows, p at least 1/145 (0.69 %)"), "{text}");
        assert!(text.ends_with("10 % from 131.000; 1 % from 144.000; 0.1 % needs 999 rows"), "{text}");
    }

    fn stack() -> CouplingStack {
        CouplingStack {
            couplings: 1,
            layers: 1,
            activation: elbo::coupling::HiddenActivation::Relu,
            scale_log2: 0,
            sixteen: false,
            inverse: false,
            normal: false,
        }
    }
}
