//! The number of components, chosen by cross-validation on the train rows, without labels.

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::em::{EmError, EmOptions, fit_above, floors, sorted};
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

/// Fits mixtures with each number of `components` to parts of `rows`, `[n, d]`, and judges each by the rows that it has
/// not seen. A row that occurs several times is in one part only. A number of components for which there are not enough
/// rows is left out.
///
/// # Errors
/// The errors of [`fit`](super::em::fit).
pub fn candidates(
    rows: &[f32],
    d: usize,
    components: &[usize],
    options: &EmOptions,
) -> Result<Vec<Candidate>, EmError> {
    // A column may be constant in a part, but not in all rows.
    let floors = floors(rows, d, options);
    let (parts, n) = parts(rows, d, options.seed);
    let others = |left_out: usize| -> Vec<f32> {
        let others = parts.iter().enumerate().filter(|(part, _)| *part != left_out);
        others.flat_map(|(_, rows)| rows.iter().copied()).collect()
    };
    let trains: Vec<Vec<f32>> = (0..parts.len()).map(others).collect();
    let fewest = trains.iter().map(|train| train.len() / d).min().unwrap_or(0);
    let all: Vec<usize> = components.iter().copied().filter(|k| *k <= fewest).collect();
    let (iterations, tolerance) = (options.iterations.min(STEPS), options.tolerance.max(TOLERANCE));
    let jobs: Vec<(usize, usize)> = all.iter().flat_map(|k| (0..parts.len()).map(move |part| (*k, part))).collect();
    let judge = |(components, part): (usize, usize)| -> Result<f64, EmError> {
        let options = EmOptions { starts: STARTS, iterations, tolerance, ..*options };
        let mixture = fit_above(&floors, &trains[part], d, components, &[], &options)?.mixture;
        Ok(parts[part].chunks_exact(d).map(|x| mixture.nll(x)).sum::<f64>())
    };
    let sums: Vec<f64> = jobs.into_par_iter().map(judge).collect::<Result<_, _>>()?;
    let candidate =
        |(components, sums): (usize, &[f64])| Candidate { components, nll: sums.iter().sum::<f64>() / n as f64 };
    Ok(all.into_iter().zip(sums.chunks_exact(parts.len())).map(candidate).collect())
}

/// The numbers of components to try for `n` rows of `d` columns: 1, 2, 4 and so on up to `most`, to a quarter of the
/// number of rows, and to the [`largest`].
#[must_use]
pub fn orders(n: usize, d: usize, most: usize) -> Vec<usize> {
    let most = largest(most.min(n / ROWS_OF_COMPONENT), d);
    std::iter::successors(Some(1), |k| Some(2 * k)).take_while(|k| *k <= most).collect()
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
    use crate::family::mixture::prior::Target;

    fn draws(mixture: &Mixture, n: usize) -> Vec<f32> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        (0..n).flat_map(|_| mixture.sample(&mut rng).1).map(|v| v as f32).collect()
    }

    fn tried(rows: &[f32], d: usize) -> Vec<Candidate> {
        let orders = orders(rows.len() / d, d, 16);
        candidates(rows, d, &orders, &EmOptions::default()).unwrap()
    }

    #[test]
    fn the_number_of_groups_is_found() {
        let unit = [1.0, 0.0, 0.0, 1.0];
        let centres = vec![-9.0, 0.0, 9.0, 0.0, 0.0, 9.0, 0.0, -9.0];
        let four = Mixture::new(vec![0.25; 4], centres, &unit.repeat(4)).unwrap();
        let one = Mixture::new(vec![1.0], vec![0.0; 2], &unit).unwrap();
        for (truth, fewest) in [(four, 4), (one, 1)] {
            let rows = draws(&truth, 600);
            let all = tried(&rows, 2);
            let found = best(&all).unwrap();
            // What was chosen is as likely as the truth on rows that it has not seen.
            assert!((found.nll + truth.mean_log_likelihood(&rows)).abs() < 0.08, "{found:?} {all:?}");
            let fewer = all.iter().filter(|candidate| candidate.components < fewest);
            assert!(fewer.clone().all(|few| few.nll > found.nll + 0.5) && found.components >= fewest, "{all:?}");
            assert_eq!(fewer.count(), fewest.ilog2() as usize);
        }
    }

    #[test]
    fn many_columns_and_few_rows_want_shrinkage() {
        // Two groups of twenty rows in twelve columns: a covariance of their own is hardly known.
        let diagonal: Vec<f64> = (0..144).map(|at| f64::from(u8::from(at / 12 == at % 12))).collect();
        let means: Vec<f64> = [-4.0, 4.0].into_iter().flat_map(|mean| [mean; 12]).collect();
        let rows = draws(&Mixture::new(vec![0.5, 0.5], means, &diagonal.repeat(2)).unwrap(), 40);
        let nll = |shrinkage: f64| {
            let options = EmOptions { target: Target::Within, shrinkage, ..EmOptions::default() };
            candidates(&rows, 12, &[2], &options).unwrap()[0].nll
        };
        assert!(nll(2.0) < nll(0.01) - 0.5, "{} {}", nll(2.0), nll(0.01));
    }

    #[test]
    fn what_is_tried_is_limited() {
        assert_eq!((orders(1000, 3, 16), orders(20, 3, 16)), (vec![1, 2, 4, 8, 16], vec![1, 2, 4]));
        assert_eq!(
            (orders(9999, 64, 64), orders(1, 3, 64), orders(9999, 500, 64)),
            (vec![1, 2, 4, 8, 16], vec![1], vec![1])
        );
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
        for rows in [vec![1.0, 2.0], vec![1.0, 2.0, 1.5, 0.0, 3.0, 3.5], [1.0, 2.0].repeat(50)] {
            assert!(best(&tried(&rows, 2)).is_none_or(|best| best.components == 1));
        }
    }
}
