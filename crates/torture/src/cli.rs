//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

const ENVIRONMENT: &str = "\
Environment:
  KUBEBUILDER_ASSETS   a folder that has etcd and kube-apiserver; without it they are built once by
                       Go, which takes some minutes
  AUTH0_ROTATOR_CACHE  where what Go built is kept [default: $XDG_CACHE_HOME/auth0-rotator, else
                       ~/.cache/auth0-rotator]
  TMPDIR               where the folders for data and logs are made [default: /tmp]

Exit status:
  0    every promise held
  1    one was broken, or the test could not be run; the output says what, and where the logs are
  130  interrupted before the closing line";

/// Rotates secrets while the operator is killed and stopped, the API server restarts, Auth0 fails in
/// every way and people interfere, and counts the logins of applications that fail.
///
/// Starts etcd, kube-apiserver, a simulated Auth0 and the operator on loopback. All of it ends with
/// this program.
#[derive(Clone, Debug, Parser)]
#[command(name = "torture", version, after_help = ENVIRONMENT)]
pub(crate) struct Options {
    /// Decides what is done to whom, and when [default: drawn, and printed first]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,

    /// How long to go on before everything has to come to rest, for example 3m or 1h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) duration: Duration,

    /// How many clients are rotated; half of them by each strategy
    #[arg(long, value_name = "NUMBER", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) clients: u16,

    /// Keep the operator's logs when all went well, too
    #[arg(long)]
    pub(crate) keep: bool,

    /// The operator's executable [default: auth0-rotator beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) operator: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = auth0_simulator::parse_duration(text)?;
    let (least, most) = (Duration::from_secs(10), Duration::from_secs(24 * 3600));
    if (least..=most).contains(&duration) {
        Ok(duration)
    } else {
        Err("it must be between 10s and 24h".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_duration_has_bounds() {
        assert_eq!(duration("3m"), Ok(Duration::from_secs(180)));
        for wrong in ["", "9s", "25h", "-1m", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
