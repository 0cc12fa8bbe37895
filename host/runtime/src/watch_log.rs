//! The log of a watch: what interrupts it, once until it continues.

use kube::Resource;
use kube::runtime::watcher::{Error, Event};
use kube_devops_cluster::crd::GROUP;
use kube_devops_cluster::is_not_served;
use kube_devops_cluster::watch::interruption;

/// Logs why a watch is interrupted. The watch is retried all the time, and fails for the same reason until its cause is removed.
#[derive(Debug)]
pub struct WatchLog {
    /// The resource.
    resource: String,
    /// Whether it is one of the custom resources.
    is_custom: bool,
    /// Why the watch is interrupted.
    reason: Option<String>,
}

impl WatchLog {
    /// The log of a watch of objects of a type.
    pub fn of<K: Resource<DynamicType = ()>>() -> Self {
        Self { resource: K::plural(&()).into_owned(), is_custom: K::group(&()) == GROUP, reason: None }
    }

    /// The log of a watch of one object.
    pub fn of_object<K: Resource<DynamicType = ()>>(name: &str) -> Self {
        let log = Self::of::<K>();
        Self { resource: format!("{} {name}", log.resource), ..log }
    }

    /// Returns the event. `None` if the watch is interrupted, which is logged.
    pub fn event<T>(&mut self, result: Result<Event<T>, Error>) -> Option<Event<T>> {
        match &result {
            // It is the start of an attempt to list the objects, which may fail.
            Ok(Event::Init) => {}
            Ok(_) => {
                if self.reason.take().is_some() {
                    tracing::info!("the watch of {} continues", self.resource);
                }
            }
            Err(error) => {
                if let Some(reason) = self.new_reason(error) {
                    tracing::warn!("the watch of {} was interrupted, retrying: {reason}", self.resource);
                }
            }
        }
        result.ok()
    }

    /// The reason of an interruption, unless it is the last one.
    fn new_reason(&mut self, error: &Error) -> Option<String> {
        let reason = self.explain(error);
        (self.reason.as_ref() != Some(&reason)).then(|| self.reason.insert(reason).clone())
    }

    fn explain(&self, error: &Error) -> String {
        let request = match error {
            Error::InitialListFailed(request) | Error::WatchStartFailed(request) | Error::WatchFailed(request) => {
                Some(request)
            }
            Error::WatchError(_) | Error::NoResourceVersion => None,
        };
        match request {
            Some(kube::Error::Api(status)) if self.is_custom && is_not_served(status) => {
                "the custom resources of kube-devops are not installed; install them with `kube-devops crd install` or the \
                 Helm chart"
                    .to_owned()
            }
            _ => interruption(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::core::Status;
    use kube_devops_cluster::crd::DevOpsPolicy;

    use super::*;

    fn error(code: u16, message: &str) -> Error {
        let status = Status::failure(message, "Failed to parse error data").with_code(code);
        Error::InitialListFailed(kube::Error::Api(status.boxed()))
    }

    #[test]
    fn a_reason_is_new_once_until_the_watch_continues() {
        let mut log = WatchLog::of::<Pod>();
        let mut is_new = |result: Result<Event<()>, Error>| {
            let reason = result.as_ref().err().map(|error| log.new_reason(error).is_some());
            assert_eq!(log.event(result).is_none(), reason.is_some());
            reason
        };
        assert_eq!(is_new(Err(error(500, "down"))), Some(true));
        assert_eq!(is_new(Ok(Event::Init)), None);
        assert_eq!(is_new(Err(error(500, "down"))), Some(false), "the attempt failed");
        assert_eq!(is_new(Err(error(500, "no leader"))), Some(true));
        assert_eq!(is_new(Ok(Event::InitDone)), None);
        assert_eq!(is_new(Err(error(500, "no leader"))), Some(true));
    }

    #[test]
    fn missing_custom_resources_are_named_with_the_way_to_install_them() {
        let reason = WatchLog::of::<DevOpsPolicy>().explain(&error(404, "404 page not found"));
        assert!(reason.contains("not installed") && reason.contains("`kube-devops crd install`"), "{reason}");
        let reason = WatchLog::of::<Pod>().explain(&error(404, "404 page not found"));
        assert!(reason.contains("404 page not found"), "{reason}");
    }
}
