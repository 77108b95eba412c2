use super::AdgmRecipe;
use crate::data::Kind;
use crate::recipe::Recipe;
use crate::run::{Run, resume, train};
use crate::settings::DataShape;
use crate::testing::values;
use crate::train::StopAfter;

fn recipe(family: &str, data: &str, steps: u64) -> Recipe {
    let mut recipe = Recipe::for_family(family, data).unwrap();
    recipe.set(&format!("{family}.hidden"), "24").unwrap();
    recipe.train.steps = steps;
    recipe.train.validate_every = steps;
    recipe.train.checkpoint_every = steps;
    recipe.train.validation_draws = 1;
    recipe
}

#[test]
fn data_that_do_not_fit_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let says = |name: &str, text: &str, family, labels, parts: &[&str]| {
        let (file, out) = (dir.path().join(name), dir.path().join("run"));
        std::fs::write(&file, text).unwrap();
        let mut recipe = recipe(family, file.to_str().unwrap(), 1);
        recipe.family.options_as_mut::<AdgmRecipe>().unwrap().labels = labels;
        let error = train(&recipe, &out, &mut ()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && !out.exists(), "{error}");
    };
    let rows = |label: fn(usize) -> usize| (0..40).map(|i| format!("{i},{}\n", label(i))).collect::<String>();
    says("a.csv", &format!("a,b\n{}", rows(|i| i)), "adgm", 0, &["family", "adgm", "--label-column"]);
    says("b.csv", &format!("a,label\n{}", rows(|i| 2 * (i % 2))), "sdgm", 0, &["none of class 1"]);
    says("c.csv", &format!("a,label\n{}", rows(|i| i % 2)), "sdgm", 60, &["rows of class", "30"]);
    says("d.csv", &format!("a,label\n{}", rows(|i| i % 2)), "adgm", 1, &["at least one row of every class"]);
}

#[test]
fn options_out_of_range_name_their_field() {
    let mut recipe = Recipe::find("moons-adgm").unwrap();
    let says = |recipe: &Recipe, field: &str| {
        let error = recipe.check().unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    };
    let options = recipe.family.options_as::<AdgmRecipe>().unwrap().clone();
    for (field, wrong) in [
        ("adgm.auxiliary", AdgmRecipe { auxiliary: 0, ..options.clone() }),
        ("adgm.labelled_batch", AdgmRecipe { labelled_batch: 0, ..options.clone() }),
        ("adgm.samples", AdgmRecipe { samples: 0, ..options.clone() }),
        ("adgm.alpha", AdgmRecipe { alpha: f64::NAN, ..options.clone() }),
    ] {
        *recipe.family.options_as_mut().unwrap() = wrong;
        says(&recipe, field);
    }
    *recipe.family.options_as_mut().unwrap() = options;
    recipe.family.options_as_mut::<AdgmRecipe>().unwrap().model.hidden.clear();
    says(&recipe, "adgm.hidden");
}

#[test]
fn the_small_recipe_fits_200_kilobytes_of_flash() {
    let recipe = Recipe::find("adgm-mnist-small").unwrap();
    let model = recipe.model(&DataShape { shape: [28, 28], kind: Kind::Image, classes: 10 }).unwrap();
    let weights: usize = model.params().vars().iter().map(|(_, var)| var.elem_count()).sum();
    assert!((150_000..200_000).contains(&weights), "{weights}");
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let dir = tempfile::tempdir().unwrap();
    for family in ["adgm", "sdgm", "avae"] {
        let mut recipe = recipe(family, "digits", 6);
        // Fewer a step than there are: rows are drawn.
        if let Some(options) = recipe.family.options_as_mut::<AdgmRecipe>() {
            (options.labels, options.labelled_batch) = (30, 20);
        }
        let [whole, parts] = ["whole", "parts"].map(|name| dir.path().join(format!("{name}-{family}")));
        train(&recipe, &whole, &mut ()).unwrap();
        train(&recipe, &parts, &mut StopAfter(3)).unwrap();
        resume(&parts, &mut ()).unwrap();
        let weights = |out| Run::open(out).unwrap().model().unwrap().params().save().unwrap();
        let (a, b) = (weights(&whole), weights(&parts));
        assert!(a.iter().all(|(name, t)| values(t) == values(&b[name])), "{family}");
    }
}

/// The other labels matter too: far better than what 20 labels alone would give by chance.
#[test]
fn training_learns_classes_from_few_labels() {
    let dir = tempfile::tempdir().unwrap();
    for family in ["adgm", "sdgm"] {
        let out = dir.path().join(family);
        let mut recipe = recipe(family, "digits", 400);
        recipe.train.learning_rate = 3e-3;
        recipe.train.ema = 0.9;
        recipe.family.options_as_mut::<AdgmRecipe>().unwrap().labels = 50;
        let bound = train(&recipe, &out, &mut ()).unwrap().best_elbo.unwrap();
        let run = Run::open(&out).unwrap();
        let (model, data) = (run.model().unwrap(), run.dataset().unwrap());
        let seen = run.recipe.labelled_rows(&data.train, 10).unwrap().unwrap();
        let error = crate::evaluate::error_rate(&*model, &data.train, &seen, 10, 0).unwrap().unwrap();
        assert_eq!(error.rows, data.train.n - 50);
        assert!(error.rate() < 0.3 && bound > -32.0, "{family:?}: {} {bound}", error.rate());
    }
}
