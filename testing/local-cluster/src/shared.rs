//! One fixture for all tests of a test binary.

use tokio::sync::OnceCell;

use crate::control_plane::ControlPlane;

static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();

/// The fixture that all callers in this process share, with the default options; the first call
/// starts it.
///
/// It isn't bound to the caller's runtime, so each `#[tokio::test]` may call this. It ends with
/// the process. Tests that share it have to keep to namespaces of their own.
///
/// # Panics
///
/// When it doesn't start. Later calls then panic with the same message, without another attempt.
pub async fn shared() -> &'static ControlPlane {
    let start = async || ControlPlane::start().await.map_err(|error| error.to_string());
    match SHARED.get_or_init(start).await {
        Ok(control_plane) => control_plane,
        Err(message) => panic!("the shared control plane doesn't start: {message}"),
    }
}
