use super::*;
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
