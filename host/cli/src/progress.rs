//! Progress on standard error, for work that takes longer than a person expects.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::ProgressBar;

use crate::terminal;

/// Work that is shorter than this is not worth a word.
const SILENT: Duration = Duration::from_secs(1);
/// How often the line is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// A line on standard error that comes after a second and goes with the value.
pub struct Progress {
    count: Arc<AtomicUsize>,
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Shows `what`, such as `reading manifests`, with a count once there is one. Nothing is shown where standard error is
    /// not a terminal.
    pub fn new(what: &'static str) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = mpsc::channel();
        let shown = count.clone();
        let draw = move || {
            if stopped.recv_timeout(SILENT) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner();
            while stopped.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                match shown.load(Ordering::Relaxed) {
                    0 => bar.set_message(what),
                    count => bar.set_message(format!("{what}: {count}")),
                }
                bar.tick();
            }
            bar.finish_and_clear();
        };
        let drawing = terminal::shows_progress().then(|| (stop, thread::spawn(draw)));
        Self { count, drawing }
    }

    /// How much is done.
    pub fn set(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.drawing.take() {
            drop(stop);
            // A line that could not be drawn is no reason to fail.
            let _ = thread.join();
        }
    }
}
