//! What a window takes: announcements all, lanes by their shares, and whether a tick is due.
//!
//! Order relied on: in `days`, each announcement is the one before again or the day after it. Anything else stops
//! the slot, because a day that is skipped or taken back would leave entries in no day.

use crate::config::IngestConfig;
use crate::lanes::{self, LANES};
use crate::state::IngestSlot;
use schemas::dates::Day;
use schemas::days::DayAnnouncement;
use schemas::topics::Topic;
use stream::log::Offset;
use stream::processor::{InputRecords, Stop, Window};

/// What the window takes.
pub(crate) struct Plan<'w> {
    days: Option<&'w InputRecords<'w>>,
    pub(crate) lanes: [Option<&'w InputRecords<'w>>; LANES],
    /// Days that this window switches to, in order.
    pub(crate) switches: Vec<Day>,
    /// Records taken of each lane.
    pub(crate) taken: [usize; LANES],
    /// Lanes that had more to offer than their share of the window.
    pub(crate) held_back: [bool; LANES],
    pub(crate) tick_due: bool,
}

impl<'w> Plan<'w> {
    pub(crate) fn of(
        config: &IngestConfig,
        state: &IngestSlot,
        window: &'w Window<'w>,
    ) -> Result<Self, Stop> {
        let input = |topic| window.inputs.iter().find(|input| input.from.topic == topic);
        let days = input(Topic::Days);
        let lanes = Topic::LANES.map(input);
        let switches = announced(config, state, window.slot, days)?;
        let dated = state.days(&config.book).is_some() || !switches.is_empty();
        let offered = lanes.map(|lane| lane.filter(|_| dated).map_or(0, |input| input.records.len()));
        let taken = lanes::share(offered, &config.lanes());
        let held_back = std::array::from_fn(|lane| taken.get(lane) < offered.get(lane));
        let tick_due = state.tick.as_ref().is_none_or(|tick| {
            let next = tick.business_time_us.saturating_add(i64::from(config.settings.tick_ms) * 1000);
            window.business_us >= next
        });
        Ok(Self { days, lanes, switches, taken, held_back, tick_due })
    }

    pub(crate) fn is_idle(&self) -> bool {
        let announcements = self.days.map_or(0, |days| days.records.len());
        !self.tick_due && announcements == 0 && self.taken == [0; LANES]
    }

    /// Inputs and the number of records taken from each.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (&'w InputRecords<'w>, usize)> {
        let days = self.days.map(|days| (days, days.records.len()));
        let lanes = self.lanes.into_iter().zip(self.taken);
        days.into_iter().chain(lanes.filter_map(|(lane, taken)| Some((lane?, taken))))
    }
}

/// Position of an input after its first `taken` records.
pub(crate) fn position_after(input: &InputRecords, taken: usize) -> Offset {
    match input.records.get(taken) {
        Some(_) if taken == 0 => input.position,
        Some(left) => left.offset,
        None => input.next,
    }
}

/// Days to switch to. The one in force may be announced again; any other must be the day after.
fn announced(
    config: &IngestConfig,
    state: &IngestSlot,
    slot: u32,
    input: Option<&InputRecords>,
) -> Result<Vec<Day>, Stop> {
    let mut current = state.days(&config.book).map(|days| days.current);
    let mut switches = Vec::new();
    let Some(input) = input else { return Ok(switches) };
    for record in &input.records {
        let stop = |why: String| Stop::at(slot, input.from, record.offset, why);
        let announcement = DayAnnouncement::parse(&record.value).map_err(|e| stop(e.to_string()))?;
        let DayAnnouncement { book, day, ingest_slots, .. } = announcement;
        if book != config.book {
            return Err(stop(format!("announces a day of book {book:?}, this slot keeps {:?}", config.book)));
        }
        if ingest_slots != config.slots {
            return Err(stop(format!("announced to {ingest_slots} ingest slots, here are {}", config.slots)));
        }
        match current {
            Some(in_force) if day == in_force => continue,
            Some(in_force) if day != in_force.next() => {
                return Err(stop(format!("announces {day} after {in_force}, expected {}", in_force.next())));
            }
            _ => {}
        }
        current = Some(day);
        switches.push(day);
    }
    Ok(switches)
}
