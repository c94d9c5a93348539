//! Calls to the API server: each has a deadline, a trace span and an [`Error`].

use std::time::Duration;

use leader_election::WriteFence;

use super::error::{Error, KubeFailure};
use crate::telemetry;

/// Deadline of one call to the API server.
pub(crate) const KUBE_DEADLINE: Duration = Duration::from_secs(10);

/// Makes a call to the API server. `action` names it in messages, as in "storing the status".
///
/// # Errors
/// [`Error::Kube`], also when the deadline passes.
pub(crate) async fn kube_call<T>(
    action: &str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    let call = async {
        let failure = match tokio::time::timeout(KUBE_DEADLINE, call).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => KubeFailure::of(&error),
            Err(_) => KubeFailure::Timeout,
        };
        Err(Error::Kube { action: action.to_owned(), failure })
    };
    telemetry::trace_request(
        telemetry::kubernetes_span(action),
        |error| error.reason().as_str(),
        call,
    )
    .await
}

/// Checks that this process may still change something; to be called right before each change.
///
/// # Errors
/// [`Error::NotLeading`]
pub(crate) fn check_fence(fence: WriteFence<'_>) -> Result<(), Error> {
    if fence.allows_write() { Ok(()) } else { Err(Error::NotLeading) }
}
