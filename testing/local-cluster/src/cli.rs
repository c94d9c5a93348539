//! Arguments of the command line.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use local_cluster::Binary;

const LONG_ABOUT: &str = "A real etcd and kube-apiserver on loopback, for tests and experiments.

The executables are those in the directory that KUBEBUILDER_ASSETS names. If it isn't set, they are \
built once from Go modules, in control-plane/ below the first of AUTH0_ROTATOR_CACHE, \
XDG_CACHE_HOME/auth0-rotator and ~/.cache/auth0-rotator. The build needs Go and a module proxy, and \
takes several minutes.";

const EXAMPLES: &str = "Examples:
  local-cluster start
  local-cluster start --kubeconfig ./kubeconfig --apiserver-arg=--v=4
  local-cluster build --with kubectl,helm";

/// A real etcd and kube-apiserver on loopback, for tests and experiments.
#[derive(Parser)]
#[command(version, long_about = LONG_ABOUT, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build missing executables and print the directory of the servers. The path of helm, which has
    /// a directory of its own, is printed on a separate line
    Build(BuildArgs),
    /// Print the directory of the servers without building them
    Path,
    /// Run the servers until SIGINT or SIGTERM
    Start(StartArgs),
}

#[derive(Args)]
pub(crate) struct BuildArgs {
    /// Also build these executables, for example --with kubectl,helm
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = binary_parser())]
    pub(crate) with: Vec<Binary>,
}

#[derive(Args)]
pub(crate) struct StartArgs {
    /// Also write the administrator's kubeconfig to this file, which is removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Keep the data in this directory, and continue with existing data [default: a temporary
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Add a flag to the API server's command line, for example --apiserver-arg=--v=4
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) apiserver_arg: Vec<String>,
    /// Write an audit log according to the audit policy in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_policy: Option<PathBuf>,
}

fn binary_parser() -> impl TypedValueParser<Value = Binary> {
    PossibleValuesParser::new(Binary::ALL.map(Binary::name)).try_map(|name| {
        let binary = Binary::ALL.into_iter().find(|binary| binary.name() == name);
        binary.ok_or_else(|| format!("there is no executable {name}"))
    })
}
