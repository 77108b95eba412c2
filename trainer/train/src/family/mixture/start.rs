//! The initial clusters of EM: k-means++ (Arthur and Vassilvitskii, 2007) and a few steps of Lloyd's algorithm.

use rand_core::Rng;

use super::gaussians::weighted_index;

fn square_distance(x: &[f32], centre: &[f64]) -> f64 {
    x.iter().zip(centre).map(|(x, c)| (f64::from(*x) - c).powi(2)).sum()
}

/// The index of the nearest centre. If several are equally near, the first.
fn nearest(x: &[f32], centres: &[Vec<f64>]) -> usize {
    let mut best = (0, f64::INFINITY);
    for (index, centre) in centres.iter().enumerate() {
        let distance = square_distance(x, centre);
        if distance < best.1 {
            best = (index, distance);
        }
    }
    best.0
}

/// Assigns each of `rows`, `[n, d]`, to a cluster from 0 to `k - 1`. Clusters may be empty, for example if there are
/// fewer than `k` distinct rows.
pub fn clusters<R: Rng + ?Sized>(rows: &[f32], d: usize, k: usize, steps: usize, rng: &mut R) -> Vec<usize> {
    let n = rows.len() / d;
    let row = |i: usize| &rows[i * d..(i + 1) * d];
    let centre = |i: usize| row(i).iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let mut centres = vec![centre(weighted_index(&vec![1.0; n], rng))];
    let mut distances = vec![f64::INFINITY; n];
    while centres.len() < k {
        for (i, distance) in distances.iter_mut().enumerate() {
            *distance = distance.min(square_distance(row(i), &centres[centres.len() - 1]));
        }
        if distances.iter().all(|distance| *distance == 0.0) {
            break;
        }
        centres.push(centre(weighted_index(&distances, rng)));
    }
    let mut labels: Vec<usize> = (0..n).map(|i| nearest(row(i), &centres)).collect();
    for _ in 0..steps {
        for (index, centre) in centres.iter_mut().enumerate() {
            let members: Vec<usize> = (0..n).filter(|i| labels[*i] == index).collect();
            if !members.is_empty() {
                for (column, value) in centre.iter_mut().enumerate() {
                    let sum: f64 = members.iter().map(|i| f64::from(row(*i)[column])).sum();
                    *value = sum / members.len() as f64;
                }
            }
        }
        let moved: Vec<usize> = (0..n).map(|i| nearest(row(i), &centres)).collect();
        if moved == labels {
            break;
        }
        labels = moved;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn separate_groups_are_found() {
        let rows: Vec<f32> =
            (0..90).flat_map(|i| [(i % 3) as f32 * 50.0 + (i % 7) as f32 * 0.1, (i % 5) as f32 * 0.1]).collect();
        for seed in 0..20 {
            let labels = clusters(&rows, 2, 3, 5, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
            assert!((0..90).all(|i| labels[i] == labels[i % 3]), "seed {seed}");
            assert_eq!((0..3).map(|c| labels.iter().filter(|l| **l == c).count()).collect::<Vec<_>>(), [30; 3]);
        }
    }

    #[test]
    fn equal_rows_are_one_cluster() {
        let labels = clusters(&[2.5; 12], 2, 4, 5, &mut Xoshiro256PlusPlus::seed_from_u64(0));
        assert_eq!(labels, [0; 6]);
    }
}
