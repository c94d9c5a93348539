//! The namespaces of the storm, and what each gets of the rate limit.

use std::collections::HashMap;

/// Percent of the resources in each namespace.
const SHARES: [(&str, usize); 4] = [("small", 5), ("medium", 15), ("large", 30), ("largest", 50)];

/// Namespaces with their numbers of resources, from the smallest to the largest.
pub(crate) struct Namespaces(Vec<(&'static str, usize)>);

impl Namespaces {
    pub(crate) fn of(resources: usize) -> Self {
        let mut sizes = SHARES.map(|(name, percent)| (name, resources * percent / 100));
        let rest = resources - sizes.iter().map(|(_, size)| size).sum::<usize>();
        sizes[sizes.len() - 1].1 += rest;
        Self(sizes.to_vec())
    }

    pub(crate) fn sizes(&self) -> &[(&'static str, usize)] {
        &self.0
    }

    pub(crate) fn largest(&self) -> &'static str {
        self.0[self.0.len() - 1].0
    }

    /// Prints how many rotations of each namespace are activated, against its fair share of all that are,
    /// and when the last of each was. `activated` has the seconds of the activations by client.
    pub(crate) fn report(&self, activated: &HashMap<String, f64>) {
        let shares = fair_shares(activated.len(), &self.0);
        for ((name, size), share) in self.0.iter().zip(shares) {
            let prefix = format!("{name}-");
            let own = activated.iter().filter(|(client, _)| client.starts_with(&prefix));
            let times: Vec<f64> = own.map(|(_, seconds)| *seconds).collect();
            let last = times.iter().copied().fold(0.0, f64::max);
            println!(
                "  namespace {name}: {} of {size} activated (fair share {share:.0}), the last after \
                 {last:.0} s",
                times.len()
            );
        }
    }
}

/// Divides a number so that no namespace gets more than it has, and none could have more without taking
/// from one that has less.
fn fair_shares(total: usize, sizes: &[(&str, usize)]) -> Vec<f64> {
    let mut left = total as f64;
    let mut waiting = sizes.len();
    // From the smallest to the largest.
    let mut share = |(_, size): &(&str, usize)| {
        let share = (left / waiting as f64).min(*size as f64);
        left -= share;
        waiting -= 1;
        share
    };
    sizes.iter().map(&mut share).collect()
}
