//! The model families, one folder per paper: a loss, and beside it the lowering to the float graph.

pub mod adgm;
pub mod dlgm;
pub mod flow;
pub mod mixture;
pub mod vae;
pub mod wgan;
