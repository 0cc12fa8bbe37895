//! Watches of objects. One that fails is started again after a pause, which grows until it succeeds.

use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, DefaultBackoff, Error, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::error::request_failure;

/// Watches objects. Interruptions are errors of the stream, which continues after a pause.
pub fn watch_objects<K>(api: Api<K>, config: Config) -> impl Stream<Item = Result<Event<K>, Error>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let start = (watcher(api, config).boxed(), DefaultBackoff::default(), None);
    stream::unfold(start, async |(mut events, mut backoff, pause)| {
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        let event = events.next().await?;
        let pause = pause_after(&event, &mut backoff);
        Some((event, (events, backoff, pause)))
    })
}

/// The pause after an event. An attempt to list the objects starts with an event of its own, so that not every event is a success.
fn pause_after<K>(event: &Result<Event<K>, Error>, backoff: &mut impl Backoff) -> Option<Duration> {
    match event {
        Err(_) => return backoff.next(),
        Ok(Event::Init | Event::InitApply(_)) => {}
        Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => backoff.reset(),
    }
    None
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
    use super::*;

    /// The pauses after these events, in the order of the events.
    fn pauses(backoff: &mut DefaultBackoff, events: Vec<Result<Event<()>, Error>>) -> Vec<Duration> {
        events.into_iter().filter_map(|event| pause_after(&event, backoff)).collect()
    }

    fn failed_list() -> Vec<Result<Event<()>, Error>> {
        // A later page of the list fails.
        vec![Ok(Event::Init), Ok(Event::InitApply(())), Err(Error::NoResourceVersion)]
    }

    #[test]
    fn the_pauses_after_failed_lists_grow_until_one_succeeds() {
        for success in [Event::InitDone, Event::Apply(()), Event::Delete(())] {
            let mut backoff = DefaultBackoff::default();
            let attempts: Vec<_> = (0..8).flat_map(|_| failed_list()).collect();
            let grown = pauses(&mut backoff, attempts);
            assert_eq!(grown.len(), 8);
            assert!(grown[..6].windows(2).all(|pair| pair[0] < pair[1]), "{grown:?}");
            assert!(grown[7] >= Duration::from_secs(30), "{grown:?}");
            let first = pauses(&mut backoff, vec![Ok(success), Err(Error::NoResourceVersion)]);
            assert!(first[0] < Duration::from_secs(2), "{first:?}");
        }
    }
}
