//! Host trainer and compiler for Elbo: deep generative models, learnt with candle and compiled to verified programs.

pub mod board;
pub mod cli;
pub mod compiler;
pub mod data;
pub mod evaluate;
pub mod family;
pub mod host;
pub mod judge;
pub mod nn;
mod plane;
pub mod plot;
pub mod recipe;
pub mod roc;
pub mod rows;
pub mod run;
pub mod train;
