use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn name(number: usize) -> String {
    format!("value-{number}")
}

/// Changes at the given times (milliseconds, ascending), each to the next value.
fn changed(seed: u64, window: Propagation, times: &[u64]) -> Credential {
    let mut credential = Credential::new(SecretString::from(name(0)), at(0));
    for (index, time) in times.iter().enumerate() {
        let moments = window.draw(seed, "client", credential.changes());
        credential.change(SecretString::from(name(index + 1)), at(*time), moments);
    }
    credential
}

fn accepted(credential: &Credential, count: usize, now: u64) -> Vec<usize> {
    (0..=count).filter(|number| credential.accepts(&name(*number), at(now))).collect()
}

fn window(min: u64, max: u64) -> Propagation {
    Propagation::new(Duration::from_millis(min)..=Duration::from_millis(max)).unwrap()
}

#[test]
fn management_shows_the_new_value_at_once() {
    let credential = changed(1, window(1_000, 2_000), &[10]);
    assert_eq!(credential.current().expose_secret(), name(1));
    assert_eq!(accepted(&credential, 1, 10), [0], "authentication lags behind");
}

#[test]
fn without_a_window_a_change_is_immediate_and_exclusive() {
    let credential = changed(1, window(0, 0), &[10]);
    assert_eq!(accepted(&credential, 1, 10), [1]);
}

#[test]
fn all_three_answers_occur_within_the_window() {
    let mut seen = [false; 3];
    for seed in 0..50 {
        let credential = changed(seed, Propagation::AUTH0, &[0]);
        for now in (0..30_000).step_by(250) {
            match accepted(&credential, 1, now).as_slice() {
                [0] => seen[0] = true,
                [0, 1] => seen[1] = true,
                [1] => seen[2] = true,
                other => panic!("seed {seed} at {now}: {other:?}"),
            }
        }
    }
    assert_eq!(seen, [true; 3], "only old, both, only new");
}

#[test]
fn a_draw_depends_on_seed_client_and_change_alone() {
    let window = Propagation::AUTH0;
    assert_eq!(window.draw(7, "a", 0), window.draw(7, "a", 0));
    assert_ne!(window.draw(7, "a", 0), window.draw(8, "a", 0));
    assert_ne!(window.draw(7, "a", 0), window.draw(7, "b", 0));
    assert_ne!(window.draw(7, "a", 0), window.draw(7, "a", 1));
}

#[test]
fn a_value_that_comes_back_is_accepted_again() {
    let mut credential = Credential::new(SecretString::from("a"), at(0));
    let moments = Moments { new_from: Duration::ZERO, old_until: Duration::ZERO };
    credential.change(SecretString::from("b"), at(1), moments);
    credential.change(SecretString::from("a"), at(2), moments);
    assert!(credential.accepts("a", at(2)));
    assert!(!credential.accepts("b", at(2)));
}

#[test]
fn ended_versions_are_dropped_at_the_next_change() {
    let credential = changed(1, window(0, 10), &[100, 200, 300, 400]);
    assert_eq!(credential.older.len(), 1);
}

#[test]
fn windows_are_read_from_text() {
    assert_eq!("0s..30s".parse(), Ok(Propagation::AUTH0));
    assert_eq!("100ms..=2s".parse(), Ok(window(100, 2_000)));
    for (bad, hint) in [
        ("30s", "two lengths"),
        ("5s..1s", "shorter time first"),
        ("0s..2h", "longer than"),
        ("0..1", "for example"),
    ] {
        let error = bad.parse::<Propagation>().unwrap_err();
        assert!(error.contains(hint), "{bad}: {error}");
    }
}

proptest! {
    #[test]
    fn at_every_instant_a_value_is_accepted_and_afterwards_only_the_last(
        seed: u64,
        (min, max) in (0u64..40).prop_flat_map(|min| (Just(min), min..60)),
        gaps in prop::collection::vec(0u64..80, 1..8),
    ) {
        let times: Vec<u64> = gaps.iter().scan(0, |sum, gap| { *sum += gap; Some(*sum) }).collect();
        let last = *times.last().unwrap();
        // Replay up to each instant, so that later changes don't hide what was true before them.
        for now in 0..=last + max + 2 {
            let so_far: Vec<u64> = times.iter().copied().filter(|time| *time <= now).collect();
            let credential = changed(seed, window(min, max), &so_far);
            let values = accepted(&credential, so_far.len(), now);
            prop_assert!(!values.is_empty(), "nothing accepted at {}", now);
            let quiet = so_far.last().is_none_or(|time| time + max <= now);
            if quiet {
                prop_assert_eq!(&values, &[so_far.len()], "at {}", now);
            }
            let settled = credential.settles_at(at(now)).is_none();
            prop_assert!(!settled || values == [so_far.len()], "settled at {}", now);
        }
    }
}
