use super::*;
use proptest::prelude::*;
use rand_core::Rng;

/// What the options below leave of regularisation does not show in these tests.
const LOW: f64 = 1e-9;

fn options(shrinkage: f64) -> EmOptions {
    EmOptions { starts: 2, floor: LOW, shrinkage, tolerance: 0.0, iterations: 40, ..EmOptions::default() }
}

/// `n` draws of a mixture.
fn draws(mixture: &Mixture, n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..n).flat_map(|_| mixture.sample(&mut rng).1).map(|v| v as f32).collect()
}

fn truth() -> Mixture {
    let covariances = [1.0, 0.8, 0.8, 1.0, 0.2, 0.0, 0.0, 2.0, 0.5, -0.3, -0.3, 0.4];
    Mixture::new(vec![0.5, 0.3, 0.2], vec![-4.0, 0.0, 4.0, 1.0, 0.0, 6.0], &covariances).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_step_increases_the_objective(
        values in prop::collection::vec(-3f32..3.0, 60..240), d in 1usize..5, k in 1usize..5, shrinkage in 0.5f64..8.0, scales in 1usize..5,
        target in prop_oneof![Just(Target::Diagonal), Just(Target::Within)], seed: u64
    ) {
        let rows = &values[..values.len() / d * d];
        let fit = fit(rows, d, k, &[], &EmOptions { seed, scales, target, ..options(shrinkage) }).unwrap();
        for pair in fit.trace.windows(2).filter(|pair| !pair[0].revised) {
            prop_assert!(pair[1].objective >= pair[0].objective - 1e-7, "{pair:?}");
        }
        let sum: f64 = fit.mixture.weights.iter().sum();
        prop_assert!((sum - 1.0).abs() < 1e-9 && fit.mixture.components() <= k);
    }

    #[test]
    fn every_step_increases_the_likelihood_without_shrinkage(seed: u64, k in 1usize..5) {
        let rows = draws(&truth(), 300, seed);
        let without = EmOptions { seed, least_rows: 3.0, ..options(0.0) };
        let fit = fit(&rows, 2, k, &[], &without).unwrap();
        for pair in fit.trace.windows(2).filter(|pair| !pair[0].revised) {
            prop_assert!(pair[1].log_likelihood >= pair[0].log_likelihood - 1e-7, "{pair:?}");
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter(seed: u64, k in 1usize..5, turn in 1usize..99) {
        let rows = draws(&truth(), 100, seed);
        let mut turned: Vec<&[f32]> = rows.chunks_exact(2).collect();
        turned.rotate_left(turn);
        turned.swap(3, 50);
        let [one, other] = [rows.clone(), turned.concat()].map(|rows| fit(&rows, 2, k, &[], &options(1.0)).unwrap());
        prop_assert_eq!(one.mixture, other.mixture);
    }

    #[test]
    fn one_component_has_the_moments_of_the_rows(values in prop::collection::vec(-9f32..9.0, 24..90), d in 1usize..4) {
        let rows = &values[..values.len() / d * d];
        let mixture = fit(rows, d, 1, &[], &options(0.0)).unwrap().mixture;
        let n = (rows.len() / d) as f64;
        let column = |at: usize| rows.iter().skip(at).step_by(d).map(|v| f64::from(*v)).collect::<Vec<f64>>();
        let mean = |at: usize| column(at).iter().sum::<f64>() / n;
        let covariance = mixture.covariance(0);
        for i in 0..d {
            prop_assert!((mixture.means[i] - mean(i)).abs() < 1e-9);
            for j in 0..d {
                let products = column(i).into_iter().zip(column(j)).map(|(a, b)| (a - mean(i)) * (b - mean(j)));
                let exact = products.sum::<f64>() / n + if i == j { LOW } else { 0.0 };
                prop_assert!((covariance[i * d + j] - exact).abs() < 1e-9, "{} {exact}", covariance[i * d + j]);
            }
        }
    }

    #[test]
    fn any_finite_rows_are_fitted(values in prop::collection::vec(prop_oneof![Just(0f32), Just(1.0), -9f32..9.0, Just(1e6)], 4..60), d in 1usize..5, k in 1usize..6) {
        let rows = &values[..values.len() / d * d];
        prop_assume!(k <= rows.len() / d);
        let scaled: Vec<f32> = rows.iter().map(|v| v.clamp(-16.0, 16.0)).collect();
        let plain = EmOptions { starts: 2, ..EmOptions::default() };
        for options in [plain, EmOptions { rounding: true, target: Target::Within, scales: 4, ..plain }] {
            let fit = fit(&scaled, d, k, &[], &options).unwrap();
            prop_assert!(fit.train.is_finite() && fit.mixture.nll(&vec![1e4; d]).is_finite());
        }
    }
}

#[test]
fn a_known_mixture_is_recovered() {
    let truth = truth();
    let (rows, held_out) = (draws(&truth, 6000, 1), draws(&truth, 6000, 2));
    let fit = fit(&rows, 2, 3, &[], &EmOptions::default()).unwrap();
    assert!(fit.converged);
    let mut order: Vec<usize> = (0..3).collect();
    order.sort_by(|a, b| fit.mixture.weights[*b].total_cmp(&fit.mixture.weights[*a]));
    for (component, found) in order.into_iter().enumerate() {
        assert!((fit.mixture.weights[found] - truth.weights[component]).abs() < 0.02);
        let close = |a: &[f64], b: &[f64], most: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() < most);
        assert!(close(fit.mixture.mean(found), truth.mean(component), 0.08));
        assert!(close(&fit.mixture.covariance(found), &truth.covariance(component), 0.12));
    }
    let loss = truth.mean_log_likelihood(&held_out) - fit.mixture.mean_log_likelihood(&held_out);
    assert!((-0.01..0.01).contains(&loss), "{loss}");
}

#[test]
fn known_scales_are_recovered() {
    let scales = [1.0, 3.0, 9.0].map(|factor| Scale { factor, share: 1.0 / factor });
    let truth = truth().with_scales(&scales).unwrap();
    let (rows, held_out) = (draws(&truth, 8000, 1), draws(&truth, 8000, 2));
    let heavy = fit(&rows, 2, 3, &[], &EmOptions { scales: 4, ..EmOptions::default() }).unwrap();
    let plain = fit(&rows, 2, 3, &[], &EmOptions::default()).unwrap();
    let [loss, of_gaussians] =
        [&heavy, &plain].map(|fit| truth.mean_log_likelihood(&held_out) - fit.mixture.mean_log_likelihood(&held_out));
    assert!((-0.01..0.01).contains(&loss) && of_gaussians > 0.03, "{loss} {of_gaussians}");
}

#[test]
fn the_best_start_is_kept() {
    let (rows, held_out) = (draws(&truth(), 120, 5), draws(&truth(), 400, 6));
    let few = |starts, validation: &[f32]| {
        fit(&rows, 2, 5, validation, &EmOptions { starts, ..EmOptions::default() }).unwrap()
    };
    let train: Vec<f64> = (1..=6).map(|starts| few(starts, &[]).train).collect();
    assert!(train.windows(2).all(|pair| pair[0] <= pair[1]), "{train:?}");
    let validation: Vec<f64> = (1..=6).map(|starts| few(starts, &held_out).validation.unwrap()).collect();
    assert!(validation.windows(2).all(|pair| pair[0] <= pair[1]), "{validation:?}");
    assert!(train[5] > train[0] || validation[5] > validation[0], "starts that all end alike test nothing");
}

#[test]
fn equal_rows_are_one_component_at_the_floor() {
    let fit = fit(&[2.0, -1.0].repeat(50), 2, 4, &[], &EmOptions::default()).unwrap();
    assert_eq!((fit.mixture.components(), fit.mixture.means.as_slice()), (1, [2.0, -1.0].as_slice()));
    // The scatter is nothing; the prior's share is a floor too.
    let variance = fit.mixture.covariance(0)[0];
    assert!((variance - (1e-3 + 1e-4 / 50.1)).abs() < 1e-12, "{variance}");
}

#[test]
fn duplicates_do_not_become_a_component() {
    let mut rows = draws(&truth(), 200, 8);
    rows.extend([0.5, 0.5].repeat(100));
    let fit = fit(&rows, 2, 5, &[], &EmOptions { shrinkage: 0.0, least_rows: 3.0, ..EmOptions::default() }).unwrap();
    for component in 0..fit.mixture.components() {
        let covariance = fit.mixture.covariance(component);
        assert!(covariance[0] + covariance[3] > 3e-3, "{covariance:?}");
    }
}

#[test]
fn collinear_and_constant_columns() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
    let mut value = || (rng.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0;
    let rows: Vec<f32> = (0..200)
        .flat_map(|_| {
            let v = value();
            [v, 2.0 * v, -v, 0.0, value()]
        })
        .collect();
    for k in [1, 3] {
        let mixture = fit(&rows, 5, k, &[], &EmOptions::default()).unwrap().mixture;
        let (along, across, constant) = (
            mixture.nll(&[0.3, 0.6, -0.3, 0.0, 0.1]),
            mixture.nll(&[0.3, 0.0, 0.3, 0.0, 0.1]),
            mixture.nll(&[0.3, 0.6, -0.3, 1.0, 0.1]),
        );
        assert!(across > along + 20.0 && constant > along + 20.0, "{along} {across} {constant}");
    }
}

#[test]
fn fewer_rows_than_columns() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
    let rows: Vec<f32> = (0..6 * 20).map(|_| (rng.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0).collect();
    for k in [1, 2, 6] {
        let fit = fit(&rows, 20, k, &[], &EmOptions::default()).unwrap();
        assert!(fit.train.is_finite() && fit.mixture.components() >= 1);
        assert!(fit.mixture.nll(&[3.0; 20]) > -fit.train);
    }
}

#[test]
fn one_far_outlier_gets_no_component_of_its_own() {
    let mut rows = draws(&truth(), 300, 9);
    rows.extend([300.0, -300.0]);
    let fit = fit(&rows, 2, 4, &[], &EmOptions::default()).unwrap();
    assert!(fit.mixture.weights.iter().all(|w| w * 301.0 > 1.99), "{:?}", fit.mixture.weights);
    // It scores as the outlier that it is.
    assert!(fit.mixture.nll(&[300.0, -300.0]) > -fit.train + 3.0);
}

#[test]
fn what_cannot_be_fitted_is_refused_by_name() {
    let rows = [0.0, 1.0, 2.0, 3.0];
    let with = |edit: fn(&mut EmOptions)| {
        let mut options = EmOptions::default();
        edit(&mut options);
        fit(&rows, 2, 1, &[], &options)
    };
    assert_eq!(fit(&[], 2, 1, &[], &EmOptions::default()).unwrap_err(), EmError::NoRows);
    assert_eq!(fit(&rows, 3, 1, &[], &EmOptions::default()).unwrap_err(), EmError::Shape { values: 4, dim: 3 });
    for k in [0, 3] {
        assert_eq!(
            fit(&rows, 2, k, &[], &EmOptions::default()).unwrap_err(),
            EmError::Components { components: k, rows: 2 }
        );
    }
    let ragged = fit(&[0.0, 1.0, 2.0, f32::INFINITY], 2, 1, &[], &EmOptions::default()).unwrap_err();
    assert_eq!(ragged, EmError::NotFinite { row: 1, column: 1, value: f32::INFINITY });
    assert!(matches!(
        fit(&rows, 2, 1, &[f32::NAN, 0.0], &EmOptions::default()),
        Err(EmError::NotFinite { row: 0, column: 0, .. })
    ));
    for error in [
        with(|o| o.starts = 0),
        with(|o| o.floor = 0.0),
        with(|o| o.shrinkage = -1.0),
        with(|o| o.tolerance = f64::NAN),
        with(|o| o.iterations = 0),
        with(|o| o.least_rows = -1.0),
    ] {
        assert!(matches!(error, Err(EmError::Option { .. })), "{error:?}");
    }
    let low = EmOptions { floor: 1e-30, shrinkage: 0.0, ..EmOptions::default() };
    assert_eq!(fit(&[1.0, 1.0, 2.0, 2.0, 3.0, 3.0], 2, 1, &[], &low).unwrap_err(), EmError::Singular { floor: 1e-30 });
}
