//! What a build tells while it runs, for it takes minutes.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// A moment of a build. Its `Display` is one line for people, without a newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildEvent {
    /// Another process builds; this one waits for it.
    Waiting {
        /// Since the wait began.
        elapsed: Duration,
    },
    /// Go fetches modules.
    Downloading {
        /// For what.
        binary: &'static str,
        /// How many modules so far; those in Go's module cache don't count.
        modules: usize,
        /// Since work on this binary began.
        elapsed: Duration,
    },
    /// Go compiles packages and, last, links them.
    Compiling {
        /// For what.
        binary: &'static str,
        /// How many packages so far; those in Go's build cache don't count.
        packages: usize,
        /// How many packages the binary is made of.
        of: usize,
        /// Since work on this binary began.
        elapsed: Duration,
    },
    /// A binary is finished.
    Built {
        /// Which.
        binary: &'static str,
        /// Since work on this binary began.
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

/// Who hears about a build: by default standard error, a line every few seconds.
///
/// Nothing is reported when nothing has to be built.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&BuildEvent) + Send + Sync>);

impl Progress {
    /// Calls `listener` with each event, on the thread that builds.
    pub fn new(listener: impl Fn(&BuildEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Tells nobody.
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
            // Not `eprintln`, which the test harness would hold back until the build is over.
            let _ = writeln!(std::io::stderr(), "control-plane: {event}");
        })
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
