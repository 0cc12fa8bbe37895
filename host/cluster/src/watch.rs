//! Watches of objects. One that fails is started again after a pause, which grows until it succeeds.
//!
//! The pause is short if the API server did not answer, which costs it nothing: the webhook evaluates by the policies that it
//! knows, and must learn of new ones soon after an outage.

use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, DefaultBackoff, Error, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::error::request_failure;
use crate::pages::is_expired;

/// The longest pause while the API server does not answer.
const LONGEST_UNANSWERED: Duration = Duration::from_secs(4);

/// Watches objects. Interruptions are errors of the stream, which continues after a pause.
pub fn watch_objects<K>(api: Api<K>, config: Config) -> impl Stream<Item = Result<Event<K>, Error>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let start = (watcher(api, config).boxed(), Pauses::default(), None);
    stream::unfold(start, async |(mut events, mut pauses, pause)| {
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        let event = events.next().await?;
        let pause = pauses.after(&event);
        Some((event, (events, pauses, pause)))
    })
}

/// The pauses of a watch.
#[derive(Default)]
struct Pauses {
    /// After answers that are errors.
    answered: DefaultBackoff,
    /// After requests without an answer.
    unanswered: DefaultBackoff,
}

impl Pauses {
    /// The pause after an event. An attempt to list the objects starts with a separate event, so that not every event is a success.
    fn after<K>(&mut self, event: &Result<Event<K>, Error>) -> Option<Duration> {
        match event {
            Err(error) if is_unanswered(error) => {
                return self.unanswered.next().map(|pause| pause.min(LONGEST_UNANSWERED));
            }
            // The API server is available, and has to be asked for a new list.
            Err(error) if needs_new_list(error) => {
                self.unanswered.reset();
                return self.unanswered.next();
            }
            Err(_) => return self.answered.next(),
            Ok(Event::Init | Event::InitApply(_)) => {}
            Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                self.answered.reset();
                self.unanswered.reset();
            }
        }
        None
    }
}

fn is_unanswered(error: &Error) -> bool {
    request_error(error).is_some_and(|error| !matches!(error, kube::Error::Api(_) | kube::Error::SerdeError(_)))
}

/// Whether the API server does not have the changes any more from which the watch was to continue.
fn needs_new_list(error: &Error) -> bool {
    matches!(error, Error::WatchError(status) if status.code == 410) || request_error(error).is_some_and(is_expired)
}

fn request_error(error: &Error) -> Option<&kube::Error> {
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => Some(error),
        Error::WatchError(_) | Error::NoResourceVersion => None,
    }
}

/// Returns the reason of an interruption of a watch.
pub fn interruption(error: &Error) -> String {
    match error {
        Error::InitialListFailed(error) => format!("failed to list: {}", request_failure(error)),
        Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            format!("failed to watch: {}", request_failure(error))
        }
        Error::WatchError(status) => format!("failed to watch: {}", status.message),
        Error::NoResourceVersion => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    /// The pauses after these events, in the order of the events.
    fn pauses(of: &mut Pauses, events: Vec<Result<Event<()>, Error>>) -> Vec<Duration> {
        events.into_iter().filter_map(|event| of.after(&event)).collect()
    }

    fn failed_list() -> Vec<Result<Event<()>, Error>> {
        // A later page of the list fails.
        vec![Ok(Event::Init), Ok(Event::InitApply(())), Err(Error::NoResourceVersion)]
    }

    fn unanswered() -> Error {
        Error::WatchStartFailed(kube::Error::Service("connection refused".into()))
    }

    fn answered(code: u16) -> Error {
        Error::WatchFailed(kube::Error::Api(Box::new(Status { code, ..Status::default() })))
    }

    #[test]
    fn the_pauses_after_failed_lists_grow_until_one_succeeds() {
        for success in [Event::InitDone, Event::Apply(()), Event::Delete(())] {
            let mut of = Pauses::default();
            let attempts: Vec<_> = (0..8).flat_map(|_| failed_list()).collect();
            let grown = pauses(&mut of, attempts);
            assert_eq!(grown.len(), 8);
            assert!(grown[..6].windows(2).all(|pair| pair[0] < pair[1]), "{grown:?}");
            assert!(grown[7] >= Duration::from_secs(30), "{grown:?}");
            let first = pauses(&mut of, vec![Ok(success), Err(Error::NoResourceVersion)]);
            assert!(first[0] < Duration::from_secs(2), "{first:?}");
        }
    }

    #[test]
    fn a_watch_continues_soon_after_a_long_outage() {
        let mut of = Pauses::default();
        let outage = pauses(&mut of, (0..50).map(|_| Err(unanswered())).collect());
        assert!(outage.iter().all(|pause| *pause <= LONGEST_UNANSWERED), "{outage:?}");
        for expired in [answered(410), Error::WatchError(Box::new(Status { code: 410, ..Status::default() }))] {
            let after = pauses(&mut of, vec![Err(expired)]);
            assert!(after[0] < Duration::from_secs(2), "{after:?}");
        }
        // A server that is starting denies requests for a moment.
        let denied = pauses(&mut of, vec![Err(answered(403))]);
        assert!(denied[0] < Duration::from_secs(2), "{denied:?}");
    }

    #[test]
    fn an_overloaded_server_is_asked_less_and_less() {
        let overloaded = pauses(&mut Pauses::default(), (0..8).map(|_| Err(answered(429))).collect());
        assert!(overloaded[7] >= Duration::from_secs(30), "{overloaded:?}");
    }
}
