//! Places at which a test can end the process, as a kill would: before and after each effect.
//!
//! Compiled in with the feature `failpoints` only. Which place is meant, and which time of passing
//! it, stands in the variable `FAILPOINTS` in the notation of the crate `fail`, as in
//! `after-publish=1*off->return`.

/// All places.
pub const FAILPOINTS: [&str; 14] = [
    "before-store-status",
    "after-store-status",
    "before-add-finalizer",
    "after-add-finalizer",
    "before-remove-finalizer",
    "after-remove-finalizer",
    "before-rotate-secret",
    "after-rotate-secret",
    "before-set-secret",
    "after-set-secret",
    "before-publish",
    "after-publish",
    "before-restart",
    "after-restart",
];

/// Ends the process here if a test asks for it.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name, |_| $crate::failpoint::die($name));
    };
}

pub(crate) use failpoint;

/// Ends the process without any cleaning up.
#[cfg(feature = "failpoints")]
pub(crate) fn die(place: &str) -> ! {
    tracing::info!(place, "killed here");
    // An error leaves the process alive, which the test sees.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// Reads `FAILPOINTS`. What it holds lasts until the process ends.
#[cfg(feature = "failpoints")]
pub fn start() {
    std::mem::forget(fail::FailScenario::setup());
}
