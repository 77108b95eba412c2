//! Writes a blob with random weights: `cargo run --example synthetic --features synthetic -- model.elbo [side hidden
//! latent]`.

use elbo_app::synthetic::{Recipe, blob};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut recipe = Recipe::default();
    let (path, sizes) = arguments.split_first().ok_or("where to? synthetic FILE [SIDE HIDDEN LATENT]")?;
    if let [side, hidden, latent] = sizes {
        let side = side.parse()?;
        recipe = Recipe { shape: [side, side], hidden: hidden.parse()?, latent: latent.parse()?, ..recipe };
    }
    std::fs::write(path, blob(&recipe))?;
    Ok(())
}
