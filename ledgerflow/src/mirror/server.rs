//! Redis, as the mirror uses it: keys, scripts, watermarks. Every call has a time-out; after an error the connection is
//! dropped by whoever has it.
//!
//! Keys: `PREFIX balance:ACCOUNT`, a hash with two fields an asset, `ASSET` (JSON) and `ASSET#version`
//! (`generation:seq`); `PREFIX slot:N`, a hash with the slot's watermark.

use super::entry::Entry;
use super::url::RedisUrl;
use redis::{Connection, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use stream::log::Offset;

/// How long Redis may take to be reached, to answer, to take bytes.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Entries of one call of a script: Redis does nothing else meanwhile.
const CALL_ENTRIES_MAX: usize = 500;
/// Bytes of JSON sent before answers are read.
const PIPELINE_BYTES_MAX: usize = 1 << 20;
/// Keys looked at by one step of a scan.
const SCAN_COUNT: usize = 500;

/// Redis does not do what it is asked: it is not there, refuses or is too slow. The text holds no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(String);

impl From<RedisError> for Away {
    fn from(error: RedisError) -> Self {
        let what =
            if error.is_timeout() { format!("no answer within {TIMEOUT:?}") } else { error.to_string() };
        Self(what)
    }
}

impl Away {
    fn unexpected(what: &str) -> Self {
        Self(format!("{what} is not understood"))
    }
}

/// How far a slot is mirrored, as it stands in Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watermark {
    /// Generation of the books.
    pub generation: u32,
    /// Next offset of the slot's partition of `balances` that is not mirrored.
    pub offset: Offset,
    /// Journal batch up to which every balance is there; absent during a rebuild.
    pub journal_batch: Option<u64>,
    /// Its business time, RFC 3339, as far as it is known.
    pub business_time: Option<String>,
    /// When it was last moved, RFC 3339.
    pub mirrored_at: Option<String>,
    /// Offset at which a rebuild that is under way ends.
    pub rebuild_until: Option<Offset>,
    /// Replication id of the Redis that it was written to.
    pub replication_id: String,
    /// `offset:hash` of the last record mirrored.
    pub record: Option<String>,
}

const JOURNAL_BATCH: &str = "journal_batch";
const BUSINESS_TIME: &str = "business_time";
const MIRRORED_AT: &str = "mirrored_at";
const REBUILD_UNTIL: &str = "rebuild_until";
const REPLICATION_ID: &str = "replication_id";
const RECORD: &str = "record";

impl Watermark {
    fn read(fields: &BTreeMap<String, String>) -> Option<Self> {
        let text = |name: &str| fields.get(name).cloned();
        let offset = |name: &str| fields.get(name)?.parse().ok();
        Some(Self {
            generation: fields.get("generation")?.parse().ok()?,
            offset: offset("offset")?,
            journal_batch: fields.get(JOURNAL_BATCH).and_then(|batch| batch.parse().ok()),
            business_time: text(BUSINESS_TIME),
            mirrored_at: text(MIRRORED_AT),
            rebuild_until: offset(REBUILD_UNTIL),
            replication_id: text(REPLICATION_ID)?,
            record: text(RECORD),
        })
    }

    fn fields(&self) -> [(&'static str, String); 6] {
        let number = |number: Option<String>| number.unwrap_or_default();
        [
            (JOURNAL_BATCH, number(self.journal_batch.map(|batch| batch.to_string()))),
            (BUSINESS_TIME, self.business_time.clone().unwrap_or_default()),
            (MIRRORED_AT, self.mirrored_at.clone().unwrap_or_default()),
            (REBUILD_UNTIL, number(self.rebuild_until.map(|offset| offset.to_string()))),
            (REPLICATION_ID, self.replication_id.clone()),
            (RECORD, self.record.clone().unwrap_or_default()),
        ]
    }
}

/// From where a watermark is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Everything from this offset on has been written.
    Offset(Offset),
    /// From wherever it is: a rebuild begins or ends.
    Anywhere,
}

/// What became of a watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It was moved.
    Yes,
    /// Somebody else is further.
    Ahead,
    /// It is lower than where this move begins, or there is none.
    Gap,
    /// The mirror is of a newer generation.
    Older,
}

/// The scripts' hashes, as this server told them.
#[derive(Debug)]
struct Scripts {
    put: String,
    advance: String,
    forget: String,
}

/// A connection.
pub struct Server {
    connection: Connection,
    prefix: String,
    /// Changes with every start of the server and with every fail-over.
    replication_id: String,
    scripts: Scripts,
}

impl Server {
    /// Connects, loads the scripts.
    ///
    /// # Errors
    /// [`Away`].
    pub fn connect(url: &RedisUrl, prefix: &str) -> Result<Self, Away> {
        let mut connection = url.client()?.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        let info: String = redis::cmd("INFO").arg("replication").query(&mut connection)?;
        let id = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
        let replication_id = id.ok_or_else(|| Away::unexpected("INFO replication"))?.trim().to_owned();
        let scripts = Scripts::load(&mut connection)?;
        Ok(Self { connection, prefix: prefix.to_owned(), replication_id, scripts })
    }

    /// Its replication id.
    #[must_use]
    pub fn replication_id(&self) -> &str {
        &self.replication_id
    }

    /// What it tells of itself (`INFO`), by name.
    ///
    /// # Errors
    /// [`Away`].
    pub fn info(&mut self) -> Result<BTreeMap<String, String>, Away> {
        let text: String = redis::cmd("INFO").query(&mut self.connection)?;
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn account(&self, account: &str) -> String {
        format!("{}balance:{account}", self.prefix)
    }

    fn slot(&self, slot: u32) -> String {
        format!("{}slot:{slot}", self.prefix)
    }

    /// The watermark of a slot; one that cannot be understood counts as none.
    ///
    /// # Errors
    /// [`Away`].
    pub fn watermark(&mut self, slot: u32) -> Result<Option<Watermark>, Away> {
        let fields: BTreeMap<String, String> =
            redis::cmd("HGETALL").arg(self.slot(slot)).query(&mut self.connection)?;
        Ok(Watermark::read(&fields))
    }

    /// Writes those entries that are newer than what is there, and returns how many were. When it returns, all are there.
    ///
    /// # Errors
    /// [`Away`]: some are there, some are not.
    pub fn put<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<u64, Away> {
        let (mut calls, mut bytes, mut newer) = (Vec::<Vec<&Entry>>::new(), 0, 0);
        for entry in entries {
            match calls.last_mut().filter(|call| call.len() < CALL_ENTRIES_MAX) {
                Some(call) => call.push(entry),
                None => calls.push(vec![entry]),
            }
            bytes += entry.json.len();
            if bytes >= PIPELINE_BYTES_MAX {
                newer += self.put_calls(&std::mem::take(&mut calls))?;
                bytes = 0;
            }
        }
        Ok(newer + self.put_calls(&calls)?)
    }

    fn put_calls(&mut self, calls: &[Vec<&Entry>]) -> Result<u64, Away> {
        let answers: Vec<u64> = self.call(|server| {
            let mut pipeline = redis::pipe();
            for call in calls {
                pipeline.cmd("EVALSHA").arg(&server.scripts.put).arg(call.len());
                for entry in call {
                    pipeline.arg(server.account(&entry.account));
                }
                for Entry { asset, version, json, .. } in call {
                    pipeline.arg(asset).arg(version.generation).arg(version.seq).arg(json);
                }
            }
            pipeline
        })?;
        Ok(answers.into_iter().sum())
    }

    /// Moves watermarks. The entries before them must have been written: Redis executes what follows a failed command in
    /// a pipeline, so a watermark never travels together with its entries.
    ///
    /// # Errors
    /// [`Away`]: some are moved, some are not.
    pub fn advance(&mut self, marks: &[(u32, Base, Watermark)]) -> Result<Vec<Moved>, Away> {
        let answers: Vec<String> = self.call(|server| {
            let mut pipeline = redis::pipe();
            for (slot, from, mark) in marks {
                let from = match from {
                    Base::Offset(offset) => offset.to_string(),
                    Base::Anywhere => String::new(),
                };
                pipeline.cmd("EVALSHA").arg(&server.scripts.advance).arg(1).arg(server.slot(*slot));
                pipeline.arg(from).arg(mark.generation).arg(mark.offset);
                for (name, value) in mark.fields() {
                    pipeline.arg(name).arg(value);
                }
            }
            pipeline
        })?;
        let moved = |answer: String| match answer.as_str() {
            "moved" => Ok(Moved::Yes),
            "ahead" => Ok(Moved::Ahead),
            "gap" => Ok(Moved::Gap),
            "older" => Ok(Moved::Older),
            _ => Err(Away::unexpected("an answer")),
        };
        answers.into_iter().map(moved).collect()
    }

    /// Takes a slot's watermark away.
    ///
    /// # Errors
    /// [`Away`].
    pub fn unmark(&mut self, slot: u32) -> Result<(), Away> {
        Ok(redis::cmd("DEL").arg(self.slot(slot)).query(&mut self.connection)?)
    }

    /// One step of taking a slot's balances away; begins at 0, returns where the next one begins, 0 = done.
    ///
    /// # Errors
    /// [`Away`].
    pub fn forget(&mut self, slot: u32, cursor: u64) -> Result<u64, Away> {
        let pattern = format!("{}balance:*", escaped(&self.prefix));
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        let (next, keys): (u64, Vec<String>) = scan.query(&mut self.connection)?;
        let _taken_away: Vec<u64> = self.call(|server| {
            let mut pipeline = redis::pipe();
            for keys in keys.chunks(CALL_ENTRIES_MAX) {
                pipeline.cmd("EVALSHA").arg(&server.scripts.forget).arg(keys.len()).arg(keys).arg(slot);
            }
            pipeline
        })?;
        Ok(next)
    }

    /// Calls scripts; they are loaded again where the server has forgotten them.
    fn call<T: redis::FromRedisValue>(
        &mut self,
        pipeline: impl Fn(&Self) -> Pipeline,
    ) -> Result<Vec<T>, Away> {
        let mut calls = pipeline(self);
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let ask = |calls: &mut Pipeline, connection: &mut Connection| {
            calls.ignore_errors().query::<Vec<RedisResult<Value>>>(connection)
        };
        let mut answers = ask(&mut calls, &mut self.connection)?;
        let forgotten = ServerErrorKind::NoScript.into();
        if answers.iter().any(|answer| answer.as_ref().is_err_and(|why| why.kind() == forgotten)) {
            self.scripts = Scripts::load(&mut self.connection)?;
            answers = ask(&mut pipeline(self), &mut self.connection)?;
        }
        let read = |answer: RedisResult<Value>| redis::from_redis_value(answer?).map_err(RedisError::from);
        answers.into_iter().map(|answer| read(answer).map_err(Away::from)).collect()
    }
}

impl Scripts {
    fn load(connection: &mut Connection) -> Result<Self, Away> {
        let mut load = |text: &str| redis::cmd("SCRIPT").arg("LOAD").arg(text).query(connection);
        Ok(Self {
            put: load(include_str!("put.lua"))?,
            advance: load(include_str!("advance.lua"))?,
            forget: load(include_str!("forget.lua"))?,
        })
    }
}

/// A text as a pattern that matches it alone.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, letter| {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
        pattern
    })
}
