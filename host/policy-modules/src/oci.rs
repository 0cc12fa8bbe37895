//! Which version of a module in a registry is fetched when, as decisions without requests.
//!
//! A digest is fetched by every replica. A tag is resolved by the leader alone; the others fetch what the status says, so that
//! all of them load the same version. Failures are tried again after pauses, without an end.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kube_devops_cluster::crd::condition::time;
use kube_devops_cluster::crd::{OciSource, PolicyModule, PolicyModuleSpec, ResolvedSource};
use kube_devops_oci::{Digest, InvalidReference, Reference};
use kube_devops_runtime::backoff::Backoff;
use kube_devops_runtime::clock::Now;
use tokio::time::Instant;

/// The annotation with which a user asks for a tag to be resolved again: each new value is one request.
pub const RESOLVE: &str = "devops.stochastic.io/resolve";
/// The pauses after failures.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// A version to fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The name of the PolicyModule.
    pub module: String,
    /// The object that it is fetched for. The result is ignored if there is another one.
    pub identity: Identity,
    /// What to fetch. A tag is to be resolved.
    pub reference: Reference,
    /// How to reach the registry.
    pub source: OciSource,
    /// Where the version stands in the order of preference.
    pub origin: Origin,
}

/// An object and its spec. A deleted and a new object with the same name have different ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The uid of the object.
    pub uid: Option<String>,
    /// The spec.
    pub spec: PolicyModuleSpec,
}

impl Identity {
    /// The current identity of an object.
    pub fn of(module: &PolicyModule) -> Self {
        Self { uid: module.metadata.uid.clone(), spec: module.spec.clone() }
    }
}

/// A version of a module in its registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The reference in the PolicyModule.
    pub reference: String,
    /// When it was resolved.
    pub time: DateTime<Utc>,
    /// The value of the annotation then.
    pub request: Option<String>,
    /// Whether it is the last good version, because the current one cannot be had.
    pub is_fallback: bool,
}

/// What a decision depends on.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The PolicyModule.
    pub module: &'a PolicyModule,
    /// Its source.
    pub source: &'a OciSource,
    /// Whether this replica is the leader.
    pub is_leader: bool,
    /// Whether a version of the module is active.
    pub is_active: bool,
    /// The time.
    pub now: Now,
}

impl<'a> View<'a> {
    /// The last good version, according to the leader.
    fn approved(&self) -> Option<&'a ResolvedSource> {
        self.module.status.as_ref()?.source.as_ref()
    }
}

/// The progress of fetching the module of one source.
#[derive(Debug)]
pub struct Progress {
    /// When the next attempt is made after a failure.
    pub next_retry: Option<DateTime<Utc>>,
    running: bool,
    /// When the last attempt was started.
    attempted: Option<Instant>,
    backoff: Backoff,
    /// The current version that was fetched last since the source changed.
    fetched: Option<Digest>,
    /// What this replica resolved or fetched last as the current version.
    resolved: Option<(Origin, Digest)>,
    /// The value of the annotation at the last attempt.
    request: Option<String>,
    /// Whether the current version cannot be fetched or loaded.
    has_failed: bool,
    /// The pauses between attempts to load the current version.
    loading: Backoff,
    /// The pauses between attempts to fetch the last good version.
    fallback: Backoff,
    /// Whether the last good version was fetched after the last failure.
    has_fallen_back: bool,
}

impl Progress {
    /// Nothing was fetched yet. `module` is the name of the PolicyModule.
    pub fn new(module: &str) -> Self {
        Self {
            next_retry: None,
            running: false,
            attempted: None,
            backoff: Backoff::of(&module, PAUSES),
            fetched: None,
            resolved: None,
            request: None,
            has_failed: false,
            loading: Backoff::of(&(module, "load"), PAUSES),
            fallback: Backoff::of(&(module, "fallback"), PAUSES),
            has_fallen_back: false,
        }
    }

    /// The source, the keys or the grants changed.
    pub fn restart(&mut self) {
        self.next_retry = None;
        self.running = false;
        self.backoff.succeeded();
        self.fetched = None;
        self.has_failed = false;
        self.loading.succeeded();
        self.fallback.succeeded();
        self.has_fallen_back = false;
    }

    /// Whether a version is being fetched.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// When the last attempt was started; `None` if there was none.
    pub fn attempted(&self) -> Option<Instant> {
        self.attempted
    }

    /// Returns what to fetch now, once.
    ///
    /// # Errors
    ///
    /// If the reference is not valid.
    pub fn next(&mut self, view: View<'_>) -> Result<Option<(Reference, Origin)>, InvalidReference> {
        if self.running {
            return Ok(None);
        }
        let request = request(view.module);
        if self.request != request {
            // A user who asks for a resolution does not want to wait for the end of a pause.
            self.request = request;
            self.backoff.succeeded();
            self.loading.succeeded();
            self.fallback.succeeded();
        }
        let reference: Result<Reference, _> = view.source.reference.parse();
        self.has_failed |= reference.is_err();
        let wanted = reference.as_ref().ok().and_then(|reference| self.wanted(reference, view));
        let wanted = wanted.filter(|_| self.backoff.is_over(view.now.instant) && self.may_load(view.now));
        let wanted = wanted.or_else(|| self.last_good(view).filter(|_| self.fallback.is_over(view.now.instant)));
        self.running = wanted.is_some();
        if self.running {
            self.attempted = Some(view.now.instant);
        }
        match (wanted, reference) {
            (None, Err(error)) => Err(error),
            (wanted, _) => Ok(wanted),
        }
    }

    fn wanted(&self, reference: &Reference, view: View<'_>) -> Option<(Reference, Origin)> {
        let View { source, now, .. } = view;
        let is_fetched = |digest: &Digest| self.fetched.as_ref() == Some(digest);
        let origin = Origin {
            reference: source.reference.clone(),
            time: now.utc,
            request: request(view.module),
            is_fallback: false,
        };
        if let Some(digest) = reference.digest() {
            return (!is_fetched(digest)).then(|| (reference.clone(), origin));
        }
        let approved = view.approved().filter(|approved| approved.reference == source.reference);
        // A leader that starts loads the version that all others have before it resolves the tag again.
        let is_starting = !view.is_active && self.fetched.is_none() && !self.has_failed && approved.is_some();
        if view.is_leader && !is_starting && self.is_due(approved, &origin, source, now) {
            return Some((reference.clone(), origin));
        }
        // What the leader resolved itself is newer than the status. It is fetched again after a change of keys or grants.
        if let Some((origin, digest)) = self.resolved.as_ref().filter(|_| view.is_leader) {
            return (!is_fetched(digest)).then(|| (reference.with_digest(digest.clone()), origin.clone()));
        }
        let approved = approved?;
        let digest = approved.digest.parse().ok().filter(|digest| !is_fetched(digest))?;
        Some((reference.with_digest(digest), known(approved, false)))
    }

    /// Returns the last good version if there is nothing better: for a replica that starts while the current version is bad, or is
    /// not resolved yet.
    fn last_good(&self, view: View<'_>) -> Option<(Reference, Origin)> {
        let approved = view.approved().filter(|_| !view.is_active && !self.has_fallen_back)?;
        let is_unresolved = !view.is_leader && approved.reference != view.source.reference;
        if !self.has_failed && !is_unresolved {
            return None;
        }
        let reference: Reference = approved.reference.parse().ok()?;
        let digest = approved.digest.parse().ok()?;
        Some((reference.with_digest(digest), known(approved, true)))
    }

    /// Whether the leader has to resolve the tag.
    fn is_due(&self, approved: Option<&ResolvedSource>, wanted: &Origin, source: &OciSource, now: Now) -> bool {
        let Some(last) = self.last(approved) else { return true };
        let has_expired = interval(source).is_some_and(|interval| last.time + interval <= now.utc);
        last.reference != wanted.reference || last.request != wanted.request || has_expired
    }

    /// The last resolution of the tag.
    fn last(&self, approved: Option<&ResolvedSource>) -> Option<Origin> {
        let own = self.resolved.as_ref().map(|(origin, _)| origin.clone());
        own.or_else(|| Some(known(approved?, false)))
    }

    /// How long to wait until [`Self::next`] returns something without an event.
    pub fn wait(&self, view: View<'_>) -> Option<Duration> {
        if self.running {
            return None;
        }
        let pause = |backoff: &Backoff| backoff.left(view.now.instant).unwrap_or_default();
        let reference: Option<Reference> = view.source.reference.parse().ok();
        let retry = reference
            .as_ref()
            .and_then(|reference| self.wanted(reference, view))
            .map(|_| pause(&self.backoff).max(pause(&self.loading)));
        let fallback = self.last_good(view).map(|_| pause(&self.fallback));
        let is_tag = reference.is_some_and(|reference| reference.digest().is_none());
        let approved = view.approved().filter(|approved| approved.reference == view.source.reference);
        let last = self.last(approved).filter(|_| view.is_leader && is_tag && retry.is_none());
        let expiry = last.zip(interval(view.source)).map(|(last, interval)| last.time + interval - view.now.utc);
        let expiry = expiry.map(|expiry| expiry.to_std().unwrap_or_default());
        [retry, fallback, expiry].into_iter().flatten().min()
    }

    /// A version was fetched.
    pub fn succeeded(&mut self, origin: &Origin, digest: &Digest) {
        self.running = false;
        if origin.is_fallback {
            self.has_fallen_back = true;
            self.fallback.succeeded();
            return;
        }
        self.fetched = Some(digest.clone());
        self.backoff.succeeded();
        self.next_retry = None;
        self.has_failed = false;
        self.resolved = Some((origin.clone(), digest.clone()));
    }

    /// A version could not be fetched.
    pub fn failed(&mut self, origin: &Origin, now: Now) {
        self.running = false;
        if origin.is_fallback {
            self.fallback.failed(now.instant);
            return;
        }
        self.has_failed = true;
        self.has_fallen_back = false;
        self.backoff.failed(now.instant);
        self.next_retry = self.backoff.until().map(|until| moment(until, now));
    }

    /// The current version cannot be loaded, and never will be.
    pub fn rejected(&mut self) {
        self.has_failed = true;
        self.has_fallen_back = false;
    }

    /// The current version cannot be loaded now, and is fetched again after a pause.
    pub fn interrupted(&mut self, now: Now) {
        self.rejected();
        self.fetched = None;
        self.loading.failed(now.instant);
        self.next_retry = self.loading.until().map(|until| moment(until, now));
    }

    /// The current version was loaded.
    pub fn loaded(&mut self) {
        self.loading.succeeded();
    }

    /// Whether the current version may be loaded: there is no pause after a failure.
    pub fn may_load(&self, now: Now) -> bool {
        self.loading.is_over(now.instant)
    }

    /// The rest of the pause after a failure to load the current version.
    pub fn load_pause(&self, now: Now) -> Option<Duration> {
        self.loading.left(now.instant)
    }
}

/// Returns the moment of the wall clock for one of the monotonic clock.
fn moment(until: Instant, now: Now) -> DateTime<Utc> {
    now.utc + TimeDelta::from_std(until.saturating_duration_since(now.instant)).unwrap_or_default()
}

/// The value of the annotation with which a user asks for a resolution.
fn request(module: &PolicyModule) -> Option<String> {
    module.metadata.annotations.as_ref()?.get(RESOLVE).map(|value| value.chars().take(100).collect())
}

fn interval(source: &OciSource) -> Option<TimeDelta> {
    source.interval_seconds.map(|seconds| TimeDelta::seconds(seconds.into()))
}

/// The version that a status describes.
fn known(approved: &ResolvedSource, is_fallback: bool) -> Origin {
    let time = DateTime::from_timestamp(approved.time.0.as_second(), 0).unwrap_or_default();
    Origin { reference: approved.reference.clone(), time, request: approved.request.clone(), is_fallback }
}

impl Origin {
    /// The version in a status.
    pub fn resolved(&self, digest: &Digest) -> ResolvedSource {
        ResolvedSource {
            reference: self.reference.clone(),
            digest: digest.to_string(),
            time: time(self.time),
            request: self.request.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
