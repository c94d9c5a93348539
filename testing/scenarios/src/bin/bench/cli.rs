//! Command line of `bench`.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

const AFTER_HELP: &str = "\
Environment:
  ESO_BIN   executable of External Secrets Operator, to measure it side by side
  ESO_CRDS  its CustomResourceDefinitions, a YAML file or a directory

docs/performance/README.md explains the figures.

Examples:
  bench --quick --sizes 500
  bench --sizes 0,500,2000 --runs 5 --only import,restart
  bench --output docs/performance";

/// Measures the operator with a control plane and a simulated Auth0 of its own: time, memory, CPU and
/// requests for several numbers of objects.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", version, after_help = AFTER_HELP)]
pub(crate) struct Options {
    /// Numbers of resources, for example 0,500,2000
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [0, 500, 2_000, 10_000])]
    pub(crate) sizes: Vec<usize>,

    /// Runs with each size
    #[arg(long, value_name = "NUMBER", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) runs: u16,

    /// Runs with each size of 5,000 or more
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) large_runs: u16,

    /// Measure a shorter steady state, 0 and 500 resources unless --sizes says otherwise, once, and
    /// no rotations that are due at once
    #[arg(long)]
    pub(crate) quick: bool,

    /// Measure only these stages [default: all]
    #[arg(long, value_name = "STAGES", value_delimiter = ',', value_enum)]
    pub(crate) only: Vec<Stage>,

    /// Number of resources whose rotations are due at once when the operator starts; 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub(crate) due: usize,

    /// Directory for results.json, results.md and the plots [default: target/bench]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,

    /// The operator's executable [default: auth0-rotator next to this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) operator: Option<PathBuf>,

    /// External Secrets Operator's executable
    #[arg(
        long,
        env = "ESO_BIN",
        hide_env_values = true,
        value_name = "PATH",
        requires = "eso_crds"
    )]
    pub(crate) eso_bin: Option<PathBuf>,

    /// External Secrets Operator's CustomResourceDefinitions
    #[arg(long, env = "ESO_CRDS", hide_env_values = true, value_name = "PATH")]
    pub(crate) eso_crds: Option<PathBuf>,
}

/// Part of a run. The import is always measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Stage {
    /// Resources are created while the operator runs.
    Import,
    /// Nothing happens.
    Steady,
    /// The operator restarts.
    Restart,
    /// Rotations of all resources are requested at once.
    Rotate,
    /// The operator starts after the resources exist.
    Existing,
    /// Two bare writes per object, without the operator.
    Bare,
    /// Rotations of all resources are due when the operator starts.
    Due,
    /// The time from Auth0's response until the Secret is written.
    Publish,
}

impl Options {
    /// Applies `--quick`.
    pub(crate) fn resolve(mut self) -> Self {
        if self.quick {
            if self.sizes == [0, 500, 2_000, 10_000] {
                self.sizes = vec![0, 500];
            }
            self.runs = 1;
            self.large_runs = 1;
            self.due = if self.due == 10_000 { 0 } else { self.due };
        }
        self.sizes.sort_unstable();
        self.sizes.dedup();
        self
    }

    pub(crate) fn includes(&self, stage: Stage) -> bool {
        self.only.is_empty() || self.only.contains(&stage)
    }

    /// Returns the number of runs with this many resources.
    pub(crate) fn runs_of(&self, size: usize) -> u16 {
        if size >= 5_000 { self.large_runs } else { self.runs }
    }

    pub(crate) fn steady_duration(&self) -> Duration {
        Duration::from_secs(if self.quick { 10 } else { 60 })
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
    fn quick_measures_less_unless_told_otherwise() {
        let options =
            |arguments: &[&str]| Options::parse_from([&["bench"], arguments].concat()).resolve();
        let quick = options(&["--quick"]);
        assert_eq!((quick.sizes, quick.runs, quick.due), (vec![0, 500], 1, 0));
        let quick = options(&["--quick", "--sizes", "20,0", "--due", "20"]);
        assert_eq!((quick.sizes, quick.due), (vec![0, 20], 20));
        let all = options(&[]);
        assert_eq!((all.runs_of(2_000), all.runs_of(10_000)), (3, 1));
    }
}
