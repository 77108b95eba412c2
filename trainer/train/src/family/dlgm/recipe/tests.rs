use super::DlgmRecipe;
use crate::recipe::Recipe;
use crate::run::{resume, train};
use crate::settings::DataShape;
use crate::train::{End, StopAfter};

fn recipe() -> Recipe {
    let mut recipe = Recipe::find("digits").unwrap();
    recipe.switch("dlgm").unwrap();
    recipe
}

#[test]
fn recipes_out_of_range_name_their_field() {
    let broken = |change: fn(&mut DlgmRecipe)| {
        let mut recipe = recipe();
        change(recipe.family.options_as_mut().unwrap());
        let shape = DataShape::of(&recipe.data.load().unwrap());
        recipe.check().and_then(|()| recipe.model(&shape).map(|_| ())).unwrap_err().to_string()
    };
    assert!(broken(|r| r.layers = Some(vec![])).contains("dlgm.layers"));
    assert!(broken(|r| r.layers = Some(vec![4, 0])).contains("dlgm.layers"));
    assert!(broken(|r| r.transition = Some(vec![0])).contains("dlgm.transition"));
    assert!(broken(|r| r.weight_prior = -1.0).contains("dlgm.weight_prior"));
    assert!(broken(|r| r.input_noise = f64::NAN).contains("dlgm.input_noise"));
    assert!(broken(|r| r.input_noise = 0.6).contains("at most 0.5"));
    assert!(broken(|r| r.input_dropout = 1.0).contains("dlgm.input_dropout"));
    let mut vae = recipe();
    vae.switch("vae").unwrap();
    assert!(vae.set("dlgm.layers", "3").unwrap_err().to_string().contains("`dlgm`"));
}

/// Through the training loop, with every kind of noise.
#[test]
fn training_learns_and_resumes_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let mut recipe = recipe();
    recipe.train.steps = 200;
    recipe.train.validate_every = 100;
    recipe.train.validation_draws = 1;
    recipe.train.ema = 0.9;
    let dlgm: &mut DlgmRecipe = recipe.family.options_as_mut().unwrap();
    (dlgm.input_noise, dlgm.input_dropout, dlgm.weight_prior) = (0.01, 0.01, 10.0);
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let outcome = train(&recipe, &whole, &mut ()).unwrap();
    // Fair coins for every pixel are 44 nats.
    assert!(outcome.best_elbo.unwrap() > -34.0, "{outcome:?}");
    let mut half = StopAfter(90);
    assert_eq!(train(&recipe, &parts, &mut half).unwrap().end, End::Interrupted);
    resume(&parts, &mut ()).unwrap();
    let model = |out: &std::path::Path| std::fs::read(out.join("model.safetensors")).unwrap();
    assert!(model(&whole) == model(&parts));
    let written = std::fs::read_to_string(whole.join("recipe.toml")).unwrap();
    assert!(written.contains("layers = [8, 8]") && written.contains("covariance = \"rank1\""), "{written}");
}
