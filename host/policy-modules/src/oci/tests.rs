use std::time::Duration;

use kube_devops_cluster::crd::{ModuleSource, PolicyModuleSpec, PolicyModuleStatus};

use super::*;

const TAG: &str = "host.example/labels:1";

fn digest(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

fn module(reference: &str, interval_seconds: Option<i32>) -> PolicyModule {
    let oci = Some(OciSource { reference: reference.to_owned(), interval_seconds, ..OciSource::default() });
    let source = ModuleSource { config_map: None, oci };
    PolicyModule::new("labels", PolicyModuleSpec { source, ..PolicyModuleSpec::default() })
}

/// The module with a status of the leader.
fn approved(module: &PolicyModule, reference: &str, version: &str, now: Now) -> PolicyModule {
    let origin =
        Origin { reference: reference.to_owned(), time: now.utc, request: request(module), is_fallback: false };
    let status =
        PolicyModuleStatus { source: Some(origin.resolved(&digest(version))), ..PolicyModuleStatus::default() };
    PolicyModule { status: Some(status), ..module.clone() }
}

fn requested(module: &PolicyModule, value: &str) -> PolicyModule {
    let mut module = module.clone();
    module.metadata.annotations = Some([(RESOLVE.to_owned(), value.to_owned())].into());
    module
}

struct Replica {
    progress: Progress,
    is_leader: bool,
    is_active: bool,
}

impl Replica {
    fn new(is_leader: bool) -> Self {
        Self { progress: Progress::new("labels"), is_leader, is_active: false }
    }

    fn view<'a>(&self, module: &'a PolicyModule, now: Now) -> View<'a> {
        let Some(source) = &module.spec.source.oci else { panic!("there is no registry") };
        View { module, source, is_leader: self.is_leader, is_active: self.is_active, now }
    }

    /// What is fetched, and whether it is the last good version.
    fn next(&mut self, module: &PolicyModule, now: Now) -> Option<(String, Origin)> {
        let view = self.view(module, now);
        let next = self.progress.next(view).unwrap_or_else(|error| panic!("{error}"));
        next.map(|(reference, origin)| (reference.version().to_owned(), origin))
    }

    /// Fetches what is due with success, and returns what it was.
    fn fetch(&mut self, module: &PolicyModule, version: &str, now: Now) -> Option<String> {
        let (wanted, origin) = self.next(module, now)?;
        self.progress.succeeded(&origin, &digest(version));
        Some(wanted)
    }
}

#[test]
fn every_replica_fetches_a_digest_once() {
    let (now, version) = (Now::read(), digest("a"));
    let pinned = module(&format!("host.example/labels@{version}"), None);
    for is_leader in [true, false] {
        let mut replica = Replica::new(is_leader);
        assert_eq!(replica.next(&pinned, now).map(|(wanted, _)| wanted), Some(version.to_string()));
        assert!(replica.next(&pinned, now).is_none(), "it is being fetched");
        replica.progress.succeeded(
            &Origin { reference: String::new(), time: now.utc, request: None, is_fallback: false },
            &version,
        );
        assert!(replica.next(&pinned, now).is_none() && replica.progress.wait(replica.view(&pinned, now)).is_none());
        replica.progress.restart();
        assert!(replica.next(&pinned, now).is_some(), "the source changed");
    }
}

#[test]
fn the_leader_resolves_a_tag_and_the_others_fetch_its_version() {
    let now = Now::read();
    let tagged = module(TAG, None);
    let (mut leader, mut other) = (Replica::new(true), Replica::new(false));
    assert!(other.next(&tagged, now).is_none());
    assert_eq!(leader.fetch(&tagged, "a", now).as_deref(), Some("1"));
    assert!(leader.next(&tagged, now).is_none());
    let known = approved(&tagged, TAG, "a", now);
    assert!(leader.next(&known, now).is_none());
    assert_eq!(other.fetch(&known, "a", now), Some(digest("a").to_string()));
    assert!(other.next(&known, now).is_none());
    // A new leader believes the old one.
    other.is_leader = true;
    assert!(other.next(&known, now).is_none());
    // A restarted leader loads what the others have.
    assert_eq!(Replica::new(true).next(&known, now).map(|(wanted, _)| wanted), Some(digest("a").to_string()));
}

#[test]
fn a_tag_is_resolved_again_on_request_after_an_interval_and_when_it_changes() {
    let now = Now::read();
    let known = approved(&module(TAG, Some(60)), TAG, "a", now);
    let mut leader = Replica::new(true);
    leader.fetch(&known, "a", now);
    assert!(leader.next(&known, now + Duration::from_secs(59)).is_none());
    assert_eq!(leader.progress.wait(leader.view(&known, now)).map(|wait| wait.as_secs() / 10), Some(5));
    assert_eq!(leader.fetch(&known, "b", now + Duration::from_secs(61)).as_deref(), Some("1"));
    let asked = requested(&known, "2026-11-26");
    assert_eq!(leader.fetch(&asked, "b", now + Duration::from_secs(62)).as_deref(), Some("1"));
    assert!(leader.next(&asked, now + Duration::from_secs(62)).is_none());
    let mut other = module("host.example/labels:2", None);
    other.status = known.status;
    leader.progress.restart();
    assert_eq!(leader.fetch(&other, "c", now).as_deref(), Some("2"));
    assert!(leader.next(&other, now).is_none(), "the status is older than what the leader resolved");
}

#[test]
fn a_change_of_keys_or_grants_fetches_the_same_version_again() {
    let now = Now::read();
    let tagged = module(TAG, None);
    let known = approved(&tagged, TAG, "a", now);
    for is_leader in [true, false] {
        let mut replica = Replica::new(is_leader);
        replica.fetch(&known, "a", now);
        assert!(replica.next(&known, now).is_none());
        replica.progress.restart();
        assert_eq!(replica.fetch(&known, "a", now), Some(digest("a").to_string()), "{is_leader}");
        assert!(replica.next(&known, now).is_none());
    }
    // Also before the status contains the version that the leader resolved.
    let mut leader = Replica::new(true);
    leader.fetch(&tagged, "b", now);
    leader.progress.restart();
    assert_eq!(leader.next(&tagged, now).map(|(wanted, _)| wanted), Some(digest("b").to_string()));
}

#[test]
fn failures_are_tried_again_after_pauses_without_an_end() {
    let mut now = Now::read();
    let tagged = module(TAG, None);
    let mut leader = Replica::new(true);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let Some((_, origin)) = leader.next(&tagged, now) else { panic!("nothing is fetched") };
        leader.progress.failed(&origin, now);
        assert!(leader.next(&tagged, now).is_none() && leader.progress.next_retry > Some(now.utc));
        let wait = leader.progress.wait(leader.view(&tagged, now)).unwrap_or_default();
        pauses.push(wait.as_secs());
        now = now + wait;
    }
    assert!(pauses[0] <= 6 && pauses[8] >= 300 && pauses[8] <= 360, "{pauses:?}");
    assert!(leader.fetch(&tagged, "a", now).is_some() && leader.progress.next_retry.is_none());
    // A user can ask for an attempt at once.
    let mut other = Replica::new(true);
    let Some((_, origin)) = other.next(&tagged, now) else { panic!("nothing is fetched") };
    other.progress.failed(&origin, now);
    assert!(other.next(&tagged, now).is_none() && other.next(&requested(&tagged, "now"), now).is_some());
}

#[test]
fn a_replica_without_a_version_falls_back_to_the_last_good_one() {
    let now = Now::read();
    let bad = module("host.example/labels:2", None);
    let known = approved(&bad, TAG, "good", now);
    let mut leader = Replica::new(true);
    let Some((wanted, origin)) = leader.next(&known, now) else { panic!("nothing is fetched") };
    assert!(wanted == "2" && !origin.is_fallback);
    leader.progress.failed(&origin, now);
    let Some((wanted, origin)) = leader.next(&known, now) else { panic!("there is a last good version") };
    assert!(wanted == digest("good").to_string() && origin.is_fallback);
    leader.progress.succeeded(&origin, &digest("good"));
    assert!(leader.next(&known, now).is_none(), "it is fetched once for each failure");
    // A version that is fetched, but cannot be loaded, is a failure as well.
    let mut other = Replica::new(true);
    other.fetch(&known, "broken", now);
    assert!(other.next(&known, now).is_none());
    other.progress.rejected();
    assert_eq!(other.next(&known, now).map(|(wanted, _)| wanted), Some(digest("good").to_string()));
    let mut running = Replica { is_active: true, ..Replica::new(true) };
    running.fetch(&known, "broken", now);
    running.progress.rejected();
    assert!(running.next(&known, now).is_none(), "an active version stays");
}

#[test]
fn a_tag_that_moves_back_is_followed() {
    let now = Now::read();
    let tagged = module(TAG, None);
    let mut other = Replica::new(false);
    for version in ["a", "b", "a"] {
        let known = approved(&tagged, TAG, version, now);
        assert_eq!(other.fetch(&known, version, now), Some(digest(version).to_string()));
        assert!(other.next(&known, now).is_none());
    }
}

#[test]
fn a_replica_that_starts_before_a_new_tag_is_resolved_has_the_last_good_version() {
    let now = Now::read();
    let known = approved(&module("host.example/labels:2", None), TAG, "good", now);
    let mut other = Replica::new(false);
    let Some((wanted, origin)) = other.next(&known, now) else { panic!("there is a last good version") };
    assert!(wanted == digest("good").to_string() && origin.is_fallback);
    // A failure is tried again after a pause.
    other.progress.failed(&origin, now);
    assert!(other.next(&known, now).is_none());
    let wait = other.progress.wait(other.view(&known, now)).unwrap_or_default();
    assert!(wait >= Duration::from_secs(5), "{wait:?}");
    let Some((_, origin)) = other.next(&known, now + wait) else { panic!("it is tried again") };
    other.progress.succeeded(&origin, &digest("good"));
    assert!(other.next(&known, now + wait).is_none() && other.progress.wait(other.view(&known, now)).is_none());
}

#[test]
fn a_leader_that_starts_loads_the_known_version_before_it_resolves_an_expired_tag() {
    let now = Now::read();
    let known = approved(&module(TAG, Some(60)), TAG, "a", now);
    let mut leader = Replica::new(true);
    let later = now + Duration::from_secs(600);
    assert_eq!(leader.fetch(&known, "a", later), Some(digest("a").to_string()));
    assert_eq!(leader.fetch(&known, "b", later).as_deref(), Some("1"));
    // If that version is gone, the tag is resolved nevertheless.
    let mut leader = Replica::new(true);
    let Some((_, origin)) = leader.next(&known, later) else { panic!("nothing is fetched") };
    leader.progress.failed(&origin, later);
    let much_later = later + Duration::from_secs(600);
    assert_eq!(leader.next(&known, much_later).map(|(wanted, _)| wanted).as_deref(), Some("1"));
}

#[test]
fn nothing_is_waited_for_that_cannot_be_fetched() {
    let now = Now::read();
    let (version, later) = (digest("a"), now + Duration::from_secs(600));
    let pinned = module(&format!("host.example/labels@{version}"), Some(60));
    let mut leader = Replica::new(true);
    leader.fetch(&pinned, "a", now);
    assert!(leader.progress.wait(leader.view(&pinned, later)).is_none(), "a digest does not expire");
    let tagged = module(TAG, None);
    let mut former = Replica::new(true);
    let Some((_, origin)) = former.next(&tagged, now) else { panic!("nothing is fetched") };
    former.progress.failed(&origin, now);
    former.is_leader = false;
    assert!(former.progress.wait(former.view(&tagged, later)).is_none(), "only the leader resolves");
    assert!(former.next(&tagged, later).is_none());
}

#[test]
fn a_version_that_cannot_be_loaded_now_is_fetched_again() {
    let now = Now::read();
    let tagged = module(TAG, None);
    let mut leader = Replica::new(true);
    leader.fetch(&tagged, "a", now);
    leader.progress.interrupted(now);
    assert!(leader.next(&tagged, now).is_none() && leader.progress.next_retry.is_some());
    let later = now + Duration::from_secs(10);
    assert_eq!(leader.next(&tagged, later).map(|(wanted, _)| wanted), Some(digest("a").to_string()));
}

#[test]
fn an_invalid_reference_is_an_error() {
    let now = Now::read();
    let invalid = module("labels", None);
    let mut leader = Replica::new(true);
    let view = leader.view(&invalid, now);
    assert!(leader.progress.next(view).is_err());
}
