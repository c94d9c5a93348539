//! The command line.

use std::path::PathBuf;

use clap::Parser;

const ENVIRONMENT: &str = "\
Environment:
  KUBEBUILDER_ASSETS   a folder that has etcd and kube-apiserver (and kubectl, for --keep); without
                       it they are built once by Go, which takes some minutes
  AUTH0_ROTATOR_CACHE  where what Go built is kept [default: $XDG_CACHE_HOME/auth0-rotator, else
                       ~/.cache/auth0-rotator]
  GOPROXY              where Go gets modules from
  TMPDIR               where the folder for data and logs is made [default: /tmp]
  NO_COLOR             when set to anything, no colours

Exit status:
  0  everything that is promised held
  1  something did not, or the demo could not be run; the output says what
  130  interrupted before the summary";

/// Rotates Auth0 client secrets on a real control plane while applications log in all the time.
///
/// Starts etcd, kube-apiserver, a simulated Auth0 and the operator on loopback, applies the
/// manifests of examples/quickstart, and counts each login of nine consumers. All of it ends with
/// this program.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo", version, after_help = ENVIRONMENT)]
pub(crate) struct Options {
    /// Leave everything running after the summary, until Ctrl-C, to look around with kubectl
    #[arg(long)]
    pub(crate) keep: bool,

    /// Go on for at least this long, with a scheduled rotation every 20 s; no less than what the
    /// script of the demo takes, about 50 s
    #[arg(long, value_name = "NUMBER", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) seconds: u64,

    /// Decides how long Auth0 takes each time to accept a new secret and to refuse the old one
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The operator's executable [default: auth0-rotator beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) operator: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
