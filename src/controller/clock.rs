//! The clock of a pass.

use chrono::{DateTime, SubsecRound as _, Utc};

/// The time, in whole milliseconds: what is stored reads back the same.
pub(super) fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}
