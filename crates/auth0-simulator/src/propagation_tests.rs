use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn value(number: usize) -> String {
    format!("value-{number}")
}

/// Returns a secret that changed to the next value at each of the given times (milliseconds,
/// ascending).
fn changed_secret(seed: u64, window: Propagation, times: &[u64]) -> PropagatingSecret {
    let mut secret = PropagatingSecret::new(SecretString::from(value(0)), at(0));
    for (index, time) in times.iter().enumerate() {
        let delays = window.sample(seed, "client", secret.changes());
        secret.change(SecretString::from(value(index + 1)), at(*time), delays);
    }
    secret
}

fn accepted(secret: &PropagatingSecret, count: usize, now: u64) -> Vec<usize> {
    (0..=count).filter(|number| secret.accepts(&value(*number), at(now))).collect()
}

fn window(min: u64, max: u64) -> Propagation {
    Propagation::new(Duration::from_millis(min)..=Duration::from_millis(max)).unwrap()
}

#[test]
fn management_api_shows_the_new_value_immediately() {
    let secret = changed_secret(1, window(1_000, 2_000), &[10]);
    assert_eq!(secret.current().expose_secret(), value(1));
    assert_eq!(accepted(&secret, 1, 10), [0], "authentication still accepts the old value only");
}

#[test]
fn change_without_a_window_takes_effect_immediately() {
    let secret = changed_secret(1, window(0, 0), &[10]);
    assert_eq!(accepted(&secret, 1, 10), [1]);
}

#[test]
fn window_has_old_only_both_and_new_only() {
    let mut seen = [false; 3];
    for seed in 0..50 {
        let secret = changed_secret(seed, Propagation::AUTH0, &[0]);
        for now in (0..30_000).step_by(250) {
            match accepted(&secret, 1, now).as_slice() {
                [0] => seen[0] = true,
                [0, 1] => seen[1] = true,
                [1] => seen[2] = true,
                other => panic!("seed {seed} at {now}: {other:?}"),
            }
        }
    }
    assert_eq!(seen, [true; 3], "old only, both, new only");
}

#[test]
fn sample_depends_only_on_seed_client_and_change() {
    let window = Propagation::AUTH0;
    assert_eq!(window.sample(7, "a", 0), window.sample(7, "a", 0));
    assert_ne!(window.sample(7, "a", 0), window.sample(8, "a", 0));
    assert_ne!(window.sample(7, "a", 0), window.sample(7, "b", 0));
    assert_ne!(window.sample(7, "a", 0), window.sample(7, "a", 1));
}

#[test]
fn accepts_a_value_that_was_restored() {
    let mut secret = PropagatingSecret::new(SecretString::from("a"), at(0));
    let delays = PropagationDelays { new_from: Duration::ZERO, old_until: Duration::ZERO };
    secret.change(SecretString::from("b"), at(1), delays);
    secret.change(SecretString::from("a"), at(2), delays);
    assert!(secret.accepts("a", at(2)));
    assert!(!secret.accepts("b", at(2)));
}

#[test]
fn drops_expired_versions_at_the_next_change() {
    let secret = changed_secret(1, window(0, 10), &[100, 200, 300, 400]);
    assert_eq!(secret.older.len(), 1);
}

#[test]
fn parses_windows_from_text() {
    assert_eq!("0s..30s".parse(), Ok(Propagation::AUTH0));
    assert_eq!("100ms..=2s".parse(), Ok(window(100, 2_000)));
    for (bad, hint) in [
        ("30s", "two durations"),
        ("5s..1s", "shorter duration first"),
        ("0s..2h", "exceeds the maximum"),
        ("0..1", "for example"),
    ] {
        let error = bad.parse::<Propagation>().unwrap_err();
        assert!(error.contains(hint), "{bad}: {error}");
    }
}

proptest! {
    #[test]
    fn accepts_a_value_at_every_instant_and_finally_only_the_last(
        seed: u64,
        (min, max) in (0u64..40).prop_flat_map(|min| (Just(min), min..60)),
        gaps in prop::collection::vec(0u64..80, 1..8),
    ) {
        let times: Vec<u64> = gaps.iter().scan(0, |sum, gap| { *sum += gap; Some(*sum) }).collect();
        let last = *times.last().unwrap();
        // Replay the changes up to each instant, so that later ones don't hide an earlier gap.
        for now in 0..=last + max + 2 {
            let so_far: Vec<u64> = times.iter().copied().filter(|time| *time <= now).collect();
            let secret = changed_secret(seed, window(min, max), &so_far);
            let values = accepted(&secret, so_far.len(), now);
            prop_assert!(!values.is_empty(), "no value is accepted at {}", now);
            let window_is_over = so_far.last().is_none_or(|time| time + max <= now);
            if window_is_over {
                prop_assert_eq!(&values, &[so_far.len()], "at {}", now);
            }
            let propagated = secret.propagated_at(at(now)).is_none();
            prop_assert!(!propagated || values == [so_far.len()], "propagated at {}", now);
        }
    }
}
