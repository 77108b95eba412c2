//! Expectation maximisation of a mixture with full covariances (Dempster, Laird and Rubin, 1977), from several starts.
//! Regularisation keeps the covariances from becoming singular.
//!
//! The M-step is `Sigma_c = (S_c + s T) / (n_c + s) + F`. `S_c` is the scatter of the rows weighted by their
//! responsibilities, `n_c` the sum of the responsibilities, `T` the [`Target`], and `s` the shrinkage in rows. Without
//! the diagonal matrix `F` this is the posterior mode under an inverse Wishart prior with mode `T` and the weight of `s`
//! rows. Every step then increases `ln p(rows) - s/2 sum_c [ln det Sigma_c + tr(T Sigma_c^-1)]` ([`Trace`]). `F` holds
//! the floor and, if the options ask for it, the variance that [`rounding`] hides.
//!
//! With several scales `lambda_j` of the covariances, the scatter and the means weigh a row by the expectation of `1 /
//! lambda` given the row, too, and the share of a scale is its mean probability.

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

pub use self::options::{EmError, EmOptions};
use super::gaussians::{Mixture, Scale, normalise};
use super::prior::{Target, diagonal, rounding, trace, variances, within};
use super::start::clusters;

mod options;

/// Responsibilities below this value do not contribute to the moments.
const NEGLIGIBLE: f64 = 1e-12;
/// How often the fit may reinitialise one component.
const RESTARTS: usize = 3;
/// Number of EM steps before the fit judges a new component.
const GRACE_STEPS: usize = 5;
/// The factor between two scales of the covariances.
const SCALE_STEP: f64 = 3.0;
/// Largest number of scales.
pub(super) const MOST_SCALES: usize = 16;
/// Number of steps of Lloyd's algorithm before EM.
const LLOYD_STEPS: usize = 10;

/// One step of a start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// `ln p(rows)` before the step, in nats per row.
    pub log_likelihood: f64,
    /// The same plus the logarithm of the prior, see the module's documentation.
    pub objective: f64,
    /// Whether components were reinitialised or dropped after this step. The objective of the next step may then be
    /// lower.
    pub revised: bool,
}

/// The steps of a start.
pub type Trace = Vec<Step>;

/// A fitted mixture, with the course of the fit.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The mixture of the best start. It may have fewer components than requested.
    pub mixture: Mixture,
    /// Mean log-likelihood of the rows, in nats.
    pub train: f64,
    /// Mean log-likelihood of the validation rows in nats, or `None` if there are none.
    pub validation: Option<f64>,
    /// Index of the best start.
    pub start: usize,
    /// Whether the best start ended because its improvement fell below the tolerance.
    pub converged: bool,
    /// The steps of the best start.
    pub trace: Trace,
}

/// Fits a mixture of `k` components to `rows`, `[n, d]`. The result does not depend on the order of the rows.
///
/// # Errors
/// Options, shapes or values that are not allowed, or a floor that is too low for double precision.
pub fn fit(rows: &[f32], d: usize, k: usize, validation: &[f32], options: &EmOptions) -> Result<Fit, EmError> {
    check(rows, d, k, validation, options)?;
    fit_above(&floors(rows, d, options), rows, d, k, validation, options)
}

/// The diagonal of `F` for these rows, `[d]`.
pub(super) fn floors(rows: &[f32], d: usize, options: &EmOptions) -> Vec<f64> {
    let hidden = if options.rounding { rounding(rows, d) } else { vec![0.0; d] };
    hidden.into_iter().map(|hidden| options.floor + hidden).collect()
}

/// Like [`fit`], with this diagonal of `F`, which may be that of more rows.
///
/// # Errors
/// The errors of [`fit`].
pub(super) fn fit_above(
    floors: &[f64],
    rows: &[f32],
    d: usize,
    k: usize,
    validation: &[f32],
    options: &EmOptions,
) -> Result<Fit, EmError> {
    check(rows, d, k, validation, options)?;
    let rows = sorted(rows, d);
    let spread = variances(&rows, d, options.floor);
    let mut best: Option<Fit> = None;
    for start in 0..options.starts {
        let mut rng =
            Xoshiro256PlusPlus::seed_from_u64(options.seed.wrapping_mul(0x9E37_79B9).wrapping_add(start as u64));
        let labels = clusters(&rows, d, k, LLOYD_STEPS, &mut rng);
        let target = match options.target {
            Target::Diagonal => diagonal(&spread),
            Target::Within => within(&rows, d, &labels, k),
        };
        let shrinkage = prior_rows(d, k, options);
        let run = Run { rows: &rows, d, spread: &spread, target: &target, floors, shrinkage, options };
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

/// The weight of the prior in rows. It is 0 for a single component, which is the plain maximum-likelihood estimate.
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
    let scales = 1..=MOST_SCALES;
    option("scales", options.scales as f64, scales.contains(&options.scales), "1 to 16")?;
    option("iterations", options.iterations as f64, options.iterations > 0, "1 or more")
}

/// The rows in lexicographic order.
pub(super) fn sorted(rows: &[f32], d: usize) -> Vec<f32> {
    let mut order: Vec<&[f32]> = rows.chunks_exact(d).collect();
    let by_value = |a: &f32, b: &f32| a.total_cmp(b);
    order.sort_by(|a, b| {
        let differs = a.iter().zip(*b).map(|(a, b)| by_value(a, b)).find(|order| order.is_ne());
        differs.unwrap_or(std::cmp::Ordering::Equal)
    });
    order.concat()
}

/// Receives a component, a row, the responsibility, and the responsibility times the precision.
type See<'s> = dyn FnMut(usize, &[f32], f64, f64) + 's;

/// The weighted sums of an M-step.
struct Moments {
    /// Sums of the responsibilities, `[k]`.
    counts: Vec<f64>,
    /// Means, `[k, d]`.
    means: Vec<f64>,
    /// Scatter around the means, `[k, d, d]`.
    scatter: Vec<f64>,
}

/// The data and options that all starts share.
struct Run<'r> {
    rows: &'r [f32],
    d: usize,
    /// The variances of all rows, `[d]`.
    spread: &'r [f64],
    /// `T`, `[d, d]`.
    target: &'r [f64],
    /// The diagonal of `F`, `[d]`.
    floors: &'r [f64],
    /// The shrinkage `s`.
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
        let scale = |j: usize| Scale { factor: SCALE_STEP.powi(j as i32), share: 1.0 };
        let scales: Vec<Scale> = (0..self.options.scales).map(scale).collect();
        let mut mixture = self.mixture(&self.moments(&responsibilities, &[], k), &scales)?;
        let mut restarts = vec![0; mixture.components()];
        let mut age = vec![GRACE_STEPS; mixture.components()];
        let mut trace: Trace = Vec::new();
        let mut densities = vec![0.0; self.n()];
        for _ in 0..self.options.iterations {
            let k = mixture.components();
            responsibilities.resize(self.n() * k, 0.0);
            let (precisions, scales) = self.expectations(&mixture, &mut responsibilities, &mut densities);
            let log_likelihood = densities.iter().sum::<f64>() / self.n() as f64;
            let objective = log_likelihood + self.log_prior(&mixture) / self.n() as f64;
            trace.push(Step { log_likelihood, objective, revised: false });
            let before = trace.len().checked_sub(2).map(|at| trace[at]);
            let moments = self.moments(&responsibilities, &precisions, k);
            age.iter_mut().for_each(|age| *age += 1);
            let unsupported = self.unsupported(&moments, &age);
            if unsupported.is_empty() {
                let settled = age.iter().all(|age| *age > GRACE_STEPS);
                let ended = before.is_some_and(|before| {
                    settled && !before.revised && (objective - before.objective).abs() < self.options.tolerance
                });
                if ended {
                    return Ok((mixture, trace, true));
                }
                mixture = self.mixture(&moments, &scales)?;
            } else {
                trace.last_mut().into_iter().for_each(|step| step.revised = true);
                let new = self.reinitialise_or_drop(&moments, &unsupported, &densities, &mut restarts, &mut age);
                mixture = self.mixture(&new, &scales)?;
            }
        }
        // At the end, components that are still unsupported are dropped.
        loop {
            let k = mixture.components();
            let mut responsibilities = vec![0.0; self.n() * k];
            let (precisions, scales) = self.expectations(&mixture, &mut responsibilities, &mut densities);
            let moments = self.moments(&responsibilities, &precisions, k);
            let unsupported = self.unsupported(&moments, &vec![usize::MAX; k]);
            if unsupported.is_empty() {
                return Ok((mixture, trace, false));
            }
            let (mut restarts, mut age) = (vec![RESTARTS; k], vec![0; k]);
            let new = self.reinitialise_or_drop(&moments, &unsupported, &[], &mut restarts, &mut age);
            mixture = self.mixture(&new, &scales)?;
        }
    }

    /// The E-step. Writes `p(c | x)` of every row to `responsibilities`, `[n, k]`, and `ln p(x)` to `densities`, `[n]`.
    /// Returns the expectations of `1 / lambda` given the row and the component, `[n, k]`, which is empty if 1 is the
    /// only scale, and the scales with their mean probabilities.
    fn expectations(
        &self,
        mixture: &Mixture,
        responsibilities: &mut [f64],
        densities: &mut [f64],
    ) -> (Vec<f64>, Vec<Scale>) {
        let k = mixture.components();
        let rows = self.rows.chunks_exact(self.d).zip(responsibilities.chunks_exact_mut(k)).zip(densities);
        let mut scales = mixture.scales().to_vec();
        if scales == [Scale::ONE] {
            for ((x, responsibilities), density) in rows {
                mixture.log_joint(x, responsibilities);
                *density = normalise(responsibilities);
            }
            return (Vec::new(), scales);
        }
        let mut precisions = vec![0.0; self.n() * k];
        scales.iter_mut().for_each(|scale| scale.share = 0.0);
        let mut of_scales = vec![0.0; k * scales.len()];
        for (((x, responsibilities), density), precisions) in rows.zip(precisions.chunks_exact_mut(k)) {
            mixture.square_distances(x, responsibilities);
            let components = responsibilities.iter_mut().zip(mixture.peaks()).zip(precisions);
            for (((joint, peak), precision), p) in components.zip(of_scales.chunks_exact_mut(scales.len())) {
                *joint = peak + mixture.log_scales(*joint, p);
                *precision = p.iter().zip(&scales).map(|(p, scale)| p / scale.factor).sum();
            }
            *density = normalise(responsibilities);
            for (r, p) in responsibilities.iter().zip(of_scales.chunks_exact(scales.len())) {
                scales.iter_mut().zip(p).for_each(|(scale, p)| scale.share += r * p);
            }
        }
        (precisions, scales)
    }

    /// The logarithm of the prior, `-s/2 sum_c [ln det Sigma_c + tr(T Sigma_c^-1)]`.
    fn log_prior(&self, mixture: &Mixture) -> f64 {
        let of_component = |component: usize| {
            let (l, whitening) = (mixture.factor(component), mixture.whitening(component));
            let log_det: f64 = (0..self.d).map(|i| 2.0 * l[i * self.d + i].ln()).sum();
            -0.5 * self.shrinkage * (log_det + trace(whitening, self.target, self.d))
        };
        if self.shrinkage == 0.0 { 0.0 } else { (0..mixture.components()).map(of_component).sum() }
    }

    /// The sums of an M-step. Without `precisions` every row has the precision 1.
    fn moments(&self, responsibilities: &[f64], precisions: &[f64], k: usize) -> Moments {
        let d = self.d;
        let (mut counts, mut weights, mut means) = (vec![0.0; k], vec![0.0; k], vec![0.0; k * d]);
        let mut scatter = vec![0.0; k * d * d];
        let each = |see: &mut See<'_>| {
            for (row, x) in self.rows.chunks_exact(d).enumerate() {
                let responsibilities = &responsibilities[row * k..][..k];
                for (component, r) in responsibilities.iter().enumerate().filter(|(_, r)| **r > NEGLIGIBLE) {
                    see(component, x, *r, precisions.get(row * k + component).map_or(*r, |precision| precision * r));
                }
            }
        };
        each(&mut |component, x, r, weight| {
            counts[component] += r;
            weights[component] += weight;
            means[component * d..][..d].iter_mut().zip(x).for_each(|(mean, x)| *mean += weight * f64::from(*x));
        });
        for (mean, weight) in means.chunks_exact_mut(d).zip(&weights) {
            mean.iter_mut().for_each(|mean| *mean /= weight.max(f64::MIN_POSITIVE));
        }
        let mut centred = vec![0.0; d];
        each(&mut |component, x, _, weight| {
            let mean = &means[component * d..][..d];
            centred.iter_mut().zip(x).zip(mean).for_each(|((c, x), mean)| *c = f64::from(*x) - mean);
            let scatter = &mut scatter[component * d * d..][..d * d];
            for (row, c) in centred.iter().enumerate() {
                let weighted = weight * c;
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

    /// The M-step. Components without rows are dropped.
    fn mixture(&self, moments: &Moments, scales: &[Scale]) -> Result<Mixture, EmError> {
        let d = self.d;
        let total: f64 = moments.counts.iter().sum();
        let (mut weights, mut means, mut covariances) = (Vec::new(), Vec::new(), Vec::new());
        for (component, count) in moments.counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            weights.push(count / total);
            means.extend_from_slice(&moments.means[component * d..][..d]);
            let mut covariance: Vec<f64> = moments.scatter[component * d * d..][..d * d].to_vec();
            let shrunk = covariance.iter_mut().zip(self.target);
            shrunk.for_each(|(v, target)| *v = (*v + self.shrinkage * target) / (count + self.shrinkage));
            (0..d).for_each(|at| covariance[at * d + at] += self.floors[at]);
            covariances.append(&mut covariance);
        }
        let mixture = Mixture::new(weights, means, &covariances).and_then(|mixture| mixture.with_scales(scales));
        mixture.ok_or(EmError::Singular { floor: self.options.floor })
    }

    /// The components with too few rows, and those that have shrunk to one point. A single component always counts as
    /// supported.
    fn unsupported(&self, moments: &Moments, age: &[usize]) -> Vec<usize> {
        let d = self.d;
        let is_unsupported = |component: &usize| {
            let count = moments.counts[*component];
            let scatter = &moments.scatter[component * d * d..][..d * d];
            let spread = (0..d).map(|at| scatter[at * d + at]).sum::<f64>() / (count.max(f64::MIN_POSITIVE) * d as f64);
            age[*component] > GRACE_STEPS && (count < self.options.least_rows || spread < self.options.floor)
        };
        if moments.counts.len() == 1 { Vec::new() } else { (0..moments.counts.len()).filter(is_unsupported).collect() }
    }

    /// The moments with the `unsupported` components reinitialised at the least likely rows. A component that has been
    /// reinitialised [`RESTARTS`] times is dropped instead. At least one component is kept.
    fn reinitialise_or_drop(
        &self,
        moments: &Moments,
        unsupported: &[usize],
        densities: &[f64],
        restarts: &mut Vec<usize>,
        age: &mut Vec<usize>,
    ) -> Moments {
        let (d, k) = (self.d, moments.counts.len());
        let mut least: Vec<usize> = (0..densities.len()).collect();
        least.sort_by(|a, b| densities[*a].total_cmp(&densities[*b]));
        let dropped = |component: &usize| unsupported.contains(component) && restarts[*component] >= RESTARTS;
        let mut kept: Vec<usize> = (0..k).filter(|component| !dropped(component)).collect();
        if kept.is_empty() {
            kept = (0..k).max_by(|a, b| moments.counts[*a].total_cmp(&moments.counts[*b])).into_iter().collect();
        }
        let mut new = Moments { counts: Vec::new(), means: Vec::new(), scatter: Vec::new() };
        let mut place = least.into_iter();
        for component in &kept {
            let anew = unsupported.contains(component) && restarts[*component] < RESTARTS;
            match if anew { place.next() } else { None } {
                Some(row) => {
                    // The new component has an equal share of the rows and the covariance of all rows.
                    let count = self.n() as f64 / k as f64;
                    new.counts.push(count);
                    new.means.extend(self.rows[row * d..][..d].iter().map(|v| f64::from(*v)));
                    let diagonal = |at: usize| if at / d == at % d { count * self.spread[at % d] } else { 0.0 };
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
        new
    }
}

#[cfg(test)]
mod tests;
