//! Host trainer and compiler for Elbo: deep generative models, learnt with candle and compiled to verified programs.

pub mod family;
pub mod nn;
