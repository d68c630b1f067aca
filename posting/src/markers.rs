//! Day markers: counted against what arrived, passed on, and the day aligned when all are in (ARCHITECTURE rule 7).

use crate::days::{Kind, TallyKey};
use crate::decide::Broken;
use crate::overlay::Overlay;
use schemas::wire::{Aligned, DayMarker, DayMarkerSeen, DayMarkerSent, credit_item, journal_item::Item};

/// A day marker of an ingest slot.
///
/// # Errors
/// [`Broken`] when its count or sums are not what arrived.
pub fn of_ingest(o: &mut Overlay<'_>, from: u32, marker: DayMarker) -> Result<(), Broken> {
    let (date, book) = (marker.date, marker.book.clone());
    let key = TallyKey { kind: Kind::CommandsIn, peer: from, date, book: book.clone() };
    agree(o, &key, &marker, &format!("ingest slot {from}"))?;
    let ingest_slots = o.config.ingest_slots;
    let days = o.book_days(&book);
    days.ingest_seen.insert((date, from));
    let complete = days.all_ingest_in(date, ingest_slots);
    o.journal(Item::DayMarkerSeen(DayMarkerSeen {
        credits: false,
        from,
        sequence: 0,
        marker: Some(marker),
        item_check: 0,
    }));
    if complete {
        send_markers(o, &book, date);
        align(o, &book, date);
    }
    Ok(())
}

/// A day marker of another partition.
///
/// # Errors
/// [`Broken`] when its count, its sums or its place are not what arrived.
pub fn of_partition(
    o: &mut Overlay<'_>,
    from: u32,
    sequence: u64,
    check: u64,
    marker: DayMarker,
) -> Result<(), Broken> {
    let (date, book) = (marker.date, marker.book.clone());
    let key = TallyKey { kind: Kind::CreditsIn, peer: from, date, book: book.clone() };
    agree(o, &key, &marker, &format!("partition {from}"))?;
    if marker.last_sequence != sequence.saturating_sub(1) {
        return Err(format!("partition {from}: marker of day {date} is out of place"));
    }
    o.book_days(&book).partitions_seen.insert((date, from));
    o.journal(Item::DayMarkerSeen(DayMarkerSeen {
        credits: true,
        from,
        sequence,
        marker: Some(marker),
        item_check: check,
    }));
    align(o, &book, date);
    Ok(())
}

fn agree(o: &Overlay<'_>, key: &TallyKey, marker: &DayMarker, who: &str) -> Result<(), Broken> {
    let credits = key.kind == Kind::CreditsIn;
    if o.read_days(&key.book).is_some_and(|days| days.marked(credits, key.date, key.peer)) {
        return Err(format!("{who}: second marker of day {}", key.date));
    }
    let tally = o.read_tally(key);
    if tally.agrees(marker) {
        return Ok(());
    }
    Err(format!(
        "{who}: marker of day {} states {} items {:?}, {} {:?} arrived",
        marker.date,
        marker.count,
        marker.sum,
        tally.count,
        tally.wire_sums()
    ))
}

fn send_markers(o: &mut Overlay<'_>, book: &str, date: i32) {
    let own = o.base.slot;
    let (mut sequences, mut markers) = (Vec::new(), Vec::new());
    for to in (0..o.config.map.partitions()).filter(|to| *to != own) {
        let key = TallyKey { kind: Kind::CreditsOut, peer: to, date, book: book.to_owned() };
        let tally = o.read_tally(&key);
        let marker = DayMarker {
            book: book.to_owned(),
            date,
            count: tally.count,
            sum: tally.wire_sums(),
            last_sequence: o.last_sequence(to),
        };
        let sequence = o.send(to, credit_item::Item::DayMarker(marker.clone()));
        markers.push(marker);
        sequences.push(schemas::wire::ChannelSequence { partition: to, sequence, ..Default::default() });
    }
    o.book_days(book).sent = Some(date);
    let (book, sequence, marker) = (book.to_owned(), sequences, markers);
    o.journal(Item::DayMarkerSent(DayMarkerSent { book, date, sequence, marker }));
}

fn align(o: &mut Overlay<'_>, book: &str, date: i32) {
    let partitions = o.config.map.partitions();
    let days = o.book_days(book);
    if days.sent.is_some_and(|sent| sent >= date) && days.all_partitions_in(date, partitions) {
        days.align(date);
        o.journal(Item::Aligned(Aligned { book: book.to_owned(), date }));
    }
}
