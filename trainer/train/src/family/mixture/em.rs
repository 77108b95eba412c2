//! Expectation maximisation of a mixture of Gaussians with full covariances (Dempster, Laird and Rubin, 1977), from several
//! starts, with covariances that stay away from singular.
//!
//! The M-step is `Sigma_c = (S_c + s T) / (n_c + s) + floor I`: `S_c` is the scatter of the rows by their responsibilities,
//! `n_c` their sum, `T` the diagonal covariance of all rows, and `s` the shrinkage, in rows. It is the posterior mode under an
//! inverse Wishart prior of mode `T` that weighs `s` rows, so that without a floor every step increases
//! `ln p(rows) - s/2 sum_c [ln det Sigma_c + tr(T Sigma_c^-1)]` ([`Trace`]). The floor is an allowance for what rows were
//! rounded to.

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use thiserror::Error;

use super::gaussians::{Mixture, normalise};
use super::start::clusters;

/// Responsibilities below this add nothing to a mean.
const NEGLIGIBLE: f64 = 1e-12;
/// How often one component may be started anew.
const RESTARTS: usize = 3;
/// EM steps before a new component is judged.
const GRACE: usize = 5;
/// Steps of Lloyd's algorithm before EM.
const LLOYD_STEPS: usize = 10;

/// How a mixture is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmOptions {
    /// Independent starts, the best of which is kept: by the validation rows where there are some.
    pub starts: usize,
    /// Most steps of a start.
    pub iterations: usize,
    /// A start ends when a step gains less than this, in nats a row.
    pub tolerance: f64,
    /// What is added to every column's variance in every component, in units of the rows squared.
    pub floor: f64,
    /// How many rows a column the diagonal covariance of all rows weighs in that of one of several components: 1 of 20
    /// columns is one row.
    pub shrinkage: f64,
    /// Rows that a component needs to stay. Less than a row more than columns asks for some shrinkage.
    pub least_rows: f64,
    /// Of the starts.
    pub seed: u64,
}

impl Default for EmOptions {
    fn default() -> Self {
        Self { starts: 5, iterations: 200, tolerance: 1e-4, floor: 1e-3, shrinkage: 0.05, least_rows: 2.0, seed: 0 }
    }
}

/// Why rows cannot be fitted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum EmError {
    /// There is nothing to fit.
    #[error("a mixture needs rows to fit, and there are none")]
    NoRows,
    /// Rows are ragged.
    #[error("{values} values are no whole number of rows of {dim} columns")]
    Shape {
        /// Values given.
        values: usize,
        /// Columns wanted.
        dim: usize,
    },
    /// A value is missing or infinite.
    #[error("row {row}, column {column} is {value}: a mixture needs finite numbers")]
    NotFinite {
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
        /// What stands there.
        value: f32,
    },
    /// No number of components that these rows can have.
    #[error("components is {components}: expected 1 to the number of train rows, {rows}")]
    Components {
        /// Components asked for.
        components: usize,
        /// Rows given.
        rows: usize,
    },
    /// An option is out of its range.
    #[error("{name} is {value}: expected {expected}")]
    Option {
        /// Which.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// Rounding left no positive definite covariance.
    #[error(
        "the covariance of a component is singular to working precision: raise the covariance floor above {floor:e}"
    )]
    Singular {
        /// The floor that was too low.
        floor: f64,
    },
}

/// One step of a start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// `ln p(rows)` before the step, nats a row.
    pub log_likelihood: f64,
    /// That and the logarithm of the prior: see the module.
    pub objective: f64,
    /// Whether components were started anew or dropped after it, so that the next step may lie lower.
    pub revised: bool,
}

/// The steps of a start.
pub type Trace = Vec<Step>;

/// A fitted mixture and how it came about.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The mixture of the best start. It may have fewer components than were asked for.
    pub mixture: Mixture,
    /// Mean log-likelihood of the rows, nats.
    pub train: f64,
    /// Mean log-likelihood of the validation rows, nats, where there are some.
    pub validation: Option<f64>,
    /// The best start.
    pub start: usize,
    /// Whether its gain fell below the tolerance.
    pub converged: bool,
    /// Its steps.
    pub trace: Trace,
}

/// Fits a mixture of `k` components to `rows`, `[n, d]`. The result depends on the set of rows, not on their order.
///
/// # Errors
/// Options, shapes or values that make no sense, or a floor too low for 64 bits.
pub fn fit(rows: &[f32], d: usize, k: usize, validation: &[f32], options: &EmOptions) -> Result<Fit, EmError> {
    check(rows, d, k, validation, options)?;
    let rows = sorted(rows, d);
    let pooled = diagonal_covariance(&rows, d, options.floor);
    let mut best: Option<Fit> = None;
    for start in 0..options.starts {
        let mut rng =
            Xoshiro256PlusPlus::seed_from_u64(options.seed.wrapping_mul(0x9E37_79B9).wrapping_add(start as u64));
        let labels = clusters(&rows, d, k, LLOYD_STEPS, &mut rng);
        let run = Run { rows: &rows, d, pooled: &pooled, shrinkage: prior_rows(d, k, options), options };
        let (mixture, trace, converged) = run.from(&labels, k)?;
        let train = mixture.mean_log_likelihood(&rows);
        let held_out = (!validation.is_empty()).then(|| mixture.mean_log_likelihood(validation));
        let better = |best: &Fit| held_out.unwrap_or(train) > best.validation.unwrap_or(best.train);
        if best.as_ref().is_none_or(better) {
            best = Some(Fit { mixture, train, validation: held_out, start, converged, trace });
        }
    }
    best.ok_or(EmError::Option { name: "starts", value: 0.0, expected: "1 or more" })
}

/// The rows that the prior weighs. A single component is the plain estimate: all rows are its own.
fn prior_rows(d: usize, k: usize, options: &EmOptions) -> f64 {
    if k == 1 { 0.0 } else { options.shrinkage * d as f64 }
}

fn check(rows: &[f32], d: usize, k: usize, validation: &[f32], options: &EmOptions) -> Result<(), EmError> {
    for values in [rows, validation] {
        if d == 0 || !values.len().is_multiple_of(d) {
            return Err(EmError::Shape { values: values.len(), dim: d });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(EmError::NotFinite { row: at / d, column: at % d, value: values[at] });
        }
    }
    if rows.is_empty() {
        return Err(EmError::NoRows);
    }
    if k == 0 || k > rows.len() / d {
        return Err(EmError::Components { components: k, rows: rows.len() / d });
    }
    let positive = "a positive number";
    let not_negative = "0 or a positive number";
    let option = |name, value: f64, holds: bool, expected| {
        if holds && value.is_finite() { Ok(()) } else { Err(EmError::Option { name, value, expected }) }
    };
    option("floor", options.floor, options.floor > 0.0, positive)?;
    option("tolerance", options.tolerance, options.tolerance >= 0.0, not_negative)?;
    option("shrinkage", options.shrinkage, options.shrinkage >= 0.0, not_negative)?;
    option("least_rows", options.least_rows, options.least_rows >= 0.0, not_negative)?;
    option("iterations", options.iterations as f64, options.iterations > 0, "1 or more")
}

/// The rows in lexicographic order.
fn sorted(rows: &[f32], d: usize) -> Vec<f32> {
    let mut order: Vec<&[f32]> = rows.chunks_exact(d).collect();
    let by_value = |a: &f32, b: &f32| a.total_cmp(b);
    order.sort_by(|a, b| {
        let differs = a.iter().zip(*b).map(|(a, b)| by_value(a, b)).find(|order| order.is_ne());
        differs.unwrap_or(std::cmp::Ordering::Equal)
    });
    order.concat()
}

/// The variance of every column, `floor` where that is less.
fn diagonal_covariance(rows: &[f32], d: usize, floor: f64) -> Vec<f64> {
    let n = (rows.len() / d) as f64;
    let column = |at: usize| rows.iter().skip(at).step_by(d).map(|v| f64::from(*v));
    let variance = |at: usize| {
        let mean = column(at).sum::<f64>() / n;
        column(at).map(|v| (v - mean).powi(2)).sum::<f64>() / n
    };
    (0..d).map(|at| variance(at).max(floor)).collect()
}

/// The sums of an M-step.
struct Moments {
    /// Responsibilities' sums, `[k]`.
    counts: Vec<f64>,
    /// Means, `[k, d]`.
    means: Vec<f64>,
    /// Scatter about them, `[k, d, d]`.
    scatter: Vec<f64>,
}

/// What the starts have in common.
struct Run<'r> {
    rows: &'r [f32],
    d: usize,
    /// Diagonal of `T`.
    pooled: &'r [f64],
    /// `s`.
    shrinkage: f64,
    options: &'r EmOptions,
}

impl Run<'_> {
    fn n(&self) -> usize {
        self.rows.len() / self.d
    }

    fn from(&self, labels: &[usize], k: usize) -> Result<(Mixture, Trace, bool), EmError> {
        let mut responsibilities = vec![0.0; self.n() * k];
        labels.iter().enumerate().for_each(|(i, label)| responsibilities[i * k + label] = 1.0);
        let mut mixture = self.mixture(&self.moments(&responsibilities, k))?;
        let mut restarts = vec![0; mixture.components()];
        let mut age = vec![GRACE; mixture.components()];
        let mut trace: Trace = Vec::new();
        let mut densities = vec![0.0; self.n()];
        for _ in 0..self.options.iterations {
            let k = mixture.components();
            responsibilities.resize(self.n() * k, 0.0);
            let rows = self.rows.chunks_exact(self.d).zip(responsibilities.chunks_exact_mut(k));
            for ((x, responsibilities), density) in rows.zip(&mut densities) {
                mixture.log_joint(x, responsibilities);
                *density = normalise(responsibilities);
            }
            let log_likelihood = densities.iter().sum::<f64>() / self.n() as f64;
            let objective = log_likelihood + self.log_prior(&mixture) / self.n() as f64;
            trace.push(Step { log_likelihood, objective, revised: false });
            let before = trace.len().checked_sub(2).map(|at| trace[at]);
            let moments = self.moments(&responsibilities, k);
            age.iter_mut().for_each(|age| *age += 1);
            let poor = self.poor(&moments, &age);
            if poor.is_empty() {
                let settled = age.iter().all(|age| *age > GRACE);
                let ended = before.is_some_and(|before| {
                    settled && !before.revised && (objective - before.objective).abs() < self.options.tolerance
                });
                if ended {
                    return Ok((mixture, trace, true));
                }
                mixture = self.mixture(&moments)?;
            } else {
                trace.last_mut().into_iter().for_each(|step| step.revised = true);
                mixture = self.revise(&moments, &poor, &densities, &mut restarts, &mut age)?;
            }
        }
        // What is still poor at the end goes.
        loop {
            let k = mixture.components();
            let mut responsibilities = vec![0.0; self.n() * k];
            for (x, responsibilities) in self.rows.chunks_exact(self.d).zip(responsibilities.chunks_exact_mut(k)) {
                mixture.log_joint(x, responsibilities);
                normalise(responsibilities);
            }
            let moments = self.moments(&responsibilities, k);
            let poor = self.poor(&moments, &vec![usize::MAX; k]);
            if poor.is_empty() {
                return Ok((mixture, trace, false));
            }
            let (mut restarts, mut age) = (vec![RESTARTS; k], vec![0; k]);
            mixture = self.revise(&moments, &poor, &[], &mut restarts, &mut age)?;
        }
    }

    /// `-s/2 sum_c [ln det Sigma_c + tr(T Sigma_c^-1)]`.
    fn log_prior(&self, mixture: &Mixture) -> f64 {
        let of_component = |component: usize| {
            let (l, whitening) = (mixture.factor(component), mixture.whitening(component));
            let log_det: f64 = (0..self.d).map(|i| 2.0 * l[i * self.d + i].ln()).sum();
            let trace: f64 = whitening.iter().enumerate().map(|(at, w)| w * w * self.pooled[at % self.d]).sum();
            -0.5 * self.shrinkage * (log_det + trace)
        };
        if self.shrinkage == 0.0 { 0.0 } else { (0..mixture.components()).map(of_component).sum() }
    }

    fn moments(&self, responsibilities: &[f64], k: usize) -> Moments {
        let d = self.d;
        let (mut counts, mut means) = (vec![0.0; k], vec![0.0; k * d]);
        let mut scatter = vec![0.0; k * d * d];
        let each = |see: &mut dyn FnMut(usize, &[f32], f64)| {
            for (x, responsibilities) in self.rows.chunks_exact(d).zip(responsibilities.chunks_exact(k)) {
                for (component, r) in responsibilities.iter().enumerate().filter(|(_, r)| **r > NEGLIGIBLE) {
                    see(component, x, *r);
                }
            }
        };
        each(&mut |component, x, r| {
            counts[component] += r;
            means[component * d..][..d].iter_mut().zip(x).for_each(|(mean, x)| *mean += r * f64::from(*x));
        });
        for (mean, count) in means.chunks_exact_mut(d).zip(&counts) {
            mean.iter_mut().for_each(|mean| *mean /= count.max(f64::MIN_POSITIVE));
        }
        let mut centred = vec![0.0; d];
        each(&mut |component, x, r| {
            let mean = &means[component * d..][..d];
            centred.iter_mut().zip(x).zip(mean).for_each(|((c, x), mean)| *c = f64::from(*x) - mean);
            let scatter = &mut scatter[component * d * d..][..d * d];
            for (row, c) in centred.iter().enumerate() {
                let weighted = r * c;
                scatter[row * d..=row * d + row].iter_mut().zip(&centred).for_each(|(s, c)| *s += weighted * c);
            }
        });
        for scatter in scatter.chunks_exact_mut(d * d) {
            for row in 0..d {
                for column in row + 1..d {
                    scatter[row * d + column] = scatter[column * d + row];
                }
            }
        }
        Moments { counts, means, scatter }
    }

    /// The M-step. Components without rows are left out.
    fn mixture(&self, moments: &Moments) -> Result<Mixture, EmError> {
        let (d, options) = (self.d, self.options);
        let total: f64 = moments.counts.iter().sum();
        let (mut weights, mut means, mut covariances) = (Vec::new(), Vec::new(), Vec::new());
        for (component, count) in moments.counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            weights.push(count / total);
            means.extend_from_slice(&moments.means[component * d..][..d]);
            let mut covariance: Vec<f64> = moments.scatter[component * d * d..][..d * d].to_vec();
            for (at, value) in self.pooled.iter().enumerate() {
                covariance[at * d + at] += self.shrinkage * value;
            }
            covariance.iter_mut().for_each(|v| *v /= count + self.shrinkage);
            (0..d).for_each(|at| covariance[at * d + at] += options.floor);
            covariances.append(&mut covariance);
        }
        Mixture::new(weights, means, &covariances).ok_or(EmError::Singular { floor: options.floor })
    }

    /// Components of too few rows, and those that have shrunk onto one point; of a lone component neither is held against it.
    fn poor(&self, moments: &Moments, age: &[usize]) -> Vec<usize> {
        let d = self.d;
        let is_poor = |component: &usize| {
            let count = moments.counts[*component];
            let scatter = &moments.scatter[component * d * d..][..d * d];
            let spread = (0..d).map(|at| scatter[at * d + at]).sum::<f64>() / (count.max(f64::MIN_POSITIVE) * d as f64);
            age[*component] > GRACE && (count < self.options.least_rows || spread < self.options.floor)
        };
        if moments.counts.len() == 1 { Vec::new() } else { (0..moments.counts.len()).filter(is_poor).collect() }
    }

    /// Starts `poor` components anew at the least likely rows, which are those nearest to one of them, or drops them where
    /// that was done often enough. One component always stays.
    fn revise(
        &self,
        moments: &Moments,
        poor: &[usize],
        densities: &[f64],
        restarts: &mut Vec<usize>,
        age: &mut Vec<usize>,
    ) -> Result<Mixture, EmError> {
        let (d, k) = (self.d, moments.counts.len());
        let mut least: Vec<usize> = (0..densities.len()).collect();
        least.sort_by(|a, b| densities[*a].total_cmp(&densities[*b]));
        let dropped = |component: &usize| poor.contains(component) && restarts[*component] >= RESTARTS;
        let mut kept: Vec<usize> = (0..k).filter(|component| !dropped(component)).collect();
        if kept.is_empty() {
            kept = (0..k).max_by(|a, b| moments.counts[*a].total_cmp(&moments.counts[*b])).into_iter().collect();
        }
        let mut new = Moments { counts: Vec::new(), means: Vec::new(), scatter: Vec::new() };
        let mut place = least.into_iter();
        for component in &kept {
            let anew = poor.contains(component) && restarts[*component] < RESTARTS;
            match if anew { place.next() } else { None } {
                Some(row) => {
                    // A share of the rows, as wide as all of them.
                    let count = self.n() as f64 / k as f64;
                    new.counts.push(count);
                    new.means.extend(self.rows[row * d..][..d].iter().map(|v| f64::from(*v)));
                    let diagonal = |at: usize| if at / d == at % d { count * self.pooled[at % d] } else { 0.0 };
                    new.scatter.extend((0..d * d).map(diagonal));
                    (restarts[*component], age[*component]) = (restarts[*component] + 1, 0);
                }
                None => {
                    new.counts.push(moments.counts[*component]);
                    new.means.extend_from_slice(&moments.means[component * d..][..d]);
                    new.scatter.extend_from_slice(&moments.scatter[component * d * d..][..d * d]);
                }
            }
        }
        *restarts = kept.iter().map(|component| restarts[*component]).collect();
        *age = kept.iter().map(|component| age[*component]).collect();
        self.mixture(&new)
    }
}

#[cfg(test)]
mod tests;
