//! A log on top of a key-value engine: key = topic, partition, offset; what is missing there (offsets, waking readers) is
//! done here, the same for both engines.

use crate::{Candidate, PARTITIONS, Source, Taken};
use bytes::Bytes;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// One record's key, or a position's.
pub type Key = [u8; 13];

/// A transactional key-value engine.
pub trait Engine: Send + Sync {
    /// Writes all pairs as one transaction, not yet synced.
    fn write(&self, pairs: Vec<(Key, Bytes)>);
    /// Values from `from` up to but not including `to`, in order, until `bytes` are reached.
    fn read(&self, from: Key, to: Key, bytes: usize) -> Vec<Bytes>;
    /// Syncs everything written.
    fn sync(&self);
}

pub struct Keyed<E> {
    pub engine: E,
    /// Next offset of every partition of every topic; held during a write, so that offsets become visible in order.
    next: Mutex<[[i64; PARTITIONS as usize]; 3]>,
    changed: Condvar,
}

impl<E: Engine> Keyed<E> {
    pub fn new(engine: E) -> Self {
        Self { engine, next: Mutex::new([[0; PARTITIONS as usize]; 3]), changed: Condvar::new() }
    }
}

fn key(topic: usize, partition: u32, offset: i64) -> Key {
    let mut key = [0; 13];
    key[0] = u8::try_from(topic).unwrap();
    key[1..5].copy_from_slice(&partition.to_be_bytes());
    key[5..].copy_from_slice(&offset.to_be_bytes());
    key
}

impl<E: Engine> Candidate for Keyed<E> {
    fn commit(&self, topic: usize, records: Vec<(u32, Bytes)>, positions: &[(u32, i64)]) {
        let mut pairs = Vec::with_capacity(records.len() + positions.len());
        for (partition, offset) in positions {
            pairs.push((key(100 + topic, *partition, 0), Bytes::copy_from_slice(&offset.to_be_bytes())));
        }
        let mut next = self.next.lock().unwrap();
        for (partition, value) in records {
            let offset = &mut next[topic][partition as usize];
            pairs.push((key(topic, partition, *offset), value));
            *offset += 1;
        }
        self.engine.write(pairs);
        drop(next);
        self.changed.notify_all();
    }

    fn reader(&self, topic: usize) -> Box<dyn Source + '_> {
        Box::new(KeyedSource { log: self, topic, position: [0; PARTITIONS as usize] })
    }

    fn sync(&self) {
        self.engine.sync();
    }

    fn syncs_itself(&self) -> bool {
        false
    }
}

struct KeyedSource<'a, E> {
    log: &'a Keyed<E>,
    topic: usize,
    position: [i64; PARTITIONS as usize],
}

impl<E: Engine> Source for KeyedSource<'_, E> {
    fn take(&mut self, bytes: usize, wait: Duration) -> Vec<Taken> {
        let (topic, position) = (self.topic, self.position);
        let next = self.log.next.lock().unwrap();
        let (next, _) =
            self.log.changed.wait_timeout_while(next, wait, |next| next[topic] == position).unwrap();
        let ends = next[topic];
        drop(next);
        let mut taken: Vec<Taken> = Vec::new();
        let mut left = bytes;
        for partition in 0..PARTITIONS {
            let at = &mut self.position[partition as usize];
            let end = ends[partition as usize];
            if *at == end || (left == 0 && !taken.is_empty()) {
                continue;
            }
            let values = self.log.engine.read(key(topic, partition, *at), key(topic, partition, end), left);
            for value in values {
                *at += 1;
                left = left.saturating_sub(value.len());
                taken.push((partition, *at, value));
            }
        }
        taken
    }
}
