//! A PolicyModule, its versions, and its status.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube_devops_cluster::crd::condition::{Conditions, LOADED, READY, RESOLVED, VERIFIED, time};
use kube_devops_cluster::crd::{Grant, OciSource, PolicyModule, PolicyModuleStatus};
use kube_devops_engine::{Grants, LoadedModule};
use kube_devops_oci::{Digest, OciError, Reference};
use kube_devops_runtime::clock::Now;
use tokio::time::Instant;

use super::content::{Content, ContentError};
use super::load::{Load, LoadFailure, Next, Target};
use super::oci::{Identity, Origin, Progress, View};

/// The time after which a status says that a module waits. Most modules are fetched sooner, and need no write.
const NOTICE: Duration = Duration::from_secs(5);

/// The reason why the current version is not active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The condition that is not met.
    pub condition: &'static str,
    /// The reason of the condition.
    pub reason: &'static str,
    /// What is wrong.
    pub message: String,
    /// The manifest that is not signed as required.
    pub unsigned: Option<Digest>,
}

impl Failure {
    /// The source cannot be read, or contains no module.
    pub fn of_source(reason: &'static str, message: impl ToString) -> Self {
        Self { condition: RESOLVED, reason, message: message.to_string(), unsigned: None }
    }

    /// The version cannot be loaded.
    pub fn of_load(reason: &'static str, message: String) -> Self {
        Self { condition: LOADED, reason, message, unsigned: None }
    }
}

impl From<&ContentError> for Failure {
    fn from(error: &ContentError) -> Self {
        Self::of_source("SourceInvalid", error)
    }
}

impl From<&OciError> for Failure {
    fn from(error: &OciError) -> Self {
        let (condition, unsigned) = match error {
            OciError::Signature(error) => (VERIFIED, Some(error.digest().clone())),
            _ => (RESOLVED, None),
        };
        Self { condition, reason: error.reason(), message: error.to_string(), unsigned }
    }
}

/// A loaded version.
#[derive(Clone)]
pub struct Version {
    /// The component.
    pub module: Arc<LoadedModule>,
    /// Its place in a registry.
    pub origin: Option<(Origin, Digest)>,
}

impl Version {
    /// The names of its checks and of its bundle, with what they name.
    pub fn names(&self) -> Vec<(&'static str, String)> {
        let checks = self.module.checks.iter().map(|check| ("check", check.info().id.clone()));
        checks.chain(self.module.bundle.iter().map(|bundle| ("bundle", bundle.bundle().name.clone()))).collect()
    }
}

/// A PolicyModule and its versions.
pub struct Known {
    /// The object.
    pub object: PolicyModule,
    /// What the source contained last; `None` if it is not known yet.
    pub resolved: Option<Result<String, Failure>>,
    /// The version to load.
    pub next: Option<Next>,
    /// The newest version that was loaded.
    pub newest: Option<Version>,
    /// The active version.
    pub active: Option<Version>,
    /// Why the current version was not loaded.
    pub failure: Option<Failure>,
    /// Why the newest version is not active although it was loaded.
    pub conflict: Option<Failure>,
    /// Since when the current spec waits to be fetched, and what for.
    pub waiting: Option<(Instant, Failure)>,
    /// The progress with a registry, and the pauses after failures to load.
    pub progress: Progress,
    /// Whether the keys or grants changed since the versions were loaded, so that they may not be trusted any more.
    pub is_distrusted: bool,
}

impl Known {
    /// Nothing was loaded yet.
    pub fn new(object: PolicyModule) -> Self {
        let progress = Progress::new(&object.name_any());
        Self {
            object,
            resolved: None,
            next: None,
            newest: None,
            active: None,
            failure: None,
            conflict: None,
            waiting: None,
            progress,
            is_distrusted: false,
        }
    }

    /// The registry, if it is the source.
    pub fn oci(&self) -> Option<&OciSource> {
        self.object.spec.source.oci.as_ref()
    }

    /// Whether the source is a tag, which the leader resolves.
    fn has_tag(&self) -> bool {
        let reference = self.oci().and_then(|source| source.reference.parse::<Reference>().ok());
        reference.is_some_and(|reference| reference.digest().is_none())
    }

    /// The name of the ConfigMap, if it is the source.
    pub fn config_map(&self) -> Option<&str> {
        self.object.spec.source.config_map.as_ref().map(|source| source.name.as_str())
    }

    /// A version to load.
    pub fn load(&self, content: Content) -> Load {
        let grants = Grants { object: self.object.spec.grants.contains(&Grant::Object) };
        let (module, identity) = (self.object.name_any(), Identity::of(&self.object));
        Load { module, identity, content, grants, origin: None, reserved: None }
    }

    /// Whether a version is still needed: its object and its source have not changed.
    pub fn needs(&self, target: &Target) -> bool {
        let is_current = || matches!(&self.resolved, Some(Ok(resolved)) if *resolved == target.version);
        target.identity == Identity::of(&self.object) && (target.is_fallback || is_current())
    }

    /// When the object was created, in seconds.
    pub fn created(&self) -> i64 {
        self.object.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
    }

    /// The source cannot be read.
    pub fn fail(&mut self, failure: Failure) {
        if let Some(unsigned) = &failure.unsigned {
            // The keys have changed: what they do not trust is not used any longer.
            self.revoke(|version| version.origin.as_ref().is_some_and(|(_, digest)| digest == unsigned));
        }
        self.revoke_distrusted();
        self.resolved = Some(Err(failure.clone()));
        self.failure = Some(failure);
    }

    /// Stops using versions that were loaded with other keys or grants, if there is none with the current ones. What they still allow
    /// is loaded again as the last good version.
    fn revoke_distrusted(&mut self) {
        if std::mem::take(&mut self.is_distrusted) {
            self.revoke(|_| true);
        }
    }

    /// The newest version was resolved again.
    pub fn confirm(&mut self, origin: Option<(Origin, Digest)>) {
        self.is_distrusted = false;
        for version in [&mut self.active, &mut self.newest].into_iter().flatten() {
            if version.origin.as_ref().map(|(_, digest)| digest) == origin.as_ref().map(|(_, digest)| digest) {
                version.origin.clone_from(&origin);
            }
        }
    }

    /// Stops using versions.
    fn revoke(&mut self, is_revoked: impl Fn(&Version) -> bool) {
        for version in [&mut self.active, &mut self.newest] {
            if version.as_ref().is_some_and(&is_revoked) {
                *version = None;
            }
        }
    }

    /// A version was loaded, or cannot be.
    pub fn loaded(&mut self, load: Load, result: Result<Arc<LoadedModule>, LoadFailure>, now: Now) {
        let version = |module| Version { module, origin: load.origin.clone() };
        match result {
            Ok(module) if load.is_fallback() => self.newest = self.newest.take().or_else(|| Some(version(module))),
            Err(_) if load.is_fallback() => {}
            Ok(module) => {
                self.newest = Some(version(module));
                self.failure = None;
                self.is_distrusted = false;
                self.progress.loaded();
            }
            Err(LoadFailure { reason, message, is_temporary: true }) => {
                self.failure = Some(Failure::of_load(reason, message));
                self.progress.interrupted(now);
                self.revoke_distrusted();
                // A ConfigMap is not fetched again.
                self.next = self.next.take().or_else(|| self.oci().is_none().then_some(Next::InConfigMap));
            }
            Err(LoadFailure { reason, message, is_temporary: false }) => {
                self.failure = Some(Failure::of_load(reason, message));
                self.progress.rejected();
                self.revoke_distrusted();
                // The grants have changed: the same bytes were loaded before.
                self.revoke(|version| version.module.digest == load.content.digest);
            }
        }
    }

    /// How long to wait until a version can be fetched from the registry; `None` if there is none to fetch.
    pub fn wait_for_fetch(&self, is_leader: bool, now: Now) -> Option<Duration> {
        let (source, is_active) = (self.oci()?, self.active.is_some());
        self.progress.wait(View { module: &self.object, source, is_leader, is_active, now })
    }

    /// Notes whether the current spec waits to be fetched, for its registry or for other modules.
    pub fn note_waiting(&mut self, is_leader: bool, may_fetch: bool, now: Now) {
        let reason = self.wait_reason(is_leader, may_fetch, now);
        self.waiting = reason.map(|(reason, message)| {
            let since = self.waiting.as_ref().map_or(now.instant, |(since, _)| *since);
            (since, Failure::of_source(reason, message))
        });
    }

    fn wait_reason(&self, is_leader: bool, may_fetch: bool, now: Now) -> Option<(&'static str, &'static str)> {
        self.oci().filter(|_| self.resolved.is_none())?;
        if self.progress.is_running() {
            return Some(("Pending", "the current version is being fetched"));
        }
        let is_due = self.wait_for_fetch(is_leader, now).is_some_and(|wait| wait.is_zero());
        (is_due && !may_fetch).then_some(("Busy", "other modules are being fetched or loaded; this one follows"))
    }

    /// What the status says about a wait that takes long. A status that already describes the current spec is kept.
    pub fn notice(&self, now: Now) -> Option<&Failure> {
        let (since, reason) = self.waiting.as_ref()?;
        let is_described = self.object.status.as_ref().is_some_and(|status| {
            let is_notice = |reason: &str| matches!(reason, "Busy" | "Pending");
            let resolved = status.conditions.iter().find(|condition| condition.type_ == RESOLVED);
            status.observed_generation == self.object.metadata.generation
                && resolved.is_some_and(|resolved| !is_notice(&resolved.reason))
        });
        (!is_described && now.instant.duration_since(*since) >= NOTICE).then_some(reason)
    }

    /// How long to wait until the status has to say that the module waits.
    pub fn wait_for_notice(&self, now: Now) -> Option<Duration> {
        let (since, _) = self.waiting.as_ref()?;
        NOTICE.checked_sub(now.instant.duration_since(*since)).filter(|left| !left.is_zero())
    }

    /// Why the current version is not active, if it cannot be.
    fn problem(&self) -> Option<&Failure> {
        self.failure.as_ref().or(self.conflict.as_ref())
    }

    /// Whether the current version is active.
    pub fn is_ready(&self) -> bool {
        let (Some(active), Some(Ok(resolved))) = (&self.active, &self.resolved) else { return false };
        let current = match &active.origin {
            Some((_, manifest)) => manifest.as_str(),
            None => &active.module.digest,
        };
        // A replica learns a new version of a tag from the status before it fetches it.
        let source = self.object.status.as_ref().and_then(|status| status.source.as_ref()).filter(|_| self.has_tag());
        let is_approved = source.is_none_or(|source| source.digest == current);
        current == resolved && is_approved && self.problem().is_none()
    }

    /// Returns the status.
    pub fn status(&self, now: Now) -> PolicyModuleStatus {
        let before = self.object.status.as_ref();
        let conditions = Conditions {
            before: before.map_or(&[][..], |status| &status.conditions),
            generation: self.object.metadata.generation,
            now: now.utc,
        };
        let active = self.active.as_ref();
        let kept = match active {
            Some(active) => format!("; the last good version {} stays active", active.module.digest),
            None => String::new(),
        };
        let failure = self.notice(now).or_else(|| self.problem());
        let is_unverified = failure.is_some_and(|failure| failure.condition == VERIFIED);
        let mut list = vec![match (&self.resolved, failure) {
            (Some(Ok(found)), _) => conditions.of(RESOLVED, true, "Found", found),
            (_, Some(_)) if is_unverified => conditions.of(RESOLVED, true, "Found", "the source was found"),
            (Some(Err(Failure { reason, message, .. })), _) => conditions.of(RESOLVED, false, reason, message),
            (None, Some(Failure { reason, message, .. })) => conditions.of(RESOLVED, false, reason, message),
            (None, None) => conditions.of(RESOLVED, false, "Pending", "the source has not been read yet"),
        }];
        match failure {
            Some(Failure { reason, message, .. }) if is_unverified => {
                list.push(conditions.of(VERIFIED, false, reason, message));
            }
            _ if self.object.spec.verify.is_some() && matches!(self.resolved, Some(Ok(_))) => {
                list.push(conditions.of(VERIFIED, true, "Signed", "the current version is signed by one of the keys"));
            }
            _ => {}
        }
        match failure {
            Some(Failure { reason, message, .. }) => {
                let message = format!("{message}{kept}");
                list.push(conditions.of(LOADED, false, reason, &message));
                list.push(conditions.of(READY, false, reason, &message));
            }
            None if active.is_none() => {
                let message = "the current version is being loaded";
                list.push(conditions.of(LOADED, false, "Pending", message));
                list.push(conditions.of(READY, false, "Pending", message));
            }
            None => {
                list.push(conditions.of(LOADED, true, "Loaded", "the current version was loaded"));
                list.push(conditions.of(READY, true, "Active", "policies can use the checks of the current version"));
            }
        }
        let module = active.map(|active| &active.module);
        // Without an active version, the last good one is still where a new replica looks for it.
        let source = active.and_then(|active| active.origin.as_ref()).map(|(origin, digest)| origin.resolved(digest));
        PolicyModuleStatus {
            observed_generation: self.object.metadata.generation,
            digest: module.map(|module| module.digest.clone()),
            source: source.or_else(|| before?.source.clone().filter(|_| self.oci().is_some() && active.is_none())),
            next_retry: self.progress.next_retry.filter(|_| self.oci().is_some()).map(time),
            checks: module.iter().flat_map(|module| &module.checks).map(|check| check.info().id.clone()).collect(),
            bundle: module.and_then(|module| Some(module.bundle.as_ref()?.bundle().name.clone())),
            conditions: list,
        }
    }
}
