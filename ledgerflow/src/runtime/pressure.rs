//! Looks at those who read what ingest writes, on a thread of its own, and tells ingest's throttle how far they are behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use stream::clock::monotonic_us;
use stream::log::{Log, LogError};
use stream::throttle::{Delay, Reading, Throttle, Watched};

/// Those behind ingest: an event's balances are published when the second has passed it.
pub const WATCHED: [Watched; 2] = [
    Watched { group: posting::processor::NAME, topic: schemas::topics::Topic::Commands },
    Watched { group: settlement::processor::NAME, topic: schemas::topics::Topic::Journal },
];
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Time after a look that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The thread; it ends when this is dropped.
pub struct Pressure {
    throttle: Arc<Throttle>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pressure {
    /// Starts to look. `log` should answer for positions at once, whatever transactions are open.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn watch(log: Arc<dyn Log>, throttle: Arc<Throttle>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (asked, told_to) = (Arc::clone(&stop), Arc::clone(&throttle));
        let thread = std::thread::Builder::new().name("pressure".to_owned()).spawn(move || {
            let mut told = false;
            while !asked.load(Ordering::Acquire) {
                let Err(error) = look_on(log.as_ref(), &told_to, &asked) else { return };
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "how far posting and settlement are behind cannot be seen; the low lane is taken as before");
                }
                std::thread::sleep(AFTER_FAILURE);
            }
        })?;
        Ok(Self { throttle, stop, thread: Some(thread) })
    }

    /// What the throttle does at the moment.
    pub fn reading(&self) -> Reading {
        self.throttle.reading()
    }
}

/// Looks again and again until asked to stop.
fn look_on(log: &dyn Log, throttle: &Throttle, stop: &AtomicBool) -> Result<(), LogError> {
    let mut delay = Delay::new(log, &WATCHED, monotonic_us())?;
    while !stop.load(Ordering::Acquire) {
        match delay.look(log, monotonic_us()) {
            Ok(behind_us) => throttle.observe(monotonic_us(), behind_us),
            Err(LogError::Unstable { .. }) => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

impl Drop for Pressure {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say at its end.
            let _ = thread.join();
        }
    }
}
