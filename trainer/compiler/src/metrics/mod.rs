//! How well scores and alarms find labelled anomalies.
//!
//! [`evaluate`] computes all of it for one detector, with intervals from a [`bootstrap`]. Each metric stands in a module
//! with its definition and its source.
//!
//! There is no point-adjusted F1 here. It counts every row of an event as found if one row alarms, so that a detector with
//! random scores reaches the values of published ones (Kim, Choi, Choi, Lee and Yoon, *Towards a rigorous evaluation of
//! time-series anomaly detection*, AAAI 2022).

pub mod affiliation;
pub mod bootstrap;
mod evaluation;
pub mod events;
pub mod precision_recall;
pub mod ranked;
pub mod roc;
pub mod volume;

pub use affiliation::{Affiliation, affiliation};
pub use evaluation::{Bootstrap, Estimate, Evaluation, Metric, PARTIAL, evaluate};
pub use events::Labelled;
pub use precision_recall::average_precision;
pub use volume::vus_pr;
