//! `GET /v1/balances/changes`: balances as they change, as server-sent events.
//!
//! The topic `balances` is read from its end, or from where `Last-Event-ID` says; an event's id holds an offset for each
//! partition, so that a client that comes back misses nothing. An account's records keep their order.

use super::State;
use super::extract::Params;
use super::problem::{Kind, Problem};
use crate::mirror::Form;
use crate::query::books::Books;
use anyhow::anyhow;
use axum::extract::State as With;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use schemas::topics::Topic;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use stream::log::{FetchLimit, Isolation, LogError, Offset, Reader, Record, TopicPartition};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

/// Events that wait for a client that reads slowly; then reading waits too.
const WAITING: usize = 256;
/// How long one look for records waits.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    account: Option<String>,
}

impl super::extract::Parameters for Parameters {
    const TAKEN: &'static [(&'static str, &'static str)] =
        &[("account", "an account, or a prefix that ends with `:` or `*`")];
}

/// Which accounts are followed.
enum Filter {
    All,
    One(String),
    Below(String),
}

impl Filter {
    /// Of an account's name, or a prefix that ends with `:` or `*`.
    fn of(account: Option<String>) -> Result<Self, Problem> {
        let Some(account) = account else { return Ok(Self::All) };
        let prefix = account.strip_suffix('*').or_else(|| account.ends_with(':').then_some(account.as_str()));
        // A prefix with a segment more is a name.
        let name = prefix.map_or_else(|| account.clone(), |prefix| format!("{prefix}x"));
        schemas::ids::check_account(&name).map_err(|why| {
            let expected = "an account, or a prefix that ends with ':' or '*'";
            Problem::new(
                Kind::BadParameter,
                format!("account: found {account:?} ({why}), expected {expected}"),
            )
        })?;
        Ok(match prefix {
            Some(prefix) => Self::Below(prefix.to_owned()),
            None => Self::One(account),
        })
    }

    fn takes(&self, account: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == account,
            Self::Below(prefix) => account.starts_with(prefix),
        }
    }
}

pub(super) async fn changes(
    With(state): With<State>,
    Params(params): Params<Parameters>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let filter = Filter::of(params.account)?;
    let busy = |_| Problem::new(Kind::Busy, "as many streams are open as may be");
    let permit = Arc::clone(&state.streams).try_acquire_owned().map_err(busy)?;
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?").to_owned());
    let last = last.filter(|last| !last.is_empty());
    let opening = state.clone();
    let opened = tokio::task::spawn_blocking(move || Following::open(&opening, last.as_deref())).await;
    let mut following = opened.map_err(|error| Problem::new(Kind::Unavailable, error.to_string()))??;
    let (to, from) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // The client reads the rest, comes back with its last id, or has gone.
        if let Err(error) = following.run(&state, &filter, &to) {
            tracing::warn!(%error, "a stream of balances ended");
        }
    });
    Ok(Sse::new(ReceiverStream::new(from)).keep_alive(KeepAlive::default()))
}

/// A reader of `balances`.
struct Following {
    reader: Box<dyn Reader>,
    form: Form,
    /// Next offset of each partition.
    next: Vec<Offset>,
}

impl Following {
    fn open(state: &State, last: Option<&str>) -> Result<Self, Problem> {
        let books = (state.books)().map_err(|why| Problem::new(Kind::Unavailable, why))?;
        let away = |error: LogError| Problem::new(Kind::Unavailable, error.to_string());
        let partitions = books.log.partitions(Topic::Balances).map_err(away)?;
        let mut start = Vec::new();
        for partition in 0..partitions {
            let at = TopicPartition::new(Topic::Balances, partition);
            start.push((at, books.log.watermarks(at, Isolation::Committed).map_err(away)?));
        }
        let next = match last {
            None => start.iter().map(|(_, bounds)| bounds.high).collect(),
            Some(last) => {
                let wrong = || {
                    Problem::new(
                        Kind::BadParameter,
                        format!("Last-Event-ID: {last:?} is none of this stream"),
                    )
                };
                let read: Option<Vec<Offset>> = last.split('-').map(|offset| offset.parse().ok()).collect();
                // Beyond the end nothing can have been read: it is of other books.
                let fits = |read: &Vec<Offset>| {
                    read.len() == start.len()
                        && read.iter().zip(&start).all(|(at, (_, bounds))| *at <= bounds.high)
                };
                let read = read.filter(fits).ok_or_else(wrong)?;
                // What retention has taken is passed over.
                read.iter()
                    .zip(&start)
                    .map(|(offset, (_, bounds))| (*offset).max(bounds.low))
                    .collect::<Vec<_>>()
            }
        };
        let from: Vec<_> = start.iter().zip(&next).map(|((at, _), offset)| (*at, *offset)).collect();
        let form = Form::of(books.log.as_ref(), &books.setup);
        let form = form.map_err(|why| Problem::new(Kind::Unavailable, format!("{why:#}")))?;
        let reader = books.log.reader(&from, Isolation::Committed).map_err(away)?;
        Ok(Self { reader, form, next })
    }

    fn run(
        &mut self,
        state: &State,
        filter: &Filter,
        to: &mpsc::Sender<Result<Event, Infallible>>,
    ) -> anyhow::Result<()> {
        let limit = FetchLimit { records: 1_000, bytes: 1 << 20, wait: LOOK };
        while !to.is_closed() && !*state.stop.borrow() {
            let fetches = self.reader.poll(limit)?;
            // What leaves the process waits for the disk.
            let Ok(books) = (state.books)() else { break };
            durable(&books)?;
            for (partition, record) in fetches
                .iter()
                .flat_map(|fetch| fetch.records.iter().map(|record| (fetch.from.partition, record)))
            {
                for event in self.events(partition, record, filter)? {
                    // The client has gone.
                    if to.blocking_send(Ok(event)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// What a record says of accounts that are followed. The id of its last event alone lies behind it: a client that has
    /// not seen all of them gets them again.
    fn events(&mut self, partition: u32, record: &Record, filter: &Filter) -> anyhow::Result<Vec<Event>> {
        let id = |next: &[Offset]| next.iter().map(ToString::to_string).collect::<Vec<_>>().join("-");
        let said =
            self.form.read(record).map_err(|why| anyhow!("balances/{partition}@{}: {why}", record.offset))?;
        let before = id(&self.next);
        if let Some(next) = self.next.get_mut(usize::try_from(partition)?) {
            *next = record.offset + 1;
        }
        let shown: Vec<_> = said.entries.into_iter().filter(|entry| filter.takes(&entry.account)).collect();
        let (last, mut events) = (shown.len(), Vec::with_capacity(shown.len()));
        for (number, entry) in (1..).zip(shown) {
            let id = if number == last { id(&self.next) } else { before.clone() };
            events.push(Event::default().event("balance").id(id).data(entry.json));
        }
        Ok(events)
    }
}

fn durable(books: &Books) -> Result<(), LogError> {
    match &books.embedded {
        Some(log) => books.log.wait_durable(log.last_sequence(), Duration::from_secs(10)),
        None => Ok(()),
    }
}
