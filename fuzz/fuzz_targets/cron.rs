//! Schedules and windows: cron expressions, time zones, jitter and any time.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rotation::fuzzing::{ScheduleInput, check_cron, check_interval, check_window};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    seconds: u64,
    now: i64,
    last: i64,
    zone: u8,
    seed: u8,
    cron: &'a str,
}

/// Time zones with and without daylight saving time, with unusual offsets, and an unknown one.
const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Mars/Base",
];

fuzz_target!(|input: Input<'_>| {
    let seed = input.seed.to_string();
    let zone = ZONES[usize::from(input.zone) % ZONES.len()];
    let Input { seconds, now, cron: text, .. } = input;
    let schedule = ScheduleInput { cron: text, zone, seconds, now, seed: &seed };
    check_cron(&schedule);
    check_window(&schedule);
    check_interval(seconds.rotate_left(13), input.last, &schedule);
});
