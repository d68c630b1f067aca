//! Gaps in the channels of other partitions: what comes above the next item waits, and its sender is asked for what is
//! missing (ARCHITECTURE rule 6).
//!
//! Phases: an item above the next one is held, or dropped past [`HELD_MAX`](crate::config::HELD_MAX) -> at the end of
//! that window the sender is asked -> while nothing of it comes, it is asked again by business time, at doubling
//! intervals -> the gap is closed.

use crate::channels::{Asked, Incoming};
use crate::config::{RESEND_AFTER_US, RESEND_DOUBLINGS_MAX};
use crate::decide::Broken;
use crate::overlay::Overlay;
use crate::resend;
use crate::state::Slot;
use crate::views::{CreditItemView, CreditKind};
use bytes::Bytes;
use schemas::wire::{Held, Resend, ResendAsked, credit_item, journal_item::Item};
use std::collections::BTreeSet;

/// What a gap needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Nothing yet.
    Wait,
    /// Some of what was asked for has come: the wait begins anew.
    Go,
    /// The sender must be asked, for the `times`th time.
    Ask { times: u32 },
}

fn due(channel: &Incoming, now_us: i64) -> Due {
    let Some(asked) = channel.asked else { return Due::Ask { times: 1 } };
    let doublings = asked.times.saturating_sub(1).min(RESEND_DOUBLINGS_MAX);
    if now_us.saturating_sub(asked.at_us) < RESEND_AFTER_US << doublings {
        Due::Wait
    } else if channel.mark >= asked.from_sequence {
        Due::Go
    } else {
        Due::Ask { times: asked.times.saturating_add(1) }
    }
}

/// Keeps an item that came above the next one (`encoded`), or drops it past the bound (`None`).
///
/// # Errors
/// [`Broken`] when it asks for what was never sent.
pub fn hold(
    o: &mut Overlay<'_>,
    from: u32,
    item: &CreditItemView<'_>,
    encoded: Option<&[u8]>,
) -> Result<(), Broken> {
    let (sequence, dropped) = (item.sequence, encoded.is_none());
    let kept = encoded.map(Bytes::copy_from_slice);
    o.channel(from).hold(sequence, kept.clone());
    o.journal(Item::Held(Held { from, sequence, item: kept.unwrap_or_default(), dropped }));
    match item.kind {
        CreditKind::Resend(asked) => resend::asked(o, from, sequence, asked.from_sequence),
        _ => Ok(()),
    }
}

/// Asks for what is missing: at once where a gap has opened in this window, again where the time for it has come.
pub fn ask(o: &mut Overlay<'_>) {
    let mut open: BTreeSet<u32> = o.incoming.iter().filter(|(_, c)| c.gap()).map(|(from, _)| *from).collect();
    if o.tick_us > o.base.tick_us {
        let unchanged = o.base.incoming.iter().filter(|(from, _)| !o.incoming.contains_key(from));
        open.extend(unchanged.filter(|(_, c)| c.gap()).map(|(from, _)| *from));
    }
    for from in open {
        let business_time_us = o.tick_us;
        let channel = o.incoming.get(&from).or_else(|| o.base.incoming.get(&from));
        let Some((due, mark)) = channel.map(|c| (due(c, business_time_us), c.mark)) else { continue };
        let from_sequence = mark + 1;
        let (sequence, times) = match due {
            Due::Wait => continue,
            Due::Go => (0, 1),
            Due::Ask { times } => (o.send(from, credit_item::Item::Resend(Resend { from_sequence })), times),
        };
        o.channel(from).asked = Some(Asked { from_sequence, at_us: business_time_us, times });
        o.journal(Item::ResendAsked(ResendAsked { from, from_sequence, sequence, business_time_us, times }));
    }
}

/// Gaps in words, for the operator.
pub fn in_words(slot: &Slot) -> impl Iterator<Item = String> {
    slot.incoming.iter().filter(|(_, channel)| channel.gap()).map(|(from, channel)| {
        let (missing, held, dropped) = (channel.mark + 1, channel.held.len(), channel.dropped);
        let times = channel.asked.map_or(0, |asked| asked.times);
        let to = slot.slot;
        format!(
            "channel p{from:02} to p{to:02}: item {missing} is missing, asked for {times} times; \
             {held} wait, {dropped} were dropped"
        )
    })
}
