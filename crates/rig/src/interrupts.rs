//! What asks for the end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// As shells have it: 128 and SIGINT.
pub const INTERRUPTED: u8 = 130;

/// What asks for the end: Ctrl-C, SIGTERM, or a terminal that closes.
#[derive(Debug)]
pub struct Interrupts([Signal; 3]);

impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// When signals can't be listened for.
    pub fn new() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Waits for the next one.
    pub async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
