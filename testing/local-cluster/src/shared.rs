//! One control plane for all tests of a test binary.

use tokio::sync::OnceCell;

use crate::control_plane::ControlPlane;

static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();

/// Returns the control plane that all callers in this process share. The first call starts it with
/// the default options.
///
/// It isn't bound to the caller's runtime, so every `#[tokio::test]` may call this, and it ends
/// with the process. Tests that share it must use different namespaces.
///
/// # Panics
///
/// When it doesn't start. Later calls don't retry: they panic with the same message.
pub async fn shared() -> &'static ControlPlane {
    let start = async || ControlPlane::start().await.map_err(|error| error.to_string());
    match SHARED.get_or_init(start).await {
        Ok(control_plane) => control_plane,
        Err(message) => panic!("the shared control plane doesn't start: {message}"),
    }
}
