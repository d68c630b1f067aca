//! How far the log may be given up: never beyond what files hold.

use super::*;
use crate::archive::Place;
use crate::runtime::Setup;
use bytes::Bytes;
use schemas::topics::PartitionCounts;
use std::sync::Arc;
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Log, OutRecord};

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 1 };
const BILLS: TopicPartition = TopicPartition::new(Topic::BillsRaw, 0);
const JOURNAL: TopicPartition = TopicPartition::new(Topic::Journal, 0);

/// A round that ended before everything was taken, or an archive that is behind: the log has ten records of each.
#[test]
fn what_no_file_holds_stays_and_so_does_the_newest_record_of_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(EmbeddedLog::open(&dir.path().join("data"), Options::new(COUNTS)).unwrap());
    let books = TopicPartition::new(Topic::Books, 0);
    for at in std::iter::once(books).chain([BILLS, JOURNAL].repeat(10)) {
        log.append(vec![OutRecord::new(at, Bytes::from_static(b"record"))]).unwrap();
    }
    let place = Place { dir: dir.path().join("archive"), file_bytes: 1 << 20 };
    let setup = Setup { archive: Some(place), ..Setup::new(COUNTS) };
    let (_, archiving) = crate::archive::below(log, &setup).unwrap();
    let archiving = archiving.unwrap();
    let part = |at, to| Part { at, from: 0, to, taken: Vec::new(), given_up_to: None };
    // Of a partition that processors read: up to where files reach, where it is needed there and from where on.
    let rows = [
        (BILLS, 4, None, Some(3)),
        (BILLS, 10, None, Some(9)),
        (BILLS, 1, None, None),
        (JOURNAL, 4, Some(8), Some(4)),
        (JOURNAL, 8, Some(4), Some(4)),
        (JOURNAL, 4, Some(0), None),
    ];
    for (at, held, needed, goes) in rows {
        let needed = needed.map(|needed| (at, needed)).into_iter().collect();
        let below = may_go(&needed, &archiving, &[part(at, held)]).unwrap();
        assert_eq!(below.get(&at).copied(), goes, "{at}: files to {held}, needed from {needed:?} on");
    }
}
