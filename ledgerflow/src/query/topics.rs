//! Topics: what lies in them, and what each is for.

use super::books::Books;
use super::{Answer, Ending};
use crate::cli::output::Table;
use schemas::topics::{Retention, Topic};
use stream::log::{Isolation, Offset, TopicPartition};

/// `topics list`.
pub(super) fn topics(books: &Books) -> anyhow::Result<Answer> {
    if books.log.features().compaction { topics_on_kafka(books) } else { topics_embedded(books) }
}

fn topics_embedded(books: &Books) -> anyhow::Result<Answer> {
    let columns = ["topic", "partitions", "records", "removed", "retention", "value"];
    let mut table = Table::new("topics", &columns);
    for topic in Topic::ALL {
        let Held { partitions, low, high, .. } = held(books, *topic)?;
        let (kept, value) = (kept(*topic).into(), topic.value().into());
        table.row([topic.name().into(), partitions.into(), (high - low).into(), low.into(), kept, value]);
    }
    Ok(Answer::tables(vec![table]))
}

/// On Kafka, commit markers take offsets too, and a transaction that is open holds back what was written after it.
fn topics_on_kafka(books: &Books) -> anyhow::Result<Answer> {
    let columns = ["topic", "partitions", "offsets", "removed", "held_back", "retention", "value"];
    let mut table = Table::new("topics", &columns);
    for topic in Topic::ALL {
        let Held { partitions, low, high, end } = held(books, *topic)?;
        let (offsets, held_back) = (high - low, (end - high).max(0));
        table.row([
            topic.name().into(),
            partitions.into(),
            offsets.into(),
            low.into(),
            held_back.into(),
            kept_on_kafka(*topic).into(),
            topic.value().into(),
        ]);
    }
    Ok(Answer::tables(vec![table]))
}

/// Bounds of a topic's partitions, added up.
#[derive(Default)]
struct Held {
    partitions: u32,
    low: Offset,
    /// Of what is committed.
    high: Offset,
    /// Of everything.
    end: Offset,
}

fn held(books: &Books, topic: Topic) -> anyhow::Result<Held> {
    let mut held = Held { partitions: books.log.partitions(topic)?, ..Held::default() };
    for partition in 0..held.partitions {
        let at = TopicPartition::new(topic, partition);
        let committed = books.log.watermarks(at, Isolation::Committed)?;
        held.low += committed.low;
        held.high += committed.high;
        held.end += books.log.watermarks(at, Isolation::Uncommitted)?.high;
    }
    Ok(held)
}

/// How long Kafka keeps records: the settings that `topics create` gives a topic.
fn kept_on_kafka(topic: Topic) -> &'static str {
    match topic.retention() {
        Retention::Forever => "for ever",
        Retention::BelowReaders => "7 days",
        Retention::Compacted => "newest of a key",
    }
}

/// How long the embedded log keeps records; see `retention.*` in the configuration.
fn kept(topic: Topic) -> &'static str {
    match topic.retention() {
        Retention::Forever => "for ever",
        _ if topic == Topic::Snapshots => "the two newest",
        _ if crate::retention::goes_by_age(topic) => "by age",
        _ => "until read",
    }
}

/// `topics describe`.
#[must_use]
pub fn topic(name: &str) -> Answer {
    let Some(topic) = Topic::by_name(name) else {
        let all: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
        return Answer::says(Ending::NotFound, format!("no topic {name:?}; there are {}", all.join(", ")));
    };
    let mut table = Table::new("topic", &["field", "value"]);
    let rows = [
        ("topic", topic.name().to_owned()),
        ("holds", topic.describe().to_owned()),
        ("value", topic.value().to_owned()),
        ("partitioning", format!("{:?}", topic.partitioning()).to_lowercase()),
        ("retention", kept(topic).to_owned()),
        ("retention_on_kafka", kept_on_kafka(topic).to_owned()),
    ];
    for (field, value) in rows {
        table.row([field.into(), value.into()]);
    }
    Answer::tables(vec![table])
}
