//! The command line.

use clap::Parser;

const ENVIRONMENT: &str = "\
Environment:
  AUTH0_ROTATOR_CACHE  where the programs of the cluster and layers of images are kept
                       [default: $XDG_CACHE_HOME/auth0-rotator, else ~/.cache/auth0-rotator]
  CARGO_HOME, RUSTUP_HOME  where Rust is, with which the image is built [default: ~/.cargo, ~/.rustup]
  TMPDIR               where the folder for data and logs is made [default: /tmp]
  NO_COLOR             when set to anything, no colours

Exit status:
  0  everything that is promised held
  1  something did not, or it could not be run; the output says what
  130  interrupted before the summary";

/// Installs the chart on a node of its own, and rotates secrets while applications in pods log in.
///
/// Starts etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd, a kubelet and a
/// simulated Auth0 in namespaces of their own, from which there is no way to any network; builds the
/// images of the operator and of examples/consumers, installs the chart, applies the manifests of
/// examples/quickstart, and counts each login of the applications' pods. Meanwhile the operator's
/// leader is deleted, and the chart upgraded, rolled back and in the end uninstalled. All of it ends
/// with this program.
#[derive(Clone, Debug, Parser)]
#[command(name = "e2e", version, after_help = ENVIRONMENT)]
pub(crate) struct Options {
    /// Leave everything running after the summary, until Ctrl-C, instead of uninstalling the chart
    #[arg(long)]
    pub(crate) keep: bool,

    /// How long the next secret is published before Auth0 is told of it [default: what the operator
    /// has by default, 3m]. A kubelet takes up to 90 s to update a file
    #[arg(long, value_name = "DURATION")]
    pub(crate) staging: Option<String>,

    /// Decides how long Auth0 takes each time to accept a new secret and to refuse the old one
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) seed: u64,
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
