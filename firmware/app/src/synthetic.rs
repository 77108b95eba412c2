//! A model of random weights: a VAE of classes with every program, for bringing up a board and for tests that need a blob
//! and no training. Its samples look like nothing.

use elbo::blob::{CHECKED_FROM, FORMAT_VERSION, HEADER_WORDS, MAGIC};
use elbo::bounds::output_bounds;
use elbo::kernel::{Packing, pack_params, pack_weights};
use elbo::program::{
    MATRIX_WORDS, Matrix, NO_TENSOR, OP_WORDS, Op, Opcode, ProgramRecord, Tensor, TensorKind, op_cost,
};
use elbo::rng::Xoshiro128PlusPlus;
use elbo::{Likelihood, Limits, Meta, Model, ProgramKind, SelfTest, crc32_words};
use rand_core::{Rng, SeedableRng};

/// Sizes of a synthetic model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Rows and columns of an image.
    pub shape: [u16; 2],
    /// Units of the one hidden layer of encoder and decoder.
    pub hidden: u32,
    /// Latent dimensions.
    pub latent: u32,
    /// Draws of the Monte Carlo and importance-weighted scores.
    pub draws: u32,
    /// Order of the weights.
    pub packing: Packing,
    /// Classes that `sample_class` and `classify` know.
    pub classes: u32,
    /// The programs to carry.
    pub programs: &'static [ProgramKind],
    /// Seed of the weights.
    pub seed: u64,
}

impl Default for Recipe {
    /// The digits' 64-64-8, ten classes and every program.
    fn default() -> Self {
        Self {
            shape: [8, 8],
            hidden: 64,
            latent: 8,
            draws: 8,
            packing: Packing::RowMajor,
            classes: 10,
            programs: &ProgramKind::ALL,
            seed: 1,
        }
    }
}

/// Fractional bits of hidden units, latents and log-variances.
const FRAC: u8 = 11;

/// The blob of a recipe.
///
/// # Panics
/// If the runtime refuses it: a mistake in this file.
#[must_use]
pub fn blob(recipe: &Recipe) -> Vec<u8> {
    let pixels = u32::from(recipe.shape[0]) * u32::from(recipe.shape[1]);
    let mut model = ModelBuilder::new(recipe);
    let layers = Layers {
        encoder: model.dense(recipe.hidden, pixels, 1 << 14),
        mean: model.dense(recipe.latent, recipe.hidden, 1 << FRAC),
        log_variance: model.dense(recipe.latent, recipe.hidden, 1 << FRAC),
        decoder: model.dense(recipe.hidden, recipe.latent, 1 << FRAC),
        logits: model.dense(pixels, recipe.hidden, 1 << 14),
        class_scores: model.dense(recipe.classes, recipe.hidden, 1 << FRAC),
        class_mean: model.dense(recipe.latent, recipe.classes, 1 << 15),
    };
    for &kind in recipe.programs {
        let mut program = ProgramBuilder { matrices: &model.matrices, ..ProgramBuilder::new(kind) };
        layers.program(&mut program, recipe, pixels);
        let finished = program.finish();
        model.programs.push(finished);
    }
    let meta = Meta {
        name: "synthetic",
        family: "vae",
        likelihood: Likelihood::Bernoulli,
        shape: recipe.shape,
        latent: recipe.latent as u16,
        classes: recipe.classes as u16,
        monte_carlo_samples: recipe.draws as u16,
        importance_samples: recipe.draws as u16,
        feature_mean: &[],
        feature_std: &[],
        score_quantiles: [0; 5],
        self_test: SelfTest { seed: 0, input: &[], digests: &[] },
    };
    let bytes = model.finish(&postcard::to_stdvec(&meta).expect("metadata encode"));
    // The proof reads words; a vector of bytes may start anywhere.
    let words: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if let Err(error) = Model::load(bytemuck::cast_slice(&words), Limits::default()) {
        panic!("the synthetic blob is refused: {error}");
    }
    bytes
}

struct Layers {
    encoder: u16,
    mean: u16,
    log_variance: u16,
    decoder: u16,
    logits: u16,
    class_scores: u16,
    class_mean: u16,
}

impl Layers {
    fn hidden(&self, p: &mut ProgramBuilder<'_>, x: u16) -> u16 {
        let h = p.dense(self.encoder, x);
        p.vector(Opcode::Relu, 0, &[h], FRAC)
    }

    fn encode(&self, p: &mut ProgramBuilder<'_>, x: u16) -> (u16, u16) {
        let h = self.hidden(p, x);
        (p.dense(self.mean, h), p.dense(self.log_variance, h))
    }

    fn mean(&self, p: &mut ProgramBuilder<'_>, x: u16) -> u16 {
        let h = self.hidden(p, x);
        p.dense(self.mean, h)
    }

    /// A latent to logits.
    fn decode(&self, p: &mut ProgramBuilder<'_>, z: u16) -> u16 {
        let h = p.dense(self.decoder, z);
        let h = p.vector(Opcode::Tanh, 0, &[h], 15);
        p.dense(self.logits, h)
    }

    /// A latent to probabilities.
    fn image(&self, p: &mut ProgramBuilder<'_>, z: u16) -> u16 {
        let logits = self.decode(p, z);
        p.vector(Opcode::Sigmoid, 0, &[logits], 15)
    }

    fn program(&self, p: &mut ProgramBuilder<'_>, recipe: &Recipe, pixels: u32) {
        match p.kind {
            ProgramKind::Sample => {
                let z = p.normal(recipe.latent);
                let x = self.image(p, z);
                p.outputs(&[x]);
            }
            ProgramKind::Decode => {
                let z = p.input(recipe.latent, FRAC);
                let x = self.image(p, z);
                p.outputs(&[x]);
            }
            ProgramKind::Encode => {
                let x = p.input(pixels, 15);
                let (mean, log_variance) = self.encode(p, x);
                p.outputs(&[mean, log_variance]);
            }
            ProgramKind::Reconstruct => {
                let x = p.input(pixels, 15);
                let mean = self.mean(p, x);
                let y = self.image(p, mean);
                p.outputs(&[y]);
            }
            // A class moves the prior's mean.
            ProgramKind::SampleClass => {
                let class = p.input(recipe.classes, 15);
                let mean = p.dense(self.class_mean, class);
                let noise = p.normal(recipe.latent);
                let z = p.vector(Opcode::AddVec, 0, &[noise, mean], FRAC);
                let x = self.image(p, z);
                p.outputs(&[x]);
            }
            ProgramKind::Classify => {
                let x = p.input(pixels, 15);
                let h = self.hidden(p, x);
                let scores = p.dense(self.class_scores, h);
                let probabilities = p.vector(Opcode::Softmax, 0, &[scores], 15);
                p.outputs(&[probabilities]);
            }
            ProgramKind::Impute => {
                let x = p.input(pixels, 15);
                let mask = p.input(pixels, 0);
                let mean = self.mean(p, x);
                let noise = p.normal(recipe.latent);
                let z = p.vector(Opcode::AddVec, 0, &[noise, mean], FRAC);
                let drawn = self.image(p, z);
                let y = p.vector(Opcode::Select, 0, &[x, drawn, mask], 15);
                p.outputs(&[y]);
            }
            ProgramKind::Invert => {
                let x = p.input(pixels, 15);
                let mean = self.mean(p, x);
                p.outputs(&[mean]);
            }
            // The latent's density, up to its constant.
            ProgramKind::SampleDensity => {
                let z = p.normal(recipe.latent);
                let density = p.scalar(Opcode::HalfSumSq, 0, &[z]);
                let x = self.image(p, z);
                p.outputs(&[x, density]);
            }
            _ => self.score(p, recipe, pixels),
        }
    }

    fn score(&self, p: &mut ProgramBuilder<'_>, recipe: &Recipe, pixels: u32) {
        let x = p.input(pixels, 15);
        let (mean, log_variance) = self.encode(p, x);
        if p.kind == ProgramKind::Score {
            let kl = p.scalar(Opcode::Kl, 0, &[mean, log_variance]);
            let logits = self.decode(p, mean);
            let nll = p.scalar(Opcode::BernoulliNll, 0, &[logits, x]);
            let score = p.scalar(Opcode::Add, 0, &[kl, nll]);
            return p.outputs(&[score]);
        }
        let deviation = p.vector(Opcode::Exp, 1, &[log_variance], 12);
        let values = p.open_loop(recipe.draws);
        let noise = p.normal(recipe.latent);
        let z = p.vector(Opcode::Fma, 0, &[deviation, noise, mean], FRAC);
        let logits = self.decode(p, z);
        let nll = p.scalar(Opcode::BernoulliNll, 0, &[logits, x]);
        if p.kind == ProgramKind::ScoreMonteCarlo {
            p.close_loop(values, nll);
            let nll = p.scalar(Opcode::Mean, 0, &[values]);
            let kl = p.scalar(Opcode::Kl, 0, &[mean, log_variance]);
            let score = p.scalar(Opcode::Add, 0, &[kl, nll]);
            return p.outputs(&[score]);
        }
        // log w = log p(x|z) + log p(z) - log q(z|x), the constants of both densities cancelling.
        let prior = p.scalar(Opcode::HalfSumSq, 0, &[z]);
        let joint = p.scalar(Opcode::Add, 0, &[nll, prior]);
        let posterior = p.scalar(Opcode::HalfSumSq, 0, &[noise]);
        let log_weight = p.scalar(Opcode::Sub, 0, &[posterior, joint]);
        p.close_loop(values, log_weight);
        let bound = p.scalar(Opcode::LogMeanExp, 0, &[values]);
        let entropy = p.scalar(Opcode::Sum, 1, &[log_variance]);
        let bound = p.scalar(Opcode::Add, 0, &[bound, entropy]);
        let score = p.scalar(Opcode::Neg, 0, &[bound]);
        p.outputs(&[score]);
    }
}

/// One program's records, without reuse of the arena.
struct ProgramBuilder<'m> {
    kind: ProgramKind,
    matrices: &'m [Matrix],
    tensors: Vec<Tensor>,
    ops: Vec<Op>,
    record_inputs: [u16; 2],
    record_outputs: [u16; 2],
    end: u32,
    /// First operation inside the open loop.
    open: Option<u16>,
    work: u64,
    macs: u64,
    repeat: u64,
}

impl ProgramBuilder<'_> {
    fn new(kind: ProgramKind) -> Self {
        Self {
            kind,
            matrices: &[],
            tensors: Vec::new(),
            ops: Vec::new(),
            record_inputs: [NO_TENSOR; 2],
            record_outputs: [NO_TENSOR; 2],
            end: 0,
            open: None,
            work: 0,
            macs: 0,
            repeat: 1,
        }
    }

    fn tensor(&mut self, kind: TensorKind, len: u32, frac: u8) -> u16 {
        let first = self.ops.len() as u16 + 1;
        let tensor = Tensor { kind, frac, bound: 1 << 15, len, offset: self.end, first, last: first };
        self.end += tensor.extent();
        self.tensors.push(tensor);
        (self.tensors.len() - 1) as u16
    }

    fn input(&mut self, len: u32, frac: u8) -> u16 {
        let tensor = self.tensor(TensorKind::I16, len, frac);
        self.tensors[usize::from(tensor)].first = 0;
        let slot = usize::from(self.record_inputs[0] != NO_TENSOR);
        self.record_inputs[slot] = tensor;
        tensor
    }

    fn push(&mut self, opcode: Opcode, param: i8, inputs: &[u16], output: u16, arg: u16, imm: u32) {
        let here = self.ops.len() as u16 + 1;
        let mut op = Op { opcode, param, output, inputs: [NO_TENSOR; 3], arg, imm };
        op.inputs[..inputs.len()].copy_from_slice(inputs);
        for input in inputs {
            self.tensors[usize::from(*input)].last = here;
        }
        let operand = |slot: usize| inputs.get(slot).map_or(Tensor::read(&[], 0), |t| self.tensors[usize::from(*t)]);
        let matrix = |index: u16| self.matrices.get(usize::from(index)).copied();
        let target = usize::from(if opcode == Opcode::End { self.open_vector() } else { output });
        let operands = [operand(0), operand(1), operand(2)];
        let bounds = output_bounds(&op, &operands, &self.tensors[target], &matrix);
        let length = inputs.first().map_or(self.tensors[target].len, |t| self.tensors[usize::from(*t)].len);
        let cost = op_cost(&op, length, operands[1].len, &matrix);
        self.tensors[target].bound = bounds.unwrap_or_else(|error| panic!("{opcode:?}: {error:?}")).output;
        self.work += cost.work * self.repeat;
        self.macs += cost.macs * self.repeat;
        self.ops.push(op);
    }

    fn dense(&mut self, matrix: u16, x: u16) -> u16 {
        let y = self.tensor(TensorKind::I16, self.matrices[usize::from(matrix)].rows, FRAC);
        self.push(Opcode::Dense, 0, &[x], y, matrix, 0);
        y
    }

    fn vector(&mut self, opcode: Opcode, param: i8, inputs: &[u16], frac: u8) -> u16 {
        let y = self.tensor(TensorKind::I16, self.tensors[usize::from(inputs[0])].len, frac);
        self.push(opcode, param, inputs, y, 0, 0);
        y
    }

    fn scalar(&mut self, opcode: Opcode, param: i8, inputs: &[u16]) -> u16 {
        let y = self.tensor(TensorKind::Nats, 1, 16);
        self.push(opcode, param, inputs, y, 0, 0);
        y
    }

    fn normal(&mut self, len: u32) -> u16 {
        let y = self.tensor(TensorKind::I16, len, 12);
        self.push(Opcode::Normal, 0, &[], y, 0, 0);
        y
    }

    fn open_loop(&mut self, count: u32) -> u16 {
        let values = self.tensor(TensorKind::Nats, count, 16);
        self.tensors[usize::from(values)].bound = 0;
        self.push(Opcode::Loop, 0, &[], values, 0, count);
        self.open = Some(self.ops.len() as u16);
        self.repeat = u64::from(count);
        values
    }

    fn open_vector(&self) -> u16 {
        self.ops[usize::from(self.open.expect("a loop is open")) - 1].output
    }

    fn close_loop(&mut self, values: u16, value: u16) {
        self.push(Opcode::End, 0, &[value], NO_TENSOR, 0, 0);
        let (start, end) = (self.open.take().expect("a loop is open"), self.ops.len() as u16);
        self.repeat = 1;
        self.tensors[usize::from(values)].last = end;
        for tensor in &mut self.tensors {
            if tensor.first < start && tensor.last > start {
                tensor.last = tensor.last.max(end);
            }
        }
    }

    fn outputs(&mut self, outputs: &[u16]) {
        self.record_outputs[..outputs.len()].copy_from_slice(outputs);
        for output in outputs {
            self.tensors[usize::from(*output)].last = self.ops.len() as u16 + 1;
        }
    }

    fn finish(self) -> Program {
        Program {
            record: ProgramRecord {
                kind: self.kind as u32,
                ops_start: 0,
                ops_len: self.ops.len() as u32,
                tensors_start: 0,
                tensors_len: self.tensors.len() as u32,
                inputs: self.record_inputs,
                outputs: self.record_outputs,
                work: self.work,
                macs: self.macs,
            },
            tensors: self.tensors,
            ops: self.ops,
            arena: self.end,
        }
    }
}

struct Program {
    record: ProgramRecord,
    tensors: Vec<Tensor>,
    ops: Vec<Op>,
    arena: u32,
}

struct ModelBuilder {
    rng: Xoshiro128PlusPlus,
    packing: Packing,
    matrices: Vec<Matrix>,
    data: Vec<u32>,
    programs: Vec<Program>,
}

impl ModelBuilder {
    fn new(recipe: &Recipe) -> Self {
        let rng = Xoshiro128PlusPlus::seed_from_u64(recipe.seed);
        Self { rng, packing: recipe.packing, matrices: Vec::new(), data: Vec::new(), programs: Vec::new() }
    }

    /// A layer whose weights are as large as its overflow proof allows, up to 8 bits, and whose outputs are about 1.5 in
    /// magnitude for inputs that are about `typical`.
    fn dense(&mut self, rows: u32, cols: u32, typical: u32) -> u16 {
        let input_bound = 1u32 << 15;
        let largest = ((1u32 << 30) / (cols * input_bound)).clamp(1, 127) as i32;
        let weights: Vec<i8> =
            (0..rows * cols).map(|_| ((self.rng.next_u32() >> 8) as i32 % (2 * largest + 1) - largest) as i8).collect();
        let sum = f64::from(largest) / 3f64.sqrt() * f64::from(typical) * f64::from(cols).sqrt();
        let multiplier = (1.5 * f64::from(FRAC).exp2() / sum * 32f64.exp2()) as i32;
        let (rows_len, cols_len) = (rows as usize, cols as usize);
        let bias: Vec<i32> =
            (0..rows).map(|_| (f64::from(self.rng.next_u32() as i32) * sum / 32f64.exp2()) as i32).collect();
        let params = self.data.len() as u32;
        self.data.extend(pack_params(rows_len, |row| bias[row], |_| multiplier));
        let at = self.data.len() as u32;
        self.data.extend(pack_weights(rows_len, cols_len, self.packing, |row, col| weights[row * cols_len + col]));
        let output_bound = (0..rows_len)
            .map(|row| {
                let sum: u64 = weights[row * cols_len..][..cols_len].iter().map(|w| u64::from(w.unsigned_abs())).sum();
                let largest = sum * u64::from(input_bound) + u64::from(bias[row].unsigned_abs());
                ((largest * multiplier as u64 + (1 << 31)) >> 32).clamp(1, 1 << 15) as u16
            })
            .max()
            .expect("a layer has rows");
        self.matrices.push(Matrix {
            rows,
            cols,
            packing: Some(self.packing),
            input_bound: input_bound as u16,
            output_bound,
            params,
            weights: at,
        });
        (self.matrices.len() - 1) as u16
    }

    fn finish(&self, meta: &[u8]) -> Vec<u8> {
        let (mut tensors, mut ops, mut programs) = (Vec::new(), Vec::new(), Vec::new());
        for program in &self.programs {
            let record = ProgramRecord {
                ops_start: (ops.len() / OP_WORDS) as u32,
                tensors_start: (tensors.len() / elbo::program::TENSOR_WORDS) as u32,
                ..program.record
            };
            programs.extend(record.encode());
            tensors.extend(program.tensors.iter().flat_map(Tensor::encode));
            ops.extend(program.ops.iter().flat_map(Op::encode));
        }
        let matrices: Vec<u32> = self.matrices.iter().flat_map(Matrix::encode).collect();
        let mut padded = meta.to_vec();
        padded.resize(meta.len().next_multiple_of(4), 0);
        let arena = self.programs.iter().map(|program| program.arena).max().unwrap_or(0);

        let mut words = vec![0; HEADER_WORDS];
        words[0] = MAGIC;
        words[1] = FORMAT_VERSION;
        words[4] = arena;
        words[5] = self.programs.len() as u32;
        words[6] = (tensors.len() / elbo::program::TENSOR_WORDS) as u32;
        words[7] = (ops.len() / OP_WORDS) as u32;
        words[8] = (matrices.len() / MATRIX_WORDS) as u32;
        words[9] = meta.len() as u32;
        words[10] = self.data.len() as u32;
        words.extend(programs);
        words.extend(tensors);
        words.extend(ops);
        words.extend(matrices);
        words.extend(padded.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        words.extend(&self.data);
        words[2] = words.len() as u32;
        words[3] = crc32_words(&words[CHECKED_FROM..]);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elbo::rng::Xoshiro128PlusPlus;

    #[test]
    fn every_size_and_packing_is_proved_and_gives_the_same_numbers() {
        for (shape, hidden, latent) in [([8, 8], 64, 8), ([1, 5], 3, 2), ([28, 28], 32, 16)] {
            let mut scores = Vec::new();
            for packing in [Packing::RowMajor, Packing::Dsp4] {
                let blob = aligned(&blob(&Recipe { shape, hidden, latent, packing, ..Recipe::default() }));
                let model = Model::load(bytemuck::cast_slice(&blob), Limits::default()).unwrap();
                let mut arena = vec![0u64; model.arena_len().div_ceil(4)];
                let mut session = model.session(bytemuck::cast_slice_mut(&mut arena)).unwrap();
                let x: Vec<i16> = (0..shape[0] * shape[1]).map(|i| (i as i16).wrapping_mul(997)).collect();
                let mut rng = Xoshiro128PlusPlus::seed_from_u64(9);
                scores.push((session.score(&x).unwrap(), session.score_importance(&x, &mut rng).unwrap()));
            }
            assert_eq!(scores[0], scores[1]);
            assert!(scores[0].0.to_f64() > 0.0);
        }
    }

    #[test]
    fn weights_follow_the_seed() {
        let one = blob(&Recipe::default());
        assert_eq!(one, blob(&Recipe::default()));
        assert_ne!(one, blob(&Recipe { seed: 2, ..Recipe::default() }));
    }

    fn aligned(bytes: &[u8]) -> Vec<u32> {
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}
