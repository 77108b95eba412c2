//! Which rows keep their label.

use crate::nn::Rng;
use crate::settings::RecipeError;

/// Indices of `count` rows, in ascending order: as many of every class as of any other (one more for the first classes
/// where the count is no multiple), drawn by `seed`. A count of 0 stands for every row.
///
/// # Errors
/// `Invalid`: no labels, a label outside the classes, fewer rows than classes asked for, or too few rows of a class.
pub fn choose(labels: Option<&[u32]>, classes: usize, count: usize, seed: u64) -> Result<Vec<usize>, RecipeError> {
    let invalid = |expected: &str, found: String| Err(RecipeError::invalid("labels", expected, found));
    let Some(labels) = labels else {
        return invalid("data with a label for each row; --label-column names their column", "no labels".to_owned());
    };
    let mut of_class = vec![Vec::new(); classes];
    for (row, label) in labels.iter().enumerate() {
        match of_class.get_mut(*label as usize) {
            Some(rows) => rows.push(row),
            None => return invalid("labels below the number of classes", format!("{label} of {classes} in row {row}")),
        }
    }
    if let Some(class) = of_class.iter().position(Vec::is_empty) {
        return invalid("train rows of every class; number the classes from 0", format!("none of class {class}"));
    }
    if count == 0 {
        return Ok((0..labels.len()).collect());
    }
    if count < classes {
        return invalid("0 for all, or at least one row of every class", format!("{count} of {classes} classes"));
    }
    let mut rng = Rng::new(seed);
    let mut chosen = Vec::with_capacity(count);
    for (class, rows) in of_class.iter().enumerate() {
        let share = count / classes + usize::from(class < count % classes);
        if rows.len() < share {
            let found = format!("{} rows of class {class} where {share} are asked for", rows.len());
            return invalid("no more rows of a class than the train rows have", found);
        }
        chosen.extend(rng.permutation(rows.len())[..share].iter().map(|at| rows[*at]));
    }
    chosen.sort_unstable();
    Ok(chosen)
}
