//! From a recipe to the model that it describes.

use candle_core::{DType, Device};
use elbo_compiler::Likelihood;

use super::{Family, Recipe};
use crate::data::{Kind, Split};
use crate::family::adgm::{self, Adgm, AdgmRecipe, AdgmSpec, Structure};
use crate::family::flow::Flow;
use crate::family::vae::{Parts, Vae, VaeSpec};
use crate::family::wgan::{Wgan, WganSpec};
use crate::layers::conv::Body;
use crate::model::Model;
use crate::settings::{DataShape, RecipeError};

impl Recipe {
    /// The generative model, where the family is one of auxiliary deep generative models.
    pub(super) fn structure(&self) -> Option<Structure> {
        match self.family {
            Family::Adgm => Some(Structure::Adgm),
            Family::Sdgm => Some(Structure::Sdgm),
            Family::Avae => Some(Structure::Avae),
            _ => None,
        }
    }

    /// The options of the families `adgm`, `sdgm` and `avae`, with their defaults.
    #[must_use]
    pub fn adgm(&self) -> AdgmRecipe {
        self.adgm.clone().unwrap_or_default()
    }

    /// Writes out what only the untrained `model` and the rest of the recipe say.
    pub(crate) fn complete(&mut self, model: &dyn Model) {
        self.model.likelihood = Some(model.likelihood());
        if self.family == Family::Dlgm {
            self.dlgm = Some(self.dlgm.take().unwrap_or_default().complete(&self.model));
        }
        if self.family == Family::Flow {
            self.flow.get_or_insert_default();
        }
    }

    /// Indices of the train rows whose labels the family learns from; `None` for one that learns from none.
    ///
    /// # Errors
    /// `Invalid`: labels that are missing, outside the classes, or fewer than asked for.
    pub fn labelled_rows(&self, train: &Split, classes: usize) -> Result<Option<Vec<usize>>, RecipeError> {
        let classified = matches!(self.family, Family::Adgm | Family::Sdgm);
        let choose = || adgm::choose(train.labels.as_deref(), classes, self.adgm().labels, self.data.split_seed);
        classified.then(choose).transpose()
    }

    /// The untrained model for data of this shape, its weights drawn from the recipe's seed.
    ///
    /// # Errors
    /// `Invalid` for what does not fit the data, such as a Bernoulli likelihood of values outside \[0, 1\].
    pub fn model(&self, data: &DataShape) -> Result<Box<dyn Model>, RecipeError> {
        let likelihood = self.model.likelihood.unwrap_or(match data.kind {
            Kind::Image => Likelihood::Bernoulli,
            Kind::Table => Likelihood::Gaussian,
        });
        if likelihood != Likelihood::Gaussian && data.kind == Kind::Table {
            return Err(RecipeError::Invalid {
                field: "model.likelihood",
                expected: "`gaussian` for a table, whose values are standardised",
                found: format!("{likelihood:?}").to_lowercase(),
            });
        }
        if self.model.conditional && data.classes < 2 {
            return Err(RecipeError::Invalid {
                field: "model.conditional",
                expected: "data with labels of two classes or more (a table's with --label-column)",
                found: format!("{} classes", data.classes),
            });
        }
        if self.conv.is_some() && data.kind == Kind::Table {
            return Err(RecipeError::Invalid {
                field: "conv",
                expected: "no table [conv] for a table, whose rows are no images",
                found: format!("rows of {} features", data.dim()),
            });
        }
        let (input, activation) = (data.dim(), self.model.activation);
        let conv = self.conv.clone().map(|conv| (data.shape, conv));
        if self.family == Family::Wgan && self.model.likelihood == Some(Likelihood::Bernoulli) {
            return Err(RecipeError::Invalid {
                field: "model.likelihood",
                expected: "none, or `gaussian`: a WGAN compares rows as they are",
                found: "bernoulli".to_owned(),
            });
        }
        let (hidden, latent, seed) = (self.model.hidden.clone(), self.model.latent, self.train.seed);
        let refuse =
            |field, expected, found: &str| Err(RecipeError::Invalid { field, expected, found: found.to_owned() });
        match self.family {
            Family::Vae => {
                let spec = VaeSpec { input, hidden, latent, activation, likelihood };
                if self.flow.as_ref().is_some_and(|flow| flow.kind.step().is_none()) {
                    return refuse("flow.kind", "`planar` or `radial` for the posterior of a VAE", "couplings");
                }
                let classes = if self.model.conditional { data.classes } else { 0 };
                let parts = Parts { conv, flow: self.flow.as_ref(), classes, free_bits: self.train.free_bits };
                Ok(Box::new(Vae::with_parts(spec, parts, seed, &Device::Cpu, DType::F32)?))
            }
            Family::Flow => {
                let flow = self.flow.clone().unwrap_or_default();
                if data.kind == Kind::Image {
                    let expected = "a table for a flow: pixels are discrete and have no density; a VAE takes images";
                    return refuse("data.spec", expected, &format!("images of {} x {}", data.shape[0], data.shape[1]));
                }
                let coupling = flow.kind.step().is_none();
                if coupling && data.dim() < 2 {
                    let expected = "`planar` or `radial` for a table of one column: a coupling needs two";
                    return refuse("flow.kind", expected, "couplings");
                }
                let nets = (hidden.as_slice(), self.model.activation);
                Ok(Box::new(Flow::new(flow, data.dim(), nets, seed, &Device::Cpu, DType::F32)?))
            }
            Family::Dlgm => {
                let dlgm = self.dlgm.clone().unwrap_or_default();
                Ok(Box::new(dlgm.model(&self.model, data.dim(), likelihood, self.train.seed)?))
            }
            Family::Adgm | Family::Sdgm | Family::Avae => {
                let structure = self.structure().unwrap_or(Structure::Avae);
                if data.classes == 0 && structure != Structure::Avae {
                    return Err(RecipeError::Invalid {
                        field: "family",
                        expected: "`avae` or `vae` for data without labels; --label-column names a table's",
                        found: self.family.name().to_owned(),
                    });
                }
                let (classes, activation, options) = (data.classes, self.model.activation, self.adgm());
                let auxiliary = options.auxiliary;
                let input = data.dim();
                let spec = AdgmSpec { structure, input, classes, hidden, auxiliary, latent, activation, likelihood };
                let place = (&Device::Cpu, DType::F32);
                Ok(Box::new(Adgm::new(spec, options, self.data.split_seed, self.train.seed, place)?))
            }
            Family::Wgan => {
                let body = Body { input, conv, hidden, activation };
                let rules = self.wgan.clone().unwrap_or_default();
                let spec = WganSpec { body, latent, unit: data.kind == Kind::Image, rules };
                Ok(Box::new(Wgan::new(spec, seed, &Device::Cpu, DType::F32)?))
            }
        }
    }
}
