//! The leadership of this replica, as those who act in its name see it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::handover::{Action, Handover};

/// The time in which this replica is the leader without an interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// When the lease was acquired.
    pub since: Instant,
    /// The renew deadline, which every renewal extends. Another replica may be the leader some time after it.
    pub until: Instant,
}

/// The leadership of this replica. It ends at the renew deadline by itself: after a pause of the process, the election may learn later than
/// others that another replica is the leader.
#[derive(Debug, Clone)]
pub struct Leadership {
    terms: watch::Receiver<Option<Term>>,
    handover: Arc<Handover>,
    /// The start of the term that [`Self::changed`] has returned last.
    known: Option<Instant>,
}

impl Leadership {
    /// The leadership that `terms` reports.
    pub fn new(terms: watch::Receiver<Option<Term>>, handover: Arc<Handover>) -> Self {
        Self { terms, handover, known: None }
    }

    /// Whether this replica is the leader.
    pub fn is_held(&self) -> bool {
        self.term().is_some()
    }

    /// Begins an action, if this replica is the leader.
    pub fn act(&self) -> Option<Action> {
        // The election reports the end of the leadership before it waits for actions. In this order, it waits for each one that begins.
        let action = self.handover.action();
        self.is_held().then_some(action)
    }

    /// Waits for a change, and returns whether this replica is the leader. A term that follows another one is a change, too.
    pub async fn changed(&mut self) -> bool {
        loop {
            let term = self.term();
            let since = term.map(|term| term.since);
            if since != self.known {
                self.known = since;
                return since.is_some();
            }
            tokio::select! {
                changed = self.terms.changed() => if changed.is_err() {
                    std::future::pending().await
                },
                () = passed(term.map(|term| term.until)) => {}
            }
        }
    }

    /// The current term.
    fn term(&self) -> Option<Term> {
        self.terms.borrow().filter(|term| Instant::now() < term.until)
    }
}

/// Waits until a moment has passed. It reads the clock whenever it is polled, because a timer may fire late after a pause of the process.
async fn passed(moment: Option<Instant>) {
    let Some(moment) = moment else { return std::future::pending().await };
    let mut timer = pin!(sleep_until(moment));
    poll_fn(|context| {
        if Instant::now() >= moment {
            return Poll::Ready(());
        }
        timer.as_mut().poll(context)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// The sender of terms, and the leadership that they mean.
    fn leadership() -> (watch::Sender<Option<Term>>, Leadership) {
        let (sender, terms) = watch::channel(None);
        (sender, Leadership::new(terms, Arc::default()))
    }

    fn term(since: Instant, until: Instant) -> Option<Term> {
        Some(Term { since, until })
    }

    #[tokio::test]
    async fn the_leadership_ends_at_the_renew_deadline_before_the_election_reports_it() {
        let (terms, mut leadership) = leadership();
        let now = Instant::now();
        assert_eq!(leadership.changed().now_or_never(), None);
        terms.send_replace(term(now, now + HOUR));
        assert_eq!(leadership.changed().now_or_never(), Some(true));
        assert!(leadership.is_held() && leadership.act().is_some());
        assert_eq!(leadership.changed().now_or_never(), None);
        terms.send_replace(term(now, now));
        assert!(!leadership.is_held() && leadership.act().is_none());
        assert_eq!(leadership.changed().now_or_never(), Some(false));
        terms.send_replace(None);
        assert_eq!(leadership.changed().now_or_never(), None, "this is known");
    }

    #[tokio::test]
    async fn who_waits_for_a_change_learns_that_the_renew_deadline_has_passed() {
        let (terms, mut leadership) = leadership();
        let now = Instant::now();
        let until = now + Duration::from_millis(200);
        terms.send_replace(term(now, until));
        assert!(leadership.changed().await);
        assert!(!leadership.changed().await);
        assert!(Instant::now() >= until);
    }

    /// Timers of the runtime cannot fire while its only thread is blocked, as after a pause of the process.
    #[tokio::test]
    async fn a_deadline_that_has_passed_is_noticed_before_its_timer_fires() {
        let until = Instant::now() + Duration::from_millis(20);
        let mut passed = pin!(passed(Some(until)));
        assert_eq!(passed.as_mut().now_or_never(), None);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(passed.now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn a_renewal_extends_the_term_and_is_no_change() {
        let (terms, mut leadership) = leadership();
        let since = Instant::now();
        terms.send_replace(term(since, since + HOUR));
        assert_eq!(leadership.changed().now_or_never(), Some(true));
        terms.send_replace(term(since, since + HOUR * 2));
        assert_eq!(leadership.changed().now_or_never(), None);
        assert!(leadership.is_held());
        terms.send_replace(term(since, since));
        assert_eq!(leadership.changed().now_or_never(), Some(false));
        terms.send_replace(term(since, since + HOUR * 3));
        assert_eq!(leadership.changed().now_or_never(), Some(true), "the answer to a renewal arrived late");
    }

    #[tokio::test]
    async fn a_term_that_follows_another_one_is_a_change() {
        let (terms, mut leadership) = leadership();
        let now = Instant::now();
        terms.send_replace(term(now, now + HOUR));
        assert_eq!(leadership.changed().now_or_never(), Some(true));
        terms.send_replace(None);
        terms.send_replace(term(now + Duration::from_secs(1), now + HOUR));
        assert_eq!(leadership.changed().now_or_never(), Some(true), "what was begun in the first term is void");
        assert_eq!(leadership.changed().now_or_never(), None);
    }
}
