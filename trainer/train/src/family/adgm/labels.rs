//! The choice of the train rows whose labels are used.

use crate::nn::Rng;
use crate::settings::RecipeError;

/// Indices of `count` rows in ascending order, drawn with `seed`. All classes have the same number of rows; if `count`
/// is not a multiple of their number, the first classes have one more. A `count` of 0 means all rows.
///
/// # Errors
/// `Invalid` if there are no labels, if a label is not below `classes`, if `count` is less than the number of classes,
/// or if a class has too few rows.
pub fn choose(labels: Option<&[u32]>, classes: usize, count: usize, seed: u64) -> Result<Vec<usize>, RecipeError> {
    let invalid = |expected: &str, found: String| Err(RecipeError::invalid("labels", expected, found));
    let Some(labels) = labels else {
        return invalid(
            "data with a label for each row; --label-column names the column of the labels",
            "no labels".to_owned(),
        );
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
            let found = format!("{} rows of class {class} where {share} are needed", rows.len());
            return invalid("fewer labels, so that every class has enough train rows", found);
        }
        chosen.extend(rng.permutation(rows.len())[..share].iter().map(|at| rows[*at]));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn labelled_rows_are_balanced_and_drawn_by_the_seed() {
        let labels: Vec<u32> = (0..900).map(|i| (i * i % 7 % 3) as u32).collect();
        let chosen = choose(Some(&labels), 3, 20, 5).unwrap();
        let of = |class: u32| chosen.iter().filter(|row| labels[**row] == class).count();
        assert_eq!(([of(0), of(1), of(2)], chosen.is_sorted()), ([7, 7, 6], true));
        assert_eq!(chosen, choose(Some(&labels), 3, 20, 5).unwrap());
        assert_ne!(chosen, choose(Some(&labels), 3, 20, 6).unwrap());
        assert_eq!(choose(Some(&labels), 3, 0, 5).unwrap(), (0..900).collect::<Vec<_>>());
        let says = |labels: Option<&[u32]>, classes, count, part: &str| {
            let text = choose(labels, classes, count, 0).unwrap_err().of_table("adgm").to_string();
            assert!(text.contains("adgm.labels") && text.contains(part), "{text}");
        };
        says(None, 2, 4, "--label-column");
        says(Some(&[0, 1, 2]), 2, 2, "found 2 of 2 in row 2");
        says(Some(&[0, 2]), 3, 0, "none of class 1");
        says(Some(&[0, 1, 1]), 2, 1, "at least one row of every class");
        says(Some(&[0, 1, 1]), 2, 4, "1 rows of class 0 where 2");
    }
}
