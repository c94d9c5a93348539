//! Windows, in which scheduled rotations may start.

use chrono::{DateTime, Utc};
use rotation::{K8sDuration, Schedule, Window};

use crate::simulation::Simulation;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A rotation is due every day at noon, in a window from 2:00 to 5:00. It is 10:00.
fn windowed() -> Simulation {
    let mut sim = Simulation::imported();
    let schedule = Schedule::new(Some("0 12 * * *"), None, None, None, sim.now).unwrap();
    sim.schedule = Some(schedule);
    sim.windows =
        vec![Window::new("0 2 * * *", None, K8sDuration::from_secs(10_800), sim.now).unwrap()];
    sim.generation += 1;
    sim.settle();
    sim
}

#[test]
fn due_rotation_waits_for_the_next_window() {
    let mut sim = windowed();
    assert_eq!(sim.status.next_rotation_time, Some(at("2026-11-24T02:00:00Z")));
    sim.run_for(16 * 3600 - 60);
    assert_eq!(sim.rotate_calls, 0);
    sim.run_for(120);
    assert_eq!(sim.rotate_calls, 1);
    assert_eq!(sim.status.next_rotation_time, Some(at("2026-11-25T02:00:00Z")));
}

#[test]
fn missed_window_is_followed_by_the_next() {
    let mut sim = windowed();
    sim.now = at("2026-11-24T06:00:00Z");
    sim.settle();
    assert_eq!(sim.rotate_calls, 0);
    assert_eq!(sim.status.next_rotation_time, Some(at("2026-11-25T02:00:00Z")));
    sim.run_for(20 * 3600 + 60);
    assert_eq!(sim.rotate_calls, 1);
}

#[test]
fn request_does_not_wait_for_a_window() {
    let mut sim = windowed();
    sim.request("rotate/now");
    sim.settle();
    assert_eq!(sim.rotate_calls, 1);
}
