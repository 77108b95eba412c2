//! The number of components, chosen by cross-validation on the train rows, without labels.

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::em::{EmError, EmOptions, fit, sorted};
use crate::nn::unit;

/// Number of parts of the train rows. Each part is left out once.
const FOLDS: usize = 3;
/// Number of starts of each fit.
const STARTS: usize = 2;
/// Largest number of steps of a start. A fit that has not converged is good enough to be compared.
const STEPS: usize = 50;
/// A start ends when a step improves the objective by less than this value, in nats per row.
const TOLERANCE: f64 = 1e-3;
/// The largest number of rows that are used. More rows would hardly change the choice.
const MOST_ROWS: usize = 5000;
/// Number of train rows for each component.
const ROWS_OF_COMPONENT: usize = 4;
/// The largest number of weights of the layer that whitens a row for all components: 128 KiB with 16 bits.
const MOST_WEIGHTS: usize = 65_536;
/// A number of components, with the evidence for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Number of components.
    pub components: usize,
    /// The mean of `-ln p` in nats over the rows that the fit had not seen.
    pub nll: f64,
}

/// Fits mixtures of 1, 2, 4 and so on up to `most` components to parts of `rows`, `[n, d]`, and judges each by the rows
/// that it has not seen. Ends when two numbers in succession are not better than the best one before. A row that occurs
/// several times is in one part only.
///
/// # Errors
/// The errors of [`fit`].
pub fn candidates(rows: &[f32], d: usize, most: usize, options: &EmOptions) -> Result<Vec<Candidate>, EmError> {
    let (parts, n) = parts(rows, d, options.seed);
    let (iterations, tolerance) = (options.iterations.min(STEPS), options.tolerance.max(TOLERANCE));
    let options = EmOptions { starts: STARTS, iterations, tolerance, ..*options };
    let mut all: Vec<Candidate> = Vec::new();
    let most = largest(most.min(n / ROWS_OF_COMPONENT), d);
    let orders = std::iter::successors(Some(1), |k| Some(2 * k)).take_while(|k| *k <= most);
    for components in orders {
        let mut values = Vec::with_capacity(n);
        for (left_out, held_out) in parts.iter().enumerate() {
            let others = parts.iter().enumerate().filter(|(part, _)| *part != left_out);
            let train: Vec<f32> = others.flat_map(|(_, rows)| rows.iter().copied()).collect();
            if held_out.is_empty() || train.len() < components * d {
                continue;
            }
            let mixture = fit(&train, d, components, &[], &options)?.mixture;
            values.extend(held_out.chunks_exact(d).map(|x| mixture.nll(x)));
        }
        all.push(Candidate { components, nll: values.iter().sum::<f64>() / values.len().max(1) as f64 });
        let best = best(&all).map_or(0, |best| best.components);
        if components > 2 * best {
            break;
        }
    }
    Ok(all)
}

/// The largest number of components to try for rows of `d` columns: at most `most`, and at least 1. The layer that
/// whitens a row has at most 65,536 weights, unless a single component has more.
#[must_use]
pub fn largest(most: usize, d: usize) -> usize {
    most.min(MOST_WEIGHTS / (d * d).max(1)).max(1)
}

/// The candidate with the least mean. If several are equal, the one with the fewest components.
#[must_use]
pub fn best(candidates: &[Candidate]) -> Option<Candidate> {
    let better = |best: Candidate, other: &Candidate| if other.nll < best.nll { *other } else { best };
    candidates.split_first().map(|(first, others)| others.iter().fold(*first, better))
}

/// The rows in [`FOLDS`] parts, and their number. Equal rows are in the same part.
fn parts(rows: &[f32], d: usize, seed: u64) -> (Vec<Vec<f32>>, usize) {
    let sorted = sorted(rows, d);
    let all: Vec<&[f32]> = sorted.chunks_exact(d).collect();
    let step = all.len().div_ceil(MOST_ROWS).max(1);
    let used: Vec<&[f32]> = all.into_iter().step_by(step).collect();
    let mut parts = vec![Vec::new(); FOLDS];
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x0F01D5);
    let groups: Vec<&[&[f32]]> = used.chunk_by(|a, b| a == b).collect();
    // A random order, dealt in turn, gives parts of nearly the same number of distinct rows.
    let mut order: Vec<(f64, usize)> = (0..groups.len()).map(|group| (unit(&mut rng), group)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (place, (_, group)) in order.into_iter().enumerate() {
        parts[place % FOLDS].extend(groups[group].concat());
    }
    (parts, used.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::mixture::gaussians::Mixture;

    fn draws(mixture: &Mixture, n: usize) -> Vec<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        (0..n).flat_map(|_| mixture.sample(&mut rng).1).map(|v| v as f32).collect()
    }

    fn chosen(rows: &[f32], d: usize) -> usize {
        best(&candidates(rows, d, 16, &EmOptions::default()).unwrap()).unwrap().components
    }

    #[test]
    fn the_number_of_groups_is_found() {
        let unit = [1.0, 0.0, 0.0, 1.0];
        let centres = vec![-9.0, 0.0, 9.0, 0.0, 0.0, 9.0, 0.0, -9.0];
        let four = Mixture::new(vec![0.25; 4], centres, &unit.repeat(4)).unwrap();
        let all = candidates(&draws(&four, 600), 2, 16, &EmOptions::default()).unwrap();
        let nll = |components| all.iter().find(|candidate| candidate.components == components).unwrap().nll;
        let best = best(&all).unwrap();
        assert!(nll(4) < nll(2) - 0.3 && nll(2) < nll(1), "{all:?}");
        assert!(best.components >= 4 && best.nll > nll(4) - 0.1, "{all:?}");
        let one = Mixture::new(vec![1.0], vec![0.0; 2], &unit).unwrap();
        let all = candidates(&draws(&one, 600), 2, 16, &EmOptions::default()).unwrap();
        assert!(all[0].nll < super::best(&all).unwrap().nll + 0.05 && all.len() < 5, "{all:?}");
    }

    #[test]
    fn a_row_that_repeats_is_in_one_part() {
        let rows: Vec<f32> = (0..300).flat_map(|i| [(i % 10) as f32, (i % 20) as f32 * 0.5]).collect();
        let (parts, n) = parts(&rows, 2, 1);
        assert_eq!((n, parts.iter().map(Vec::len).sum::<usize>()), (300, 600));
        let has = |part: &[f32], row: [f32; 2]| part.chunks_exact(2).any(|x| x == row);
        for i in 0..20 {
            let row = [(i % 10) as f32, i as f32 * 0.5];
            assert_eq!(parts.iter().filter(|part| has(part, row)).count(), 1, "{row:?}");
        }
    }

    #[test]
    fn few_rows_and_equal_rows_have_one_component() {
        assert_eq!(chosen(&[1.0, 2.0], 2), 1);
        assert_eq!(chosen(&[1.0, 2.0, 1.5, 0.0, 3.0, 3.5], 2), 1);
        assert_eq!(chosen(&[1.0, 2.0].repeat(50), 2), 1);
    }
}
