//! Instructions for users who keep the demo running.

use local_cluster::Binary;

use crate::{
    scenario::{REQUESTED, SCHEDULED},
    setup::Demo,
};

/// Prints commands for another terminal.
pub(crate) fn print(demo: &Demo) {
    let terminal = &demo.env.terminal;
    let namespace = &demo.env.quickstart.namespace;
    let control_plane = &demo.env.control_plane;
    terminal.heading("Everything keeps running until Ctrl-C. In another terminal:");
    terminal.line("");
    terminal.line(&format!("  export KUBECONFIG={}", control_plane.kubeconfig_path().display()));
    if demo.has_kubectl {
        let kubectl = control_plane.assets_dir().join(Binary::Kubectl.name());
        terminal.line(&format!("  alias kubectl={}", kubectl.display()));
    }
    terminal.line(&format!("  kubectl -n {namespace} get csrot"));
    for (comment, command) in [
        (
            "request a rotation",
            format!(
                "annotate --overwrite csrot {REQUESTED} auth0-rotator.dev/request=rotate/$(date +%s)"
            ),
        ),
        (
            "show what an application reads",
            format!(
                "get secret {REQUESTED}-auth0 -o jsonpath='{{.data.client_secrets}}' | base64 -d"
            ),
        ),
        (
            "delete a Secret, which the operator restores",
            format!("delete secret {REQUESTED}-auth0"),
        ),
        ("show the history of rotations", format!("describe csrot {SCHEDULED}")),
        (
            "suspend the scheduled rotations",
            format!("patch csrot {SCHEDULED} --type=merge -p '{{\"spec\":{{\"suspend\":true}}}}'"),
        ),
    ] {
        terminal.line(&format!("\n  # {comment}\n  kubectl -n {namespace} {command}"));
    }
    terminal.line("\n  # the operator's logs, and the requests that Auth0 has counted");
    terminal.line(&format!("  tail -f {}/operator-*.log", demo.log_dir().display()));
    terminal.line(&format!("  curl {}/counters", demo.env.simulator.admin_url()));
    terminal.heading("Timeline");
}
