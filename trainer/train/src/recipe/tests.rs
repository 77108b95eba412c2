use super::*;
use crate::fields::{Kind, value_text};
use crate::settings::Schedule;

#[test]
fn built_in_recipes_parse_and_survive_being_written() {
    for (name, _) in built_in() {
        let recipe = Recipe::find(name).unwrap();
        assert_eq!(recipe.name, name);
        let text = toml::to_string(&recipe).unwrap();
        assert_eq!(Recipe::parse("again", &text).unwrap(), recipe);
    }
}

#[test]
fn a_misspelt_field_is_refused_by_name() {
    let text = "name = 'x'\n[data]\nspec = 'digits'\n[train]\nbatchsize = 3\n";
    let error = Recipe::parse("x.toml", text).unwrap_err().to_string();
    assert!(error.contains("batchsize") && error.contains("x.toml"), "{error}");
}

#[test]
fn values_out_of_range_name_their_field() {
    let mut recipe = Recipe::for_data("digits");
    recipe.check().unwrap();
    recipe.train.batch = 0;
    assert!(recipe.check().unwrap_err().to_string().contains("train.batch"));
    recipe.train.batch = 1;
    recipe.train.learning_rate = f64::NAN;
    assert!(recipe.check().unwrap_err().to_string().contains("train.learning_rate"));
}

#[test]
fn the_cosine_falls_from_the_rate_to_zero_and_warm_up_rises_to_beta() {
    let train = TrainRecipe { steps: 100, kl_warmup_steps: 10, beta: 2.0, ..TrainRecipe::default() };
    assert_eq!(train.rate(0), train.learning_rate);
    assert!((train.rate(50) / train.learning_rate - 0.5).abs() < 1e-12 && train.rate(99) < 1e-6);
    assert_eq!((train.beta_at(0), train.beta_at(9), train.beta_at(10)), (0.2, 2.0, 2.0));
}

#[test]
fn the_step_schedule_falls_by_its_factor() {
    let schedule = Schedule::Step;
    let train = TrainRecipe { schedule, learning_rate: 1.0, decay: 0.75, decay_steps: 10, ..TrainRecipe::default() };
    assert_eq!([0, 9, 10, 19, 20].map(|step| train.rate(step)), [1.0, 1.0, 0.75, 0.75, 0.5625]);
    assert_eq!(train.rate(u64::MAX), 0.0);
    let mut recipe = Recipe::for_data("digits");
    recipe.train.decay = 1.5;
    assert!(recipe.check().unwrap_err().to_string().contains("train.decay"));
    (recipe.train.decay, recipe.train.decay_steps) = (0.5, 0);
    assert!(recipe.check().unwrap_err().to_string().contains("train.decay_steps"));
}

#[test]
fn names_come_from_the_file() {
    assert_eq!(Recipe::for_data("some/folder/cardio.csv.gz").name, "cardio");
}

/// The default of every field of every family can be parsed from its text, and so can every word of a choice.
#[test]
fn every_field_says_what_it_is_for_and_takes_what_it_says() {
    for entry in family::ALL {
        let recipe = Recipe::for_family(entry.name, "").unwrap();
        assert!(recipe.table().unwrap().contains_key(entry.name), "the table of {} has its name", entry.name);
        for field in table::fields(entry) {
            assert!(
                field.description.ends_with('.') && field.description.len() > 10,
                "{}: {}",
                field.key,
                field.description
            );
            let mut same = recipe.clone();
            if let Some(default) = table::get(&recipe.table().unwrap(), &field.key) {
                same.set(&field.key, &value_text(default)).unwrap();
                assert_eq!(same, recipe, "{}", field.key);
            }
            if let Kind::Choice(choices) = &field.kind {
                for choice in choices {
                    recipe.clone().set(&field.key, &value_text(choice)).unwrap();
                }
            }
        }
        for flag in entry.flags {
            let key = format!("{}.{}", entry.name, flag.field);
            assert!(table::fields(entry).iter().any(|field| field.key == key), "--{} sets {key}", flag.name);
        }
    }
}

#[test]
fn another_family_keeps_what_both_have() {
    let mut recipe = Recipe::find("mnist").unwrap();
    recipe.set("vae.conv.channels", "4,8").unwrap();
    recipe.switch("wgan").unwrap();
    let wgan = recipe.family.options_as::<crate::family::wgan::WganRecipe>().unwrap();
    assert_eq!((wgan.hidden.as_slice(), wgan.latent), (&[256][..], 32));
    assert_eq!(wgan.conv.as_ref().unwrap().channels, [4, 8]);
    assert_eq!((recipe.name.as_str(), recipe.train.steps), ("mnist-wgan", 24_000));
    recipe.switch("dlgm").unwrap();
    assert_eq!(recipe.family.name(), "dlgm");
    recipe.check().unwrap();
}

#[test]
fn what_a_file_does_not_say_is_as_its_family_has_it() {
    let text = "name = 'x'\nfamily = 'wgan'\n[data]\nspec = 'digits'\n[wgan]\nconv = {}\n";
    let recipe = Recipe::parse("x.toml", text).unwrap();
    assert_eq!(recipe.train, Recipe::for_family("wgan", "digits").unwrap().train);
    let conv = &recipe.family.options_as::<crate::family::wgan::WganRecipe>().unwrap().conv;
    assert_eq!(conv.as_ref(), Some(&crate::layers::conv::ConvRecipe::default()));
}
