//! Progress on standard error, for long operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::ProgressBar;

use crate::terminal;

/// Operations that are shorter than this show no progress.
const DELAY: Duration = Duration::from_secs(1);
/// The interval at which the line is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// A line on standard error, shown after [`DELAY`] and removed when the value is dropped.
pub struct Progress {
    count: Arc<AtomicUsize>,
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Shows `what`, such as `reading manifests`, with a count once it is set. Nothing is shown if standard error is not a
    /// terminal.
    pub fn new(what: &'static str) -> Self {
        Self::of(what, None)
    }

    /// Like [`Progress::new`], with the number that the count will reach.
    pub fn of(what: &'static str, total: Option<usize>) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = mpsc::channel();
        let shown = count.clone();
        let draw = move || {
            if stopped.recv_timeout(DELAY) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner();
            while stopped.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                match (shown.load(Ordering::Relaxed), total) {
                    (count, Some(total)) => bar.set_message(format!("{what}: {count} of {total}")),
                    (0, None) => bar.set_message(what),
                    (count, None) => bar.set_message(format!("{what}: {count}")),
                }
                bar.tick();
            }
            bar.finish_and_clear();
        };
        let drawing = terminal::shows_progress().then(|| (stop, thread::spawn(draw)));
        Self { count, drawing }
    }

    /// Sets the count.
    pub fn set(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawing.take() {
            drop(stop);
            // A failure to draw the line is ignored.
            let _ = thread.join();
        }
    }
}
