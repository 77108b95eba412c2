use candle_core::{Device, Tensor};

use super::{Classifier, JudgeError, Judgement};
use crate::data::{DataOptions, Dataset, load};
use crate::nn::Rng;

fn digits() -> Dataset {
    load("digits", None, &DataOptions::default()).unwrap()
}

fn trained(dataset: &Dataset, steps: u64) -> Classifier {
    let mut classifier = Classifier::new(dataset.shape, dataset.classes(), 1).unwrap();
    classifier.train(&dataset.train, steps, 2, |_, _| {}).unwrap();
    classifier
}

#[test]
fn real_digits_are_told_from_noise_and_from_a_collapsed_generator() {
    let dataset = digits();
    let classifier = trained(&dataset, 500);
    let real = Judgement::of(&dataset.test.x, &dataset, &classifier).unwrap();
    assert!(real.accuracy > 0.85, "{real}");
    assert!(real.frechet.abs() < 1e-3 && real.total_variation() < 0.05, "{real}");
    let noise: Vec<f32> = {
        let mut rng = Rng::new(3);
        (0..300 * 64).map(|_| rng.unit() as f32).collect()
    };
    let noise = Judgement::of(&noise, &dataset, &classifier).unwrap();
    assert!(noise.frechet > 2.0 * real.real_frechet, "{noise}");
    // One digit over and over.
    let collapsed = dataset.test.row(0).repeat(100);
    let collapsed = Judgement::of(&collapsed, &dataset, &classifier).unwrap();
    assert!((collapsed.total_variation() - 0.9).abs() < 1e-9, "{collapsed}");
    assert!(collapsed.to_string().contains("0.9000 from uniform"), "{collapsed}");
}

#[test]
fn the_loss_is_a_cross_entropy_with_the_gradients_of_one() {
    let dataset = digits();
    let classifier = Classifier::new(dataset.shape, 10, 1).unwrap();
    let x = Tensor::from_slice(&dataset.train.x[..8 * 64], (8, 64), &Device::Cpu).unwrap();
    let labels = &dataset.train.labels.as_ref().unwrap()[..8];
    let loss = classifier.loss(&x, labels).unwrap();
    let logits = classifier.logits(&x).unwrap().1.to_vec2::<f32>().unwrap();
    let expected = logits.iter().zip(labels).map(|(row, label)| {
        let sum: f64 = row.iter().map(|l| f64::from(*l).exp()).sum();
        (sum.ln() - f64::from(row[*label as usize])) / 8.0
    });
    let expected: f64 = expected.sum();
    assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - expected).abs() < 1e-5);
    let grads = loss.backward().unwrap();
    for (name, var) in classifier.params.vars() {
        let size = grads.get(var).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(size > 0.0, "{name}");
    }
    assert!(classifier.loss(&x, &[10; 8]).is_err());
}

#[test]
fn a_kept_classifier_is_read_back_and_a_broken_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut dataset = digits();
    dataset.test.n = 20;
    dataset.test.x.truncate(20 * 64);
    let path = Classifier::file(dir.path(), &dataset);
    std::fs::write(&path, b"no tensors").unwrap();
    let error = Classifier::load_or_train(&dataset, dir.path(), |_, _| {}).err().unwrap();
    assert!(error.to_string().contains("remove it"), "{error}");
    let mut unlabelled = digits();
    for split in [&mut unlabelled.train, &mut unlabelled.validation, &mut unlabelled.test] {
        split.labels = None;
    }
    assert!(matches!(Classifier::load_or_train(&unlabelled, dir.path(), |_, _| {}), Err(JudgeError::Data(_))));
    let classifier = Classifier::new(dataset.shape, 10, 1).unwrap();
    assert!(matches!(Judgement::of(&dataset.test.x[..64], &dataset, &classifier), Err(JudgeError::Few(1))));
    assert!(classifier.verdicts(&[0.0; 65]).is_err());
}

/// Minutes: `ELBO_DATA=FOLDER cargo test -p elbo-trainer --lib judge -- --ignored`.
#[test]
#[ignore = "trains on MNIST for some minutes; needs ELBO_DATA"]
fn the_judge_of_mnist_is_right_99_times_of_100() {
    if std::env::var_os("ELBO_DATA").is_none() {
        eprintln!("skipped: ELBO_DATA does not name a folder with MNIST");
        return;
    }
    let dataset = load("mnist", None, &DataOptions::default()).unwrap();
    let accuracy = trained(&dataset, super::STEPS).accuracy(&dataset.test).unwrap();
    assert!(accuracy >= 0.99, "{accuracy}");
}
