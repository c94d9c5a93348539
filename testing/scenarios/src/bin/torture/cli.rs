//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

const AFTER_HELP: &str = "\
Environment:
  KUBEBUILDER_ASSETS   directory with etcd and kube-apiserver; without it Go builds them once, which
                       takes some minutes
  AUTH0_ROTATOR_CACHE  directory of Go's binaries [default: $XDG_CACHE_HOME/auth0-rotator, else
                       ~/.cache/auth0-rotator]
  TMPDIR               parent of the directories for data and logs [default: /tmp]

Exit status:
  0    all invariants held
  1    an invariant was violated, or the test could not run; the output has the reason, and where the
       logs are
  130  interrupted before the closing line";

/// Rotates secrets while the operator is killed and paused, the API server restarts, Auth0 fails in
/// every way and users interfere, and counts the failed logins of applications.
///
/// Starts etcd, kube-apiserver, a simulated Auth0 and the operator on loopback. Everything ends with
/// this program.
#[derive(Clone, Debug, Parser)]
#[command(name = "torture", version, after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// Seed of all faults and requests [default: random, and printed first]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,

    /// Duration of the faults, for example 3m or 1h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) duration: Duration,

    /// Number of clients to rotate, half of them with each strategy
    #[arg(long, value_name = "NUMBER", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) clients: u16,

    /// Keep the logs even if all invariants held
    #[arg(long)]
    pub(crate) keep: bool,

    /// The operator's executable [default: auth0-rotator next to this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) operator: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = auth0_simulator::parse_duration(text)?;
    let (min, max) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));
    if (min..=max).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be between 10s and 24h, for example 10m".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn duration_has_bounds() {
        assert_eq!(duration("3m"), Ok(Duration::from_secs(180)));
        for invalid in ["", "9s", "25h", "-1m", "soon"] {
            assert!(duration(invalid).is_err(), "{invalid:?}");
        }
    }
}
