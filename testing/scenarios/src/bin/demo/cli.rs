//! The command line.

use std::path::PathBuf;

use clap::Parser;

const AFTER_HELP: &str = "\
Environment:
  KUBEBUILDER_ASSETS   directory with etcd and kube-apiserver (and kubectl, for --keep); without it
                       Go builds them once, which takes some minutes
  AUTH0_ROTATOR_CACHE  directory of Go's binaries [default: $XDG_CACHE_HOME/auth0-rotator, else
                       ~/.cache/auth0-rotator]
  GOPROXY              where Go downloads modules
  TMPDIR               parent of the directories for data and logs [default: /tmp]
  NO_COLOR             if set, no colors

Exit status:
  0    all assertions passed
  1    an assertion failed, or the demo could not run; the output has the reason
  130  interrupted before the summary";

/// Rotates Auth0 client secrets on a real control plane while applications log in.
///
/// Starts etcd, kube-apiserver, a simulated Auth0 and the operator on loopback, applies the
/// manifests of examples/quickstart, and counts the logins of nine consumers. Everything ends with
/// this program.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo", version, after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// Keep everything running after the summary, until Ctrl-C, to explore it with kubectl
    #[arg(long)]
    pub(crate) keep: bool,

    /// Minimum length in seconds, with a scheduled rotation every 20 s; the scenario takes about
    /// 50 s in any case
    #[arg(long, value_name = "NUMBER", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) seconds: u64,

    /// Seed of the times that Auth0 takes to accept a new secret and to reject the old one
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Where to write a picture of the first Staged rotation, as an SVG document
    #[arg(long, value_name = "PATH")]
    pub(crate) picture: Option<PathBuf>,

    /// The operator's executable [default: auth0-rotator next to this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) operator: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
