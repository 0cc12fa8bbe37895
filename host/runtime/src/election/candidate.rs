//! The decisions of a candidate, as functions of what it has observed and of the time.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use tokio::time::Instant;

use super::{ElectionOptions, Term};

/// A replica that takes part in the election.
#[derive(Debug)]
pub struct Candidate {
    options: ElectionOptions,
    /// The newest lease that was seen.
    lease: Option<Lease>,
    /// The holder of the lease, and its last renewal by its own clock.
    holder: Option<(String, Option<MicroTime>)>,
    /// When that renewal was seen first, by our clock.
    seen: Option<Instant>,
    /// The term, if this replica is the leader. It ends some time after the request of the last successful renewal was sent.
    term: Option<Term>,
    /// Until when the lease is not claimed.
    paused_until: Option<Instant>,
}

impl Candidate {
    /// A candidate that has not seen the lease.
    pub fn new(options: ElectionOptions) -> Self {
        Self { options, lease: None, holder: None, seen: None, term: None, paused_until: None }
    }

    /// The name of the lease.
    pub fn lease_name(&self) -> &str {
        &self.options.name
    }

    /// Whether this replica acts as the leader.
    pub fn is_leader(&self) -> bool {
        self.term.is_some()
    }

    /// The term, if this replica acts as the leader.
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// The time left for a request. A request that hangs must not keep a leader from noticing the renew deadline.
    pub fn time_left(&self, now: Instant) -> Duration {
        self.term.map_or(self.options.renew_deadline(), |term| term.until.saturating_duration_since(now))
    }

    /// Whether the lease has to be read before it can be written. A leader knows it from its last renewal.
    pub fn needs_lease(&self) -> bool {
        !self.is_leader() || self.lease.is_none()
    }

    /// Takes note of the lease as it is; `None` if there is none.
    pub fn observe(&mut self, lease: Option<Lease>, now: Instant) {
        let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| {
            let identity = spec.holder_identity.clone().filter(|identity| !identity.is_empty())?;
            Some((identity, spec.renew_time.clone()))
        });
        if holder != self.holder || self.seen.is_none() {
            self.holder = holder;
            self.seen = Some(now);
        }
        self.lease = lease;
    }

    /// The lease to write; `None` while another replica holds it. `wall` is the time that is written into it.
    pub fn claim(&self, now: Instant, wall: MicroTime) -> Option<Lease> {
        let is_paused = self.paused_until.is_some_and(|until| now < until);
        if is_paused || self.is_held_by_other(now) {
            return None;
        }
        let before = self.lease.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let is_ours = before.holder_identity.as_deref() == Some(&self.options.identity);
        let spec = LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: Some(self.options.duration.as_secs().try_into().unwrap_or(i32::MAX)),
            acquire_time: if is_ours { before.acquire_time } else { Some(wall.clone()) },
            renew_time: Some(wall),
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!is_ours)),
            ..before
        };
        let new = || ObjectMeta { name: Some(self.options.name.clone()), ..ObjectMeta::default() };
        // The resourceVersion in the metadata makes the API server reject the write if another replica was faster.
        let metadata = self.lease.as_ref().map_or_else(new, |lease| lease.metadata.clone());
        Some(Lease { metadata, spec: Some(spec) })
    }

    /// The lease was written by a request that was sent at `sent`.
    pub fn acquired(&mut self, lease: Lease, sent: Instant, now: Instant) {
        self.observe(Some(lease), now);
        self.expire(now);
        let since = self.term.map_or(sent, |term| term.since);
        self.term = Some(Term { since, until: sent + self.options.renew_deadline() });
        // The answer may have arrived late.
        self.expire(now);
    }

    /// Another replica holds the lease.
    pub fn lost(&mut self) {
        self.term = None;
    }

    /// The lease was changed by another client: it has to be read again. A leader stays the leader if it still holds the lease.
    pub fn conflicted(&mut self) {
        self.lease = None;
    }

    /// Steps down, and does not claim the lease for one lease duration, so that another replica can acquire it. Returns the lease
    /// to release.
    pub fn step_down(&mut self, now: Instant) -> Option<Lease> {
        self.paused_until = Some(now + self.options.duration);
        let lease = self.released();
        self.term = None;
        self.lease = None;
        lease
    }

    /// The leader steps down once the renew deadline has passed.
    pub fn expire(&mut self, now: Instant) {
        self.term = self.term.filter(|term| now < term.until);
    }

    /// The lease as the leader releases it, so that another replica need not wait for it to expire.
    pub fn released(&self) -> Option<Lease> {
        self.term?;
        let mut lease = self.lease.clone()?;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        Some(lease)
    }

    /// Whether another replica may be acting.
    fn is_held_by_other(&self, now: Instant) -> bool {
        let Some((holder, _)) = &self.holder else { return false };
        let duration = self.lease.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds);
        let duration =
            duration.map_or(self.options.duration, |seconds| Duration::from_secs(seconds.max(1).unsigned_abs().into()));
        let is_fresh = |seen: Instant| now.saturating_duration_since(seen) < duration;
        *holder != self.options.identity && self.seen.is_some_and(is_fresh)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn candidate(identity: &str) -> Candidate {
        Candidate::new(ElectionOptions {
            namespace: "platform".to_owned(),
            name: "lease".to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
        })
    }

    fn wall(second: i64) -> MicroTime {
        MicroTime(Timestamp::from_second(second).unwrap())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_free_lease_is_acquired_and_renewed_without_reading_it_again() {
        let start = Instant::now();
        let mut one = candidate("one");
        assert!(one.needs_lease() && !one.is_leader());
        one.observe(None, start);
        let lease = one.claim(start, wall(100)).unwrap();
        assert_eq!(lease.metadata.name.as_deref(), Some("lease"));
        one.acquired(lease, start, start);
        assert!(one.is_leader() && !one.needs_lease());

        let spec = one.claim(start + seconds(3), wall(103)).unwrap().spec.unwrap();
        assert_eq!((spec.acquire_time, spec.renew_time), (Some(wall(100)), Some(wall(103))));
        assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(1), Some(15)));
    }

    #[test]
    fn a_lease_is_taken_over_only_when_it_was_not_renewed_for_its_duration_by_our_clock() {
        let start = Instant::now();
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        one.observe(None, start);
        // The clock of the other replica is an hour behind, which makes no difference.
        let lease = one.claim(start, wall(-3600)).unwrap();
        two.observe(Some(lease.clone()), start);
        assert_eq!(two.claim(start + seconds(14), wall(14)), None);
        two.observe(Some(lease.clone()), start + seconds(14));
        let taken = two.claim(start + seconds(15), wall(15)).unwrap().spec.unwrap();
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("two"), Some(2)));

        // A renewal starts the duration again.
        one.acquired(lease, start, start);
        two.observe(one.claim(start, wall(-3597)), start + seconds(15));
        assert_eq!(two.claim(start + seconds(29), wall(29)), None);
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        let start = Instant::now();
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        one.observe(None, start);
        let lease = one.claim(start, wall(0)).unwrap();
        two.observe(Some(lease.clone()), start);
        one.acquired(lease, start, start);
        two.observe(one.released(), start);
        assert!(two.claim(start, wall(0)).is_some());
        assert_eq!(two.released(), None, "a replica that is not the leader releases nothing");
    }

    #[test]
    fn a_leader_steps_down_at_the_renew_deadline_and_not_before() {
        let start = Instant::now();
        let mut one = candidate("one");
        one.observe(None, start);
        assert_eq!(one.time_left(start), seconds(10));
        let lease = one.claim(start, wall(0)).unwrap();
        one.acquired(lease, start, start + seconds(1));
        one.expire(start + seconds(9));
        assert!(one.is_leader());
        assert_eq!(one.time_left(start + seconds(9)), seconds(1));
        one.expire(start + seconds(10));
        assert!(!one.is_leader());
    }

    #[test]
    fn renewals_extend_a_term_and_a_late_one_begins_another() {
        let start = Instant::now();
        let mut one = candidate("one");
        one.observe(None, start);
        let lease = one.claim(start, wall(0)).unwrap();
        let mut acquired = |sent: u64, answered: u64| {
            one.acquired(lease.clone(), start + seconds(sent), start + seconds(answered));
            one.term().map(|term| (term.since - start, term.until - start))
        };
        assert_eq!(acquired(0, 1), Some((seconds(0), seconds(10))));
        assert_eq!(acquired(9, 9), Some((seconds(0), seconds(19))));
        // The process was paused between the request and the answer.
        assert_eq!(acquired(18, 20), Some((seconds(18), seconds(28))));
        assert_eq!(acquired(21, 31), None, "another replica may be the leader soon");
    }

    #[test]
    fn a_conflict_is_read_again_and_costs_the_leadership_only_if_another_replica_holds_the_lease() {
        let start = Instant::now();
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        one.observe(None, start);
        let ours = one.claim(start, wall(0)).unwrap();
        one.acquired(ours.clone(), start, start);
        one.conflicted();
        assert!(one.is_leader() && one.needs_lease());
        // The lease was annotated.
        one.observe(Some(ours.clone()), start);
        assert!(one.claim(start, wall(1)).is_some());
        two.observe(Some(ours), start);
        one.conflicted();
        one.observe(two.claim(start + seconds(15), wall(15)), start + seconds(15));
        assert!(one.claim(start + seconds(15), wall(15)).is_none());
        one.lost();
        assert!(!one.is_leader());
    }

    #[test]
    fn a_replica_that_stepped_down_lets_another_one_acquire_the_lease() {
        let start = Instant::now();
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        one.observe(None, start);
        one.acquired(one.claim(start, wall(0)).unwrap(), start, start);
        let released = one.step_down(start);
        assert!(!one.is_leader());
        two.observe(released.clone(), start);
        assert!(two.claim(start, wall(0)).is_some());
        one.observe(released, start);
        assert!(one.claim(start + seconds(14), wall(14)).is_none());
        assert!(one.claim(start + seconds(15), wall(15)).is_some(), "no other replica wanted it");
    }
}
