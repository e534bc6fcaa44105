//! The signals that a measurement heeds.

use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::kernel::host;

/// What SIGUSR2 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigUsr2 {
    /// It ends an interval, and begins a new file.
    Switches,
    /// It ends the process, as for every program that does not catch it.
    Ends,
}

/// Signals as events. Once they are caught they no longer end the process, so this comes before anybody is
/// told that tracing goes on.
pub struct Signals {
    pub(super) ends: Ends,
    pub(super) switch: Caught,
}

/// SIGINT, SIGTERM and SIGHUP: they end a measurement properly.
pub(super) struct Ends([Caught; 3]);

/// One signal, if it is caught.
pub(super) struct Caught(Option<Signal>);

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn catch(usr2: SigUsr2) -> Result<Self> {
        // What nohup had ignored stays ignored.
        let hangup = (!host::ignores(libc::SIGHUP)).then(|| signal(SignalKind::hangup()));
        let switch = (usr2 == SigUsr2::Switches).then(|| signal(SignalKind::user_defined2()));
        Ok(Self {
            ends: Ends([
                Caught(Some(signal(SignalKind::interrupt())?)),
                Caught(Some(signal(SignalKind::terminate())?)),
                Caught(hangup.transpose()?),
            ]),
            switch: Caught(switch.transpose()?),
        })
    }

    /// No signal ever comes: for measurements that something else ends.
    pub fn none() -> Self {
        Self { ends: Ends([Caught(None), Caught(None), Caught(None)]), switch: Caught(None) }
    }

    /// Waits for a signal that ends the measurement.
    pub async fn end(&mut self) {
        self.ends.received().await;
    }

    /// Whether a signal that ends the measurement has come already.
    pub async fn ended(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.end() => true,
            // Long enough for a pending signal to be delivered.
            () = tokio::time::sleep(Duration::from_millis(10)) => false,
        }
    }
}

impl Ends {
    /// Waits for the first of these signals.
    pub(super) async fn received(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            () = interrupt.received() => {}
            () = terminate.received() => {}
            () = hangup.received() => {}
        }
    }
}

impl Caught {
    /// Waits for the signal; for ever if it is not caught.
    pub(super) async fn received(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}
