//! Judging generated images with a classifier of real images. The judgement states whether all classes occur equally
//! often, how confident the classifier is, and how far the features of the generated images are from those of real
//! images.

mod classifier;
pub mod frechet;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use classifier::{Classifier, FEATURES, STEPS, Verdicts};
use frechet::Gaussian;

use crate::data::Dataset;

/// Why images cannot be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    /// The data set has no images, or labels of fewer than two classes.
    #[error("images cannot be judged by the data set `{0}`: expected images with labels of at least two classes")]
    Data(String),
    /// The file of the classifier cannot be read or written.
    #[error("{}: {source}; name a folder for the classifier that can be written", path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file does not contain a classifier of these data.
    #[error("{}: not a classifier of these data: {reason}; remove it, so that another is trained", path.display())]
    Content {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// There are fewer than two images.
    #[error("{0} images to judge; expected at least 2")]
    Few(usize),
    /// The tensor library reports an error.
    #[error("the classifier failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// The statistics of a set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Number of images.
    pub count: usize,
    /// Accuracy of the classifier on the test rows.
    pub accuracy: f64,
    /// Share of the images that the classifier puts into each class.
    pub histogram: Vec<f64>,
    /// Mean probability of the class that the classifier puts an image into.
    pub confidence: f64,
    /// The same mean for the test rows.
    pub real_confidence: f64,
    /// Frechet distance between the features of the images and those of the test rows.
    pub frechet: f64,
    /// Frechet distance between as many train rows as there are test rows and the test rows. It shows what real images
    /// reach.
    pub real_frechet: f64,
}

impl Judgement {
    /// Judges images `[n, d]` in comparison with those of `dataset`.
    ///
    /// # Errors
    /// `Few`, or any error of candle.
    pub fn of(images: &[f32], dataset: &Dataset, classifier: &Classifier) -> Result<Self, JudgeError> {
        let count = images.len() / dataset.dim;
        for n in [count, dataset.test.n, dataset.train.n] {
            if n < 2 {
                return Err(JudgeError::Few(n));
            }
        }
        let drawn = classifier.verdicts(images)?;
        let test = classifier.verdicts(&dataset.test.x)?;
        let rows = dataset.train.n.min(dataset.test.n);
        let train = classifier.verdicts(&dataset.train.x[..rows * dataset.dim])?;
        let mut histogram = vec![0.0; dataset.classes()];
        drawn.classes.iter().for_each(|class| histogram[*class] += 1.0 / count as f64);
        let fit = |verdicts: &Verdicts| Gaussian::fit(&verdicts.features, FEATURES);
        let real = fit(&test);
        let confidence =
            |v: &Verdicts| v.confidences.iter().map(|c| f64::from(*c)).sum::<f64>() / v.confidences.len() as f64;
        Ok(Self {
            count,
            accuracy: classifier.accuracy(&dataset.test)?,
            histogram,
            confidence: confidence(&drawn),
            real_confidence: confidence(&test),
            frechet: fit(&drawn).distance(&real),
            real_frechet: fit(&train).distance(&real),
        })
    }

    /// Total variation distance between the shares of the classes and a uniform distribution, in \[0, 1\].
    #[must_use]
    pub fn total_variation(&self) -> f64 {
        let even = 1.0 / self.histogram.len() as f64;
        self.histogram.iter().map(|share| (share - even).abs()).sum::<f64>() / 2.0
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares: Vec<String> = self.histogram.iter().map(|share| format!("{:.1}", share * 100.0)).collect();
        writeln!(f, "classifier        {:.2} % of the test rows right", self.accuracy * 100.0)?;
        writeln!(f, "classes           {} % of {} images", shares.join(" "), self.count)?;
        writeln!(f, "total variation   {:.4} from uniform", self.total_variation())?;
        writeln!(f, "confidence        {:.4}, of test rows {:.4}", self.confidence, self.real_confidence)?;
        write!(f, "Frechet distance  {:.3} to test rows, of train rows {:.3}", self.frechet, self.real_frechet)
    }
}
