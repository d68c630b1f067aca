//! Candidate: fjall 3, values apart from keys (its setting for large values), no compression.

use crate::keyed::{Engine, Key, Keyed};
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use std::path::Path;

pub struct Fjall {
    database: Database,
    records: Keyspace,
}

pub fn open(directory: &Path) -> Keyed<Fjall> {
    let database = Database::builder(directory).open().unwrap();
    let options =
        || KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()));
    let records = database.keyspace("records", options).unwrap();
    Keyed::new(Fjall { database, records })
}

impl Engine for Fjall {
    fn write(&self, pairs: Vec<(Key, Bytes)>) {
        let mut batch = self.database.batch();
        for (key, value) in pairs {
            batch.insert(&self.records, key.as_slice(), value.as_ref());
        }
        batch.commit().unwrap();
    }

    fn read(&self, from: Key, to: Key, bytes: usize) -> Vec<Bytes> {
        let mut values = Vec::new();
        let mut left = bytes;
        for pair in self.records.range(from..to) {
            let value = pair.value().unwrap();
            left = left.saturating_sub(value.len());
            values.push(Bytes::from_owner(value));
            if left == 0 {
                break;
            }
        }
        values
    }

    fn sync(&self) {
        self.database.persist(PersistMode::SyncData).unwrap();
    }
}
