//! Progress of a build, which takes minutes.

use std::{fmt, io::Write as _, sync::Arc, time::Duration};

/// Step of a build. `Display` formats it as one line without a newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildEvent {
    /// This process waits for the build of another process.
    Waiting {
        /// Time since the wait began.
        elapsed: Duration,
    },
    /// Go downloads modules.
    Downloading {
        /// The executable that needs them.
        binary: &'static str,
        /// Modules downloaded so far, without those in Go's module cache.
        modules: usize,
        /// Time since the build of this executable began.
        elapsed: Duration,
    },
    /// Go compiles packages and finally links them.
    Compiling {
        /// The executable.
        binary: &'static str,
        /// Packages compiled so far, without those in Go's build cache.
        packages: usize,
        /// Packages that the executable consists of.
        of: usize,
        /// Time since the build of this executable began.
        elapsed: Duration,
    },
    /// An executable is complete.
    Built {
        /// The executable.
        binary: &'static str,
        /// Time since the build of this executable began.
        elapsed: Duration,
    },
}

impl fmt::Display for BuildEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Waiting { elapsed } => {
                write!(f, "waiting for another build to end, {}", Seconds(elapsed))
            }
            Self::Downloading { binary, modules, elapsed } => {
                write!(f, "{binary}: {modules} modules downloaded, {}", Seconds(elapsed))
            }
            Self::Compiling { binary, packages, of, elapsed } => {
                write!(f, "{binary}: {packages} of {of} packages compiled, {}", Seconds(elapsed))
            }
            Self::Built { binary, elapsed } => write!(f, "{binary}: built, {}", Seconds(elapsed)),
        }
    }
}

/// Formats a duration in whole seconds, from one minute on with minutes.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds < 60 {
            write!(f, "{seconds} s")
        } else {
            write!(f, "{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

/// Listener for the events of a build. The default one writes a line to standard error every few
/// seconds.
///
/// It isn't called when there is nothing to build.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&BuildEvent) + Send + Sync>);

impl Progress {
    /// Calls `listener` with each event, on the thread that builds.
    pub fn new(listener: impl Fn(&BuildEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Ignores all events.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    pub(crate) fn report(&self, event: &BuildEvent) {
        (self.0)(event);
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(|event| {
            // The test harness would capture the output of `eprintln` until the build is over.
            let _ = writeln!(std::io::stderr(), "local-cluster: {event}");
        })
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
