//! The command line.

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Environment:
  AUTH0_ROTATOR_CACHE  directory of the cluster's executables and of image layers
                       [default: $XDG_CACHE_HOME/auth0-rotator, else ~/.cache/auth0-rotator]
  CARGO_HOME, RUSTUP_HOME  Rust, which builds the image [default: ~/.cargo, ~/.rustup]
  TMPDIR               parent of the directory for data and logs [default: /tmp]
  NO_COLOR             if set, no colors

Exit status:
  0    all assertions passed
  1    an assertion failed, or the scenario could not run; the output has the reason
  130  interrupted before the summary";

/// Installs the chart on a real node, and rotates secrets while applications in Pods log in.
///
/// Starts etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd, a kubelet and a
/// simulated Auth0 in Linux namespaces of their own, which have no access to any network. Builds the
/// images of the operator and of examples/consumers, installs the chart, applies the manifests of
/// examples/quickstart, and counts the logins of the applications' Pods. Meanwhile it deletes the
/// operator's leader, and upgrades, rolls back and finally uninstalls the chart. Everything ends with
/// this program.
#[derive(Clone, Debug, Parser)]
#[command(name = "e2e", version, after_help = AFTER_HELP)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Keep everything running after the summary, until Ctrl-C, and don't uninstall the chart
    #[arg(long)]
    pub(crate) keep: bool,

    /// Staging period [default: the operator's default, 3m]. A kubelet takes up to 90 s to update a
    /// file
    #[arg(long, value_name = "DURATION")]
    pub(crate) staging: Option<String>,

    /// Seed of the times that Auth0 takes to accept a new secret and to reject the old one
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Command {
    /// Check that nothing is left of a node, however it ends, and exit
    CleanupCheck,
    /// Run the node of that check
    #[command(hide = true)]
    CleanupCheckNode,
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
