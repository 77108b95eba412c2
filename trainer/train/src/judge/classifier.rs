//! A small convolutional classifier of labelled images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor, bail};

use super::JudgeError;
use crate::arrays::{arrays_from_bytes, arrays_to_bytes};
use crate::data::{Dataset, Split};
use crate::files::write_atomic;
use crate::layers::Params;
use crate::layers::conv::{Body, ConvRecipe, Layer, Stack};
use crate::nn::{self, Activation, Adam, AdamParams, Rng};

/// Width of the last hidden layer, whose activations are the features of an image.
pub const FEATURES: usize = 128;
/// Largest number of steps of a training.
pub const STEPS: u64 = 4000;
/// Number of rows in a batch.
const BATCH: usize = 100;
/// Number of images that are classified at once.
const ROWS: usize = 500;

/// A classifier with two convolutions (32 and 64 channels, kernels of 5 by 5, stride 2), [`FEATURES`] rectified
/// features and a softmax.
pub struct Classifier {
    pub(super) params: Params,
    body: Stack,
    head: Layer,
    shape: [usize; 2],
    classes: usize,
}

/// The output of a classifier for a set of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdicts {
    /// The features, `[n, FEATURES]`.
    pub features: Vec<f32>,
    /// The most probable class of each image.
    pub classes: Vec<usize>,
    /// The probability of this class.
    pub confidences: Vec<f32>,
}

impl Classifier {
    /// An untrained classifier for images of `shape`.
    ///
    /// # Errors
    /// An image that is too small, no class, or an error of candle.
    pub fn new(shape: [usize; 2], classes: usize, seed: u64) -> Result<Self> {
        let mut params = Params::new(seed, &Device::Cpu, DType::F32)?;
        let conv = ConvRecipe { channels: vec![32, 64], kernel: 5, stride: 2 };
        let input = shape[0] * shape[1];
        let body = Body { input, conv: Some((shape, conv)), hidden: vec![FEATURES], activation: Activation::Relu };
        let body = body.encoder(&mut params, "body")?;
        let head = params.dense("head", FEATURES, classes)?.into();
        Ok(Self { params, body, head, shape, classes })
    }

    pub(super) fn logits(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let features = self.body.apply(&self.params, x)?;
        let logits = self.head.apply(&self.params, &features, Activation::Identity)?;
        Ok((features, logits))
    }

    /// Mean cross-entropy in nats, a scalar, for rows `x [b, d]` with a label each.
    ///
    /// # Errors
    /// Shapes that do not match, or a label that is not below the number of classes.
    pub fn loss(&self, x: &Tensor, labels: &[u32]) -> Result<Tensor> {
        let mut hot = vec![0.0f32; labels.len() * self.classes];
        for (row, &label) in hot.chunks_exact_mut(self.classes).zip(labels) {
            match row.get_mut(label as usize) {
                Some(slot) => *slot = 1.0,
                None => bail!("label {label}: expected a label below {}, the number of classes", self.classes),
            }
        }
        let hot = Tensor::from_vec(hot, (labels.len(), self.classes), x.device())?;
        let logits = nn::log_softmax(&self.logits(x)?.1)?;
        logits.mul(&hot)?.sum(1)?.mean_all()?.neg()
    }

    /// Trains with Adam for `steps` steps. Every image is shifted at random by up to a fourteenth of its side, rounded
    /// down. `watch` receives the step and the loss every hundred steps.
    ///
    /// # Errors
    /// Rows without labels, or an error of candle.
    pub fn train(&mut self, rows: &Split, steps: u64, seed: u64, watch: impl Fn(u64, f64)) -> Result<()> {
        let Some(labels) = &rows.labels else { bail!("a classifier needs labels, but these rows have none") };
        let mut adam = Adam::new(self.params.vars(), AdamParams::default())?;
        let mut rng = Rng::new(seed);
        let mut order: Vec<usize> = Vec::new();
        for step in 0..steps {
            if order.len() < BATCH.min(rows.n) {
                order = rng.permutation(rows.n);
            }
            let chosen = order.split_off(order.len() - BATCH.min(rows.n));
            let x: Vec<f32> = chosen.iter().flat_map(|row| self.shifted(rows.row(*row), &mut rng)).collect();
            let x = Tensor::from_vec(x, (chosen.len(), self.shape[0] * self.shape[1]), &Device::Cpu)?;
            let labels: Vec<u32> = chosen.iter().map(|row| labels[*row]).collect();
            let rate = 1e-3 * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
            let loss = self.loss(&x, &labels)?;
            adam.step(&loss.backward()?, rate)?;
            if (step + 1) % 100 == 0 {
                watch(step + 1, f64::from(loss.to_scalar::<f32>()?));
            }
        }
        Ok(())
    }

    /// A copy of the image, shifted at random. Pixels that enter at an edge are black.
    fn shifted(&self, image: &[f32], rng: &mut Rng) -> Vec<f32> {
        let [height, width] = self.shape;
        let mut by = |side: usize| rng.below(2 * (side / 14) + 1) as isize - (side / 14) as isize;
        let (down, right) = (by(height), by(width));
        let pixel = |at: usize| {
            let (y, x) = ((at / width) as isize - down, (at % width) as isize - right);
            let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
            if inside { image[y as usize * width + x as usize] } else { 0.0 }
        };
        (0..image.len()).map(pixel).collect()
    }

    /// Classifies images `[n, d]`.
    ///
    /// # Errors
    /// Images of another size, or an error of candle.
    pub fn verdicts(&self, images: &[f32]) -> Result<Verdicts> {
        let d = self.shape[0] * self.shape[1];
        if !images.len().is_multiple_of(d) {
            bail!("expected images of {} by {} pixels, found {} values", self.shape[0], self.shape[1], images.len());
        }
        let mut verdicts = Verdicts::default();
        for x in images.chunks(ROWS * d) {
            let (features, logits) = self.logits(&Tensor::from_slice(x, (x.len() / d, d), &Device::Cpu)?)?;
            verdicts.features.extend(features.flatten_all()?.to_vec1::<f32>()?);
            for row in nn::log_softmax(&logits)?.exp()?.to_vec2::<f32>()? {
                let best = row.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
                let (class, confidence) = best.unwrap_or_default();
                verdicts.classes.push(class);
                verdicts.confidences.push(confidence);
            }
        }
        Ok(verdicts)
    }

    /// Share of the rows that are classified correctly.
    ///
    /// # Errors
    /// Rows without labels, or an error of candle.
    pub fn accuracy(&self, rows: &Split) -> Result<f64> {
        let Some(labels) = &rows.labels else { bail!("the accuracy needs labels, but these rows have none") };
        let verdicts = self.verdicts(&rows.x)?;
        let right = verdicts.classes.iter().zip(labels).filter(|(class, label)| **class == **label as usize);
        Ok(right.count() as f64 / rows.n.max(1) as f64)
    }

    /// The path at which a folder stores the classifier of a data set.
    #[must_use]
    pub fn file(folder: &Path, dataset: &Dataset) -> PathBuf {
        folder.join(format!("judge-{}-{:08x}.safetensors", dataset.name, dataset.crc32))
    }

    /// Reads the classifier of a data set from a folder. If the folder has none, trains one and saves it there; `watch`
    /// then receives the step and the loss.
    ///
    /// # Errors
    /// Data without images or labels, a folder that cannot be written, or a file that is not a classifier of these
    /// data.
    pub fn load_or_train(
        dataset: &Dataset,
        folder: &Path,
        watch: impl Fn(u64, f64),
    ) -> std::result::Result<Self, JudgeError> {
        if dataset.classes() < 2 || dataset.kind != crate::data::Kind::Image {
            return Err(JudgeError::Data(dataset.name.clone()));
        }
        let path = Self::file(folder, dataset);
        let mut classifier = Self::new(dataset.shape, dataset.classes(), 0)?;
        if path.exists() {
            let content = |reason| JudgeError::Content { path: path.clone(), reason };
            let bytes = std::fs::read(&path).map_err(|source| JudgeError::Io { path: path.clone(), source })?;
            let (arrays, _) = arrays_from_bytes(&bytes).map_err(content)?;
            let tensors = arrays
                .iter()
                .map(|(name, (shape, v))| Ok((name.clone(), Tensor::from_slice(v, shape.as_slice(), &Device::Cpu)?)));
            let tensors = tensors.collect::<Result<HashMap<_, _>>>()?;
            classifier.params.load(&tensors).map_err(|e| content(e.to_string()))?;
            return Ok(classifier);
        }
        classifier.train(&dataset.train, STEPS, 0, watch)?;
        let arrays = classifier.params.save()?.into_iter().map(|(name, t)| {
            let shape = t.dims().to_vec();
            Ok((name, (shape, t.flatten_all()?.to_vec1()?)))
        });
        let arrays = arrays.collect::<Result<_>>()?;
        let content = |reason| JudgeError::Content { path: path.clone(), reason };
        let bytes = arrays_to_bytes(&arrays, HashMap::new()).map_err(content)?;
        let written = std::fs::create_dir_all(folder).and_then(|()| write_atomic(&path, &bytes));
        written.map_err(|source| JudgeError::Io { path: path.clone(), source })?;
        Ok(classifier)
    }
}
