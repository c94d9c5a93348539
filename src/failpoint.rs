//! Failpoints: places before and after each external effect where a test can kill the process.
//!
//! Only compiled with the feature `failpoints`. The variable `FAILPOINTS` selects a failpoint, and
//! on which of its executions to kill, in the notation of the crate `fail`: for example
//! `after-publish=1*off->return`.

/// Names of all failpoints.
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

/// Kills the process here if `FAILPOINTS` selects this failpoint.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name, |_| $crate::failpoint::kill_process($name));
    };
}

pub(crate) use failpoint;

/// Kills the process without any cleanup.
#[cfg(feature = "failpoints")]
pub(crate) fn kill_process(failpoint: &str) -> ! {
    tracing::info!(failpoint, "killing the process");
    // If this fails, the process stays alive, and the test notices that.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// Configures the failpoints from `FAILPOINTS`, until the process exits.
#[cfg(feature = "failpoints")]
pub fn init() {
    std::mem::forget(fail::FailScenario::setup());
}
