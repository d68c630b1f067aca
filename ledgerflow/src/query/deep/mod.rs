//! `verify --deep`: every batch of every chain from the first on, with all hashes computed again; and heads that were taken
//! of the journal, held against what is in it now.
//!
//! Order relied on: notes of a chain are read before the chain, so that a chain that grows meanwhile never falls short of
//! them. The topics are read in the order of [`CHAINS`].

mod chain;
mod finding;
mod heads;
#[cfg(test)]
mod tests;

use super::books::Books;
use super::envelope::Whole;
use super::history::Histories;
use super::{Answer, Ending};
use crate::cli::output::Table;
use crate::head::HeadAsked;
use crate::measure::recount::range;
use chain::{By, Chain, Witness, may_be_given_up};
use finding::{Findings, Kind, Place};
use schemas::batch::Hash;
use schemas::topics::Topic;
use schemas::wire::BatchHeader;
use std::collections::BTreeMap;
use stream::log::{Fetch, Isolation, Log, TopicPartition};
use stream::worker::position::Metadata;

/// Topics that hold chains: first those whose headers note batches of others.
const CHAINS: [Topic; 6] = [
    Topic::ReconState,
    Topic::Journal,
    Topic::IngestState,
    Topic::Commands,
    Topic::Credits,
    Topic::ReconSides,
];

/// Changelogs: who writes them, and an input on which their writer commits positions that name their last batch.
const CHANGELOGS: [(Topic, &str, Topic); 3] = [
    (Topic::IngestState, "ingest", Topic::Events1),
    (Topic::Journal, "posting", Topic::Commands),
    (Topic::ReconState, "rekey", Topic::Journal),
];

/// What was read of a topic.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    partitions: u32,
    chains: usize,
    batches: u64,
    items: u64,
}

/// The log as it was walked.
#[derive(Default)]
struct Walk {
    /// By topic, partition and writer's slot.
    chains: BTreeMap<(Topic, u32, u32), Chain>,
    histories: Histories,
    found: Findings,
    counted: Vec<(Topic, Counted)>,
}

/// `verify --deep`.
pub(super) fn verify_deep(books: &Books, asked: &[HeadAsked]) -> anyhow::Result<Answer> {
    // Retention of this process waits for what is not read yet.
    let hold = books.retention.hold();
    let mut walk = walk(books.log.as_ref())?;
    drop(hold);
    let heads = heads::compare(&walk.histories, asked, &mut walk.found)?;
    let batches: u64 = walk.counted.iter().map(|(_, counted)| counted.batches).sum();
    let mut tables = vec![walk.table(), heads, walk.found.table()];
    let told = format!("{batches} batches of {} chains read", walk.chains.len());
    if walk.found.count > 0 {
        let message = format!("{told}: {} findings", walk.found.count);
        return Ok(Answer { ending: Ending::Wrong, message: Some(message), ..Answer::tables(tables) });
    }
    // A state that is rebuilt from batches that are not those that were written proves nothing, so it comes after them.
    let states = super::verify::verify(books, false)?;
    tables.extend(states.tables);
    let message = format!("{told}, every hash as it must be; {}", states.message.unwrap_or_default());
    Ok(Answer { ending: states.ending, message: Some(message), ..Answer::tables(tables) })
}

/// Reads every chain.
fn walk(log: &dyn Log) -> anyhow::Result<Walk> {
    let histories = Histories::new(log.partitions(Topic::Journal)?);
    let mut walk = Walk { histories, ..Walk::default() };
    let positions = positions(log)?;
    for topic in CHAINS {
        let mut counted = Counted { partitions: log.partitions(topic)?, ..Counted::default() };
        for partition in 0..counted.partitions {
            let at = TopicPartition::new(topic, partition);
            if let Some(witness) = positions.get(&at) {
                walk.promise((topic, partition, partition), *witness);
            }
            walk.partition(log, at, &mut counted)?;
        }
        walk.counted.push((topic, counted));
    }
    Ok(walk)
}

/// The last batch of each changelog, as its writer's committed positions name it.
fn positions(log: &dyn Log) -> anyhow::Result<BTreeMap<TopicPartition, Witness>> {
    let mut all = BTreeMap::new();
    for (changelog, group, input) in CHANGELOGS {
        let places = (0..log.partitions(changelog)?).map(|slot| TopicPartition::new(input, slot));
        let places: Vec<TopicPartition> = places.collect();
        for (at, position) in places.iter().zip(log.committed(group, &places)?) {
            let Some(named) = position.and_then(|position| Metadata::parse(&position.metadata)) else {
                continue;
            };
            let witness = Witness { sequence: named.batch, hash: named.hash, by: By::Position(*at) };
            all.insert(TopicPartition::new(changelog, at.partition), witness);
        }
    }
    Ok(all)
}

impl Walk {
    fn promise(&mut self, chain: (Topic, u32, u32), witness: Witness) {
        if witness.sequence > 0 {
            self.chains.entry(chain).or_default().promise(witness);
        }
    }

    fn partition(&mut self, log: &dyn Log, at: TopicPartition, counted: &mut Counted) -> anyhow::Result<()> {
        let bounds = log.watermarks(at, Isolation::Committed)?;
        let given_up = bounds.low > 0 && may_be_given_up(at.topic);
        range(log, at, bounds.low, bounds.high, &mut |fetch| {
            self.fetch(fetch, given_up, counted);
            Ok(())
        })?;
        let Self { chains, found, .. } = self;
        let own = chains.range_mut((at.topic, at.partition, 0)..=(at.topic, at.partition, u32::MAX));
        for (_, chain) in own {
            counted.chains += 1;
            chain.end(at, given_up, found);
        }
        Ok(())
    }

    fn fetch(&mut self, fetch: &Fetch, given_up: bool, counted: &mut Counted) {
        let at = fetch.from;
        for record in &fetch.records {
            counted.batches += 1;
            let place = Place::record(at, record.offset);
            match Whole::open(&record.value) {
                Ok(whole) => {
                    counted.items += whole.items.len() as u64;
                    self.batch(place, &whole, given_up);
                }
                Err(why) => self.unreadable(place, &record.value, &why),
            }
        }
    }

    fn batch(&mut self, place: Place, whole: &Whole, given_up: bool) {
        let (at, header) = (place.at, &whole.header);
        let place = Place { batch: Some(header.sequence), ..place };
        if let Some(what) = misplaced(at, header) {
            self.found.add(Kind::Edited, Some(place), what);
        }
        let chain = self.chains.entry((at.topic, at.partition, header.slot)).or_default();
        chain.take(place, whole, given_up, &mut self.found);
        self.witness(at, header);
        if at.topic == Topic::Journal
            && let Some(history) = self.history(at.partition)
        {
            history.push(whole);
        }
    }

    fn history(&mut self, partition: u32) -> Option<&mut super::history::History> {
        self.histories.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    /// A record that is no batch: of whichever chain it was.
    fn unreadable(&mut self, place: Place, value: &[u8], why: &str) {
        let (topic, partition) = (place.at.topic, place.at.partition);
        if is_changelog(topic) {
            self.chains.entry((topic, partition, partition)).or_default();
        }
        for (_, chain) in self.chains.range_mut((topic, partition, 0)..=(topic, partition, u32::MAX)) {
            chain.unreadable();
        }
        self.found.add(Kind::Edited, Some(place), format!("the record {why}"));
        if topic == Topic::Journal
            && let Some(history) = self.history(partition)
        {
            history.push_unreadable(value);
        }
    }

    /// What a header notes of other chains.
    fn witness(&mut self, at: TopicPartition, header: &BatchHeader) {
        let by = By::Batch(at, header.sequence);
        for mark in &header.mark {
            // On `credits` a mark is of an item.
            let topic = Topic::by_name(&mark.topic).filter(|topic| *topic != Topic::Credits);
            if let (Some(topic), Ok(hash)) = (topic, Hash::try_from(&mark.hash[..])) {
                self.promise((topic, at.partition, mark.slot), Witness { sequence: mark.sequence, hash, by });
            }
        }
        for channel in &header.channel {
            if let Ok(hash) = Hash::try_from(&channel.batch_hash[..]) {
                let witness = Witness { sequence: channel.batch_sequence, hash, by };
                self.promise((Topic::Credits, channel.partition, header.slot), witness);
            }
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new("chains", &["topic", "partitions", "chains", "batches", "items"]);
        for (topic, counted) in &self.counted {
            table.row([
                topic.name().into(),
                counted.partitions.into(),
                counted.chains.into(),
                counted.batches.into(),
                counted.items.into(),
            ]);
        }
        table
    }
}

fn is_changelog(topic: Topic) -> bool {
    CHANGELOGS.iter().any(|(changelog, ..)| *changelog == topic)
}

/// A changelog is written by the slot of its partition, one batch a window.
fn misplaced(at: TopicPartition, header: &BatchHeader) -> Option<String> {
    let changelog = is_changelog(at.topic);
    if changelog && header.slot != at.partition {
        return Some(format!("the batch is of slot {}", header.slot));
    }
    (changelog && header.batch != header.sequence)
        .then(|| format!("the batch is of window {} and stands as batch {}", header.batch, header.sequence))
}
