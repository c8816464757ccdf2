//! The runtime of a command, and the signals that end it.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::{Error, Result};

/// Runs a command to its end. What it left behind (a program that was not waited for) does not hold it up.
///
/// # Errors
/// When the system gives no threads or descriptors.
pub fn block_on<T>(command: impl Future<Output = T>) -> Result<T> {
    // Two workers, as a t3 has two processors: reading files blocks one of them.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime
        .map_err(|source| Error::CommandStart { program: "the asynchronous runtime".to_owned(), source })?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    Ok(result)
}

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process at once.
#[must_use]
pub fn cancel_on_signals() -> CancellationToken {
    let cancel = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        // Without a handler the signal ends the process at once, which every resource must bear.
        let Ok(mut signals) = signal(kind) else { continue };
        let cancel = cancel.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if cancel.is_cancelled() {
                    std::process::exit(i32::from(Exit::Interrupted as u8));
                }
                cancel.cancel();
            }
        });
    }
    cancel
}
