//! The file that announces that the simulator is ready (`--ready-file`).

use std::path::Path;

use auth0_simulator::Simulator;
use serde_json::json;

use crate::BoxError;

/// Writes URLs, addresses, domain, audience and process id as JSON. Writes a temporary file and
/// renames it, so that a reader never sees an incomplete file.
pub(crate) fn write(path: &Path, simulator: &Simulator) -> Result<(), BoxError> {
    let text = json!({
        "url": simulator.url(),
        "admin_url": simulator.admin_url(),
        "addr": simulator.addr(),
        "admin_addr": simulator.admin_addr(),
        "domain": simulator.domain(),
        "audience": simulator.audience(),
        "pid": std::process::id(),
    });
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    std::fs::write(&temporary, format!("{text}\n"))
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|error| format!("failed to write {}: {error}", path.display()).into())
}
