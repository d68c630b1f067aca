//! Candidate: redb 4; commits without durability, made durable by an empty durable commit.

use crate::keyed::{Engine, Key, Keyed};
use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::Path;

const RECORDS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("records");

pub struct Redb(Database);

pub fn open(directory: &Path) -> Keyed<Redb> {
    let database = Database::builder().set_cache_size(64 << 20).create(directory.join("log.redb")).unwrap();
    let begin = database.begin_write().unwrap();
    begin.open_table(RECORDS).unwrap();
    begin.commit().unwrap();
    Keyed::new(Redb(database))
}

impl Engine for Redb {
    fn write(&self, pairs: Vec<(Key, Bytes)>) {
        let mut transaction = self.0.begin_write().unwrap();
        transaction.set_durability(Durability::None).unwrap();
        {
            let mut table = transaction.open_table(RECORDS).unwrap();
            for (key, value) in pairs {
                table.insert(key, value.as_ref()).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn read(&self, from: Key, to: Key, bytes: usize) -> Vec<Bytes> {
        let transaction = self.0.begin_read().unwrap();
        let table = transaction.open_table(RECORDS).unwrap();
        let mut values = Vec::new();
        let mut left = bytes;
        for pair in table.range(from..to).unwrap() {
            let value = pair.unwrap().1;
            let value = Bytes::copy_from_slice(value.value());
            left = left.saturating_sub(value.len());
            values.push(value);
            if left == 0 {
                break;
            }
        }
        values
    }

    fn sync(&self) {
        let transaction = self.0.begin_write().unwrap();
        transaction.commit().unwrap();
    }
}
