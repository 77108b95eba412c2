//! The largest contributions.

use elbo::Nats;
use elbo_link::{CAUSES, Cause};

/// Chooses the features that contribute most to a score.
#[derive(Debug)]
pub struct Worst;

impl Worst {
    /// The features with the largest contributions above 0, the largest first. Of equal ones the first is preferred.
    pub fn of(nats: &[Nats]) -> [Option<Cause>; CAUSES] {
        let mut worst: [Option<Cause>; CAUSES] = [None; CAUSES];
        for (feature, nats) in nats.iter().enumerate().filter(|(_, nats)| nats.to_bits() > 0) {
            let mut moving = Some(Cause { feature: feature as u16, nats: nats.to_bits() });
            for place in &mut worst {
                let larger = |cause: Cause| place.is_none_or(|other| cause.nats > other.nats);
                if moving.is_some_and(larger) {
                    core::mem::swap(place, &mut moving);
                }
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let nats = [3, -9, 7, 0, 7, 1, 5, 4].map(Nats::from_bits);
        let found = Worst::of(&nats).map(|cause| cause.map(|cause| (cause.feature, cause.nats)));
        assert_eq!(found, [Some((2, 7)), Some((4, 7)), Some((6, 5)), Some((7, 4))]);
        assert_eq!(Worst::of(&nats[1..3]).map(|cause| cause.map(|cause| cause.feature)), [Some(1), None, None, None]);
    }
}
