//! What the compiler makes of the families' models.

mod families;
mod fold;
mod reference;
mod vae;
