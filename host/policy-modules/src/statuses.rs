//! The statuses of PolicyModules, which the leader writes. Other replicas learn the version of a tag from them, so that a failure is tried
//! again.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use kube::{Client, ResourceExt};
use kube_devops_cluster::crd::{PolicyModule, PolicyModuleStatus};
use kube_devops_cluster::{request_failure, status};
use kube_devops_runtime::backoff::Backoff;
use kube_devops_runtime::clock::Now;
use kube_devops_runtime::election::Action;
use tokio::time::timeout;

/// The timeout of writing a status.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The shortest and the longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The most statuses that are written at a time.
const AT_ONCE: usize = 4;

/// A module and its status.
pub type Status = (PolicyModule, PolicyModuleStatus);
/// A status, and whether it was written.
type Written = (Status, Result<(), String>);
/// Writes one status.
type Write = Box<dyn Fn(&PolicyModule, &PolicyModuleStatus) -> BoxFuture<'static, Result<(), String>> + Send>;

/// Writes statuses, with pauses after failures.
pub struct StatusWriter {
    write: Write,
    pauses: Backoff,
    running: Option<BoxFuture<'static, Vec<Written>>>,
}

impl StatusWriter {
    /// Nothing was written yet.
    pub fn new(client: Client) -> Self {
        Self::with(Box::new(move |object, status| Box::pin(write(client.clone(), object, status))))
    }

    fn with(write: Write) -> Self {
        Self { write, pauses: Backoff::of(&"statuses of modules", PAUSES), running: None }
    }

    /// The rest of the pause after a failure; `None` while statuses are being written.
    pub fn wait(&self, now: Now) -> Option<Duration> {
        if self.running.is_some() { None } else { self.pauses.left(now.instant) }
    }

    /// Whether there is no pause, and nothing is being written.
    pub fn may_write(&self, now: Now) -> bool {
        self.running.is_none() && self.pauses.is_over(now.instant)
    }

    /// Starts to write statuses, as an `action` of the leader.
    pub fn start(&mut self, statuses: Vec<Status>, action: Action) {
        if statuses.is_empty() {
            self.pauses.succeeded();
            return;
        }
        let write = |(object, status): Status| {
            let written = (self.write)(&object, &status);
            async move { ((object, status), written.await) }
        };
        let writes: Vec<_> = statuses.into_iter().map(write).collect();
        self.running = Some(Box::pin(async move {
            let written = stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
            drop(action);
            written
        }));
    }

    /// Drops the requests in progress: this replica is not the leader any longer.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Waits for the end of the requests in progress, if there are any. Returns the statuses that were written; failures are logged.
    pub async fn ended(&mut self) -> Vec<Status> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let results = running.await;
        self.running = None;
        let count = results.len();
        let written = results.into_iter().filter_map(|(status, result)| {
            let log = |error: &String| {
                tracing::warn!(module = status.0.name_any(), "failed to write the status of a module: {error}");
            };
            result.inspect_err(log).is_ok().then_some(status)
        });
        let written: Vec<Status> = written.collect();
        if written.len() == count {
            self.pauses.succeeded();
        } else {
            self.pauses.failed(Now::read().instant);
        }
        written
    }
}

fn write(
    client: Client,
    object: &PolicyModule,
    status: &PolicyModuleStatus,
) -> impl Future<Output = Result<(), String>> + use<> {
    let (object, status) = (object.clone(), status.clone());
    async move {
        match timeout(TIMEOUT, status::write(client, &object, &status)).await {
            Ok(Ok(())) => Ok(()),
            // The module was deleted, or replaced by another one.
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => Ok(()),
            Ok(Err(error)) => Err(request_failure(&error)),
            Err(_) => Err(format!("the API server did not respond within {} seconds", TIMEOUT.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;
    use kube_devops_cluster::crd::PolicyModuleSpec;
    use kube_devops_runtime::election::{Handover, Leadership, Term};
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::*;

    fn statuses(names: &[&str]) -> Vec<Status> {
        let status = |name: &&str| {
            let module = PolicyModule::new(name, PolicyModuleSpec::default());
            (module, PolicyModuleStatus::default())
        };
        names.iter().map(status).collect()
    }

    /// An action of a leader.
    fn action() -> Action {
        let now = Instant::now();
        let (_sender, terms) = watch::channel(Some(Term { since: now, until: now + Duration::from_secs(3600) }));
        let leadership = Leadership::new(terms, Arc::new(Handover::default()));
        leadership.act().unwrap_or_else(|| panic!("it is the leader"))
    }

    fn now() -> Now {
        Now { utc: chrono::DateTime::UNIX_EPOCH, instant: Instant::now() }
    }

    /// A writer whose requests are never answered, and the number of those in progress.
    fn hanging() -> (StatusWriter, Arc<AtomicUsize>) {
        struct InProgress(Arc<AtomicUsize>);
        impl Drop for InProgress {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let write: Write = Box::new(move |_, _| {
            let count = counted.clone();
            Box::pin(async move {
                count.fetch_add(1, Ordering::SeqCst);
                let _in_progress = InProgress(count);
                std::future::pending().await
            })
        });
        (StatusWriter::with(write), count)
    }

    #[test]
    fn requests_in_progress_are_few_and_dropped_with_the_leadership() {
        let (mut writer, in_progress) = hanging();
        writer.start(statuses(&["a", "b", "c", "d", "e", "f"]), action());
        assert!(writer.ended().now_or_never().is_none());
        assert_eq!(in_progress.load(Ordering::SeqCst), AT_ONCE);
        assert!(!writer.may_write(now()) && writer.wait(now()).is_none(), "the end of the requests is an event");
        writer.stop();
        assert_eq!(in_progress.load(Ordering::SeqCst), 0);
        assert!(writer.may_write(now()));
    }

    #[test]
    fn written_statuses_are_returned_and_a_failure_causes_a_pause() {
        let write: Write = Box::new(|object, _| {
            let result = if object.name_any() == "bad" { Err("no".to_owned()) } else { Ok(()) };
            Box::pin(std::future::ready(result))
        });
        let mut writer = StatusWriter::with(write);
        let mut end = |names: &[&str]| {
            writer.start(statuses(names), action());
            let written = writer.ended().now_or_never().unwrap_or_default();
            let names: Vec<String> = written.iter().map(|(object, _)| object.name_any()).collect();
            (names.join(","), writer.wait(now()).is_some())
        };
        assert_eq!(end(&["bad", "good"]), ("good".to_owned(), true));
        assert_eq!(end(&["good"]), ("good".to_owned(), false));
        assert_eq!(end(&["bad"]), (String::new(), true));
        assert_eq!(end(&[]), (String::new(), false), "nothing is left to write");
    }
}
