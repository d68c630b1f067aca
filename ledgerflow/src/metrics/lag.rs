//! What a scrape asks of the log: how much lies before each processor, and before the mirror.
//!
//! A log that is away may take its time, longer than Prometheus waits; so it is asked on a thread of its own, and a scrape
//! goes without the answer when that does not come in time. Bound: so many threads wait for a log at a time, then none is
//! asked.

use crate::measure::behind::{Backlog, backlog_each};
use crate::mirror::View;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use stream::log::{Isolation, Log, LogError, Offset, TopicPartition};

/// How long the log may take for everything that a scrape asks of it.
pub(super) const WAIT: Duration = Duration::from_secs(3);
/// Most threads that wait for an answer: more scrapes at a time than anybody makes of a log that answers.
const ASKING_MAX: usize = 4;

/// Up to where the inputs of a processor are worked off.
pub(super) type Places = (&'static str, Vec<(TopicPartition, Offset)>);
type Backlogs = BTreeMap<TopicPartition, Backlog>;

/// What lies before each.
pub(super) struct Lag {
    pub(super) processors: Vec<(&'static str, Backlogs)>,
    /// Empty where there is no mirror.
    pub(super) mirror: Backlogs,
}

impl Lag {
    /// # Errors
    /// The log is away.
    pub(super) fn ask(log: &dyn Log, places: &[Places], mirror: Option<&View>) -> Result<Self, LogError> {
        log.watermarks(TopicPartition::new(Topic::Journal, 0), Isolation::Committed)?;
        let each = places.iter().map(|(name, reached)| Ok((*name, backlog_each(log, reached)?)));
        let processors = each.collect::<Result<_, LogError>>()?;
        let mirrored = mirror.map(|view| view.reached(log)).transpose()?.unwrap_or_default();
        Ok(Self { processors, mirror: backlog_each(log, &mirrored)? })
    }
}

/// One of the threads that wait for an answer.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn begin(asking: &'a AtomicUsize) -> Option<Self> {
        let more = |now: usize| (now < ASKING_MAX).then_some(now + 1);
        asking.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(asking))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What the log answers; `None` = it is away or did not answer in time.
pub(super) fn in_time<T: Send + 'static>(
    wait: Duration,
    ask: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Option<T> {
    static ASKING: AtomicUsize = AtomicUsize::new(0);
    let asking = Asking::begin(&ASKING)?;
    let (answer, answered) = channel();
    let asks = move || {
        let told = ask();
        drop(asking);
        // Nobody waits any more: the scrape went without it.
        let _ = answer.send(told);
    };
    std::thread::Builder::new().name("lag".into()).spawn(asks).ok()?;
    match answered.recv_timeout(wait).ok()? {
        Ok(told) => Some(told),
        Err(why) => {
            tracing::debug!(%why, "a scrape without the lag");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_does_not_answer_keeps_no_scrape_waiting() {
        let soon = Duration::from_millis(1);
        let (mut held, patient) = (Vec::new(), Duration::from_secs(60));
        for _ in 0..ASKING_MAX {
            let (release, released) = channel::<()>();
            held.push(release);
            let waits = move || {
                released.recv().expect_err("nobody sends");
                Ok(())
            };
            assert_eq!(in_time(soon, waits), None);
        }
        assert_eq!(in_time(patient, || Ok(())), None, "so many wait already");
        drop(held);
        // They end by themselves once they are answered.
        let answer = (0..).find_map(|_| in_time(patient, || Ok(7)));
        assert_eq!(answer, Some(7));
        assert_eq!(in_time(patient, || Err::<(), _>(LogError::Retriable("away".into()))), None);
    }
}
