//! The only place that reads the machine's clocks. Everything else takes time as an input.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

/// Wall clock, microseconds since 1970-01-01T00:00:00Z.
#[must_use]
#[allow(clippy::disallowed_methods)]
pub fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Monotonic clock, microseconds since some moment at the start of the process.
#[must_use]
#[allow(clippy::disallowed_methods)]
pub fn monotonic_us() -> i64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(START.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// Business time: the wall clock, or a time that a test, a demo or a replay of old data sets and moves.
#[derive(Debug, Clone)]
pub enum BusinessClock {
    /// Follows the wall clock.
    Wall,
    /// Stands still until it is set; microseconds since 1970-01-01T00:00:00Z.
    Set(Arc<AtomicI64>),
    /// The wall clock moved by a fixed number of microseconds.
    Offset(i64),
}

impl BusinessClock {
    /// A clock that stands at `us`.
    #[must_use]
    pub fn set_at(us: i64) -> Self {
        Self::Set(Arc::new(AtomicI64::new(us)))
    }

    /// Now, microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        match self {
            Self::Wall => wall_us(),
            Self::Set(us) => us.load(Ordering::Acquire),
            Self::Offset(by) => wall_us().saturating_add(*by),
        }
    }
}
