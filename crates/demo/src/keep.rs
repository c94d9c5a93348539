//! What there is to do while everything is left running.

use local_cluster::Binary;
use rig::terminal::Terminal;

use crate::script::{ON_REQUEST, ON_SCHEDULE};
use crate::stage::Stage;

/// Tells how to look around.
pub(crate) fn tell(stage: &Stage, terminal: &Terminal) {
    let namespace = &stage.quickstart.namespace;
    let control_plane = &stage.control_plane;
    terminal.heading("Everything goes on until Ctrl-C. In another terminal:");
    terminal.line("");
    terminal.line(&format!("  export KUBECONFIG={}", control_plane.kubeconfig_path().display()));
    if stage.has_kubectl {
        let kubectl = control_plane.assets_dir().join(Binary::Kubectl.name());
        terminal.line(&format!("  alias kubectl={}", kubectl.display()));
    }
    terminal.line(&format!("  kubectl -n {namespace} get csrot"));
    for (what, command) in [
        (
            "rotate now",
            format!(
                "annotate --overwrite csrot {ON_REQUEST} auth0-rotator.dev/request=rotate/$(date +%s)"
            ),
        ),
        (
            "what an application reads",
            format!(
                "get secret {ON_REQUEST}-auth0 -o jsonpath='{{.data.client_secrets}}' | base64 -d"
            ),
        ),
        ("see it come back", format!("delete secret {ON_REQUEST}-auth0")),
        ("what has happened", format!("describe csrot {ON_SCHEDULE}")),
        (
            "no scheduled rotations for now",
            format!(
                "patch csrot {ON_SCHEDULE} --type=merge -p '{{\"spec\":{{\"suspend\":true}}}}'"
            ),
        ),
    ] {
        terminal.line(&format!("\n  # {what}\n  kubectl -n {namespace} {command}"));
    }
    terminal.line(&format!(
        "\n  # the operator's log, and what Auth0 counts\n  tail -f {}",
        stage.operator.lock().log().display()
    ));
    terminal.line(&format!("  curl {}/counters", stage.simulator.admin_url()));
    terminal.heading("What happens meanwhile");
}
