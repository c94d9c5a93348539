//! Finds the writes that were stored without an audit event, because the API server was killed before
//! it wrote one, or the client was killed before the response.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use kube::api::ListParams;

use crate::{audit_log::Write, context::Context, faults::retry};

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time after which the audit log has every write that has an event.
const AUDIT_LOG_DELAY: Duration = Duration::from_millis(300);

/// Reads all objects whenever writes may lack an audit event.
pub(crate) async fn run(context: Arc<Context>) -> Result<()> {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        if context.checker.needs_reconcile() {
            reconcile(&context).await;
        }
    }
}

async fn reconcile(context: &Context) {
    let (rotations, secrets) = (context.rotations(), context.secrets());
    let params = ListParams::default();
    // The resources first, because the operator writes the Secret before the status.
    let rotations = retry(|| rotations.list(&params)).await;
    let secrets = retry(|| secrets.list(&params)).await;
    tokio::time::sleep(AUDIT_LOG_DELAY).await;
    context.checker.reconcile(context, |at| {
        let secrets = secrets.iter().map(|secret| Write::from_secret(at, secret));
        let rotations = rotations.iter().map(|rotation| Write::from_resource(at, rotation));
        secrets.chain(rotations).collect()
    });
}
