//! Reversing a job: which of its events are given back, in which order, and how far that is.
//!
//! Each booked event gets one `event.reversed` under its own source. Its id derives from the job, the event and the number
//! of times that it was refused before: a plan made again after a crash sends the same events, and nothing moves twice.
//! The newest go first; where one takes from an account what another gives back to it, it waits for that, in a later wave.
//! All of them name a job of their own. Bounded by the job; nothing is kept between two questions.

use super::adjustments::{business_us, key_of};
use super::books::Books;
use super::job::Found;
use super::outcomes::why;
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use posting::accounts::Terms;
use posting::ids::{IdKey, id_key};
use posting::reversal::Reversed;
use schemas::chart::Chart;
use schemas::dates::format_instant;
use schemas::hex;
use schemas::ids::EVENT_ID_BYTES_MAX;
use schemas::reason::Reason;
use schemas::sha256::sha256;
use schemas::wire::{Decision, Outcome, Side, decision::Operation};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Longest name of a job.
const JOB_BYTES_MAX: usize = 128;
/// Begins the names of jobs that give jobs back, and the ids of their events.
const PREFIX: &str = "reversal:";
/// Most tries of one event: each is refused before the next is made.
const TRIES_MAX: u32 = 10_000;

const COLUMNS: [&str; 8] = ["event", "source", "type", "state", "reason", "reversal", "wave", "may_refuse"];

/// Source and id.
type Key = (String, String);

/// An event that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Those of a wave are sent when all of the wave before are decided; counted from 1.
    pub wave: u32,
    /// CloudEvents JSON.
    pub event: String,
}

/// What is still to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of their waves.
    pub events: Vec<Planned>,
    /// Reversals that are sent and not decided.
    pub on_their_way: usize,
}

/// How far the reversal of one event is.
enum State {
    /// Its reversal is booked.
    Reversed,
    /// Its reversal is not decided yet.
    OnItsWay,
    /// It can be sent; said is why the try before was refused.
    Due { reversal: String, before: Option<String> },
    /// There is nothing of it to give back.
    Nothing { reason: String },
    /// It cannot be given back.
    Not { reason: String },
}

/// A leg of a reversal: account, asset, side.
type Leg = (String, String, Side);

/// Job of the events that give a job back.
#[must_use]
pub fn job_of(job: &str) -> String {
    let name = format!("{PREFIX}{job}");
    if name.len() <= JOB_BYTES_MAX { name } else { format!("{PREFIX}{}", short(job.as_bytes())) }
}

fn short(bytes: &[u8]) -> String {
    hex::text(&sha256(bytes)).chars().take(32).collect()
}

/// Id of the `number`th try to give back an event of a job.
fn id_of(job: &str, (source, id): &Key, number: u32) -> String {
    let mut named = Vec::new();
    for text in [job, source, id] {
        named.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        named.extend(text.bytes());
    }
    let id = format!("{PREFIX}{}", short(&named));
    if number == 1 { id } else { format!("{id}-{number}") }
}

/// `reverse job`: the plan, and how far it is.
pub(super) fn plan(books: &Books, job: &str) -> anyhow::Result<Answer> {
    let log = books.log.as_ref();
    let found = Found::of(log, job)?;
    if found.orders.is_empty() {
        return Ok(Answer::says(Ending::NotFound, format!("no event names job {job:?}")));
    }
    let reversal = job_of(job);
    let sent = Found::of(log, &reversal)?;
    let given = given_back(books, &found)?;
    let (chart, time) = (books.setup.read_chart()?, format_instant(business_us(books)?));
    let (mut table, mut planned) = (Table::new("reversal", &COLUMNS), Vec::new());
    let (mut waves, mut counts, all) = (Waves::default(), Counts::default(), mirrored(&found));
    for (key, order) in found.newest_first() {
        let legs = all.get(key).cloned().unwrap_or_default();
        let state = state_of((job, key), &order.decision, !legs.is_empty(), &sent, given.get(key));
        let refusing: Vec<Leg> = legs.iter().filter(|leg| may_refuse(&chart, leg)).cloned().collect();
        let open = matches!(state, State::Due { .. } | State::OnItsWay);
        let wave = open.then(|| waves.of(&legs, &refusing));
        if let (State::Due { reversal: id, .. }, Some(wave)) = (&state, wave) {
            let event = json!({
                "specversion": "1.0", "id": id, "source": key.0, "type": "event.reversed", "time": time,
                "partitionkey": key_of(books, order.batch.slot, id)?, "data": {"event": key.1, "job_id": reversal},
            });
            planned.push(Planned { wave, event: event.to_string() });
        }
        counts.add(&state, &order.decision);
        row(&mut table, key, &order.decision, &state, (wave, &refusing));
    }
    planned.sort_by_key(|planned| planned.wave);
    let mut answer = Answer::tables(vec![table]);
    if let Some(pending) = not_decided(&found) {
        (answer.ending, answer.message) = (Ending::Wrong, Some(pending));
        return Ok(answer);
    }
    answer.message = Some(format!("{counts}; job of the reversal: {reversal}"));
    if counts.not > 0 {
        answer.ending = Ending::Wrong;
    }
    answer.plan = Some(Plan { events: planned, on_their_way: counts.on_their_way });
    Ok(answer)
}

/// What is given back of the events of a job by anything.
fn given_back(books: &Books, found: &Found) -> anyhow::Result<BTreeMap<Key, Reversed>> {
    let keys: BTreeMap<(u32, IdKey), Key> = found
        .orders
        .iter()
        .map(|(key, order)| ((order.batch.slot, id_key(&key.0, &key.1)), key.clone()))
        .collect();
    let given = books.posting(move |worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let of = |slot: &posting::state::Slot| {
            let of_slot = keys.range((slot.slot, [0; 16])..=(slot.slot, [u8::MAX; 16]));
            let given =
                of_slot.filter_map(|((_, id), key)| Some((key.clone(), slot.reversals.of(id)?.clone())));
            given.collect::<Vec<_>>()
        };
        slots.flat_map(of).collect::<Vec<_>>()
    })?;
    Ok(given.into_iter().flatten().collect())
}

/// The legs of each event the other way round.
fn mirrored(found: &Found) -> BTreeMap<Key, BTreeSet<Leg>> {
    let turned = |side| if side == Side::Debit { Side::Credit } else { Side::Debit };
    let mut all: BTreeMap<Key, BTreeSet<Leg>> = BTreeMap::new();
    for (event, account, asset, side) in found.legs() {
        let leg = (account.to_owned(), asset.to_owned(), turned(side));
        all.entry(event.clone()).or_default().insert(leg);
    }
    all
}

fn may_refuse(chart: &Chart, (account, asset, side): &Leg) -> bool {
    let terms = chart.resolve(account).and_then(|class| Terms::of(class, asset));
    terms.is_some_and(|terms| {
        let terms = if terms.reversals_forced { terms.forced() } else { terms };
        terms.may_refuse(*side)
    })
}

/// How far the reversal of an event is: what its tries came to, then whether it can be given back at all.
fn state_of(
    (job, key): (&str, &Key),
    decision: &Decision,
    moves: bool,
    sent: &Found,
    given: Option<&Reversed>,
) -> State {
    let not = |reason: String| State::Not { reason };
    if decision.outcome() != Outcome::Booked {
        return not(format!("it is {}", super::outcomes::word(decision.outcome())));
    }
    let mut before = None;
    for number in 1..=TRIES_MAX {
        let reversal = id_of(job, key, number);
        let Some(order) = sent.orders.get(&(key.0.clone(), reversal.clone())) else {
            let due = || State::Due { reversal, before };
            return not_reversible(decision, moves, given).unwrap_or_else(due);
        };
        let said = why(&order.decision.reason, &order.decision.detail);
        match order.decision.outcome() {
            Outcome::Booked => return State::Reversed,
            Outcome::Refused if Reason::by_code(&order.decision.reason).is_some_and(Reason::retryable) => {
                before = Some(said);
            }
            Outcome::Refused => return not(said),
            _ => return State::OnItsWay,
        }
    }
    not(format!("it was refused {TRIES_MAX} times"))
}

/// What posting would say of it, as far as that is known; `None` = nothing against it.
fn not_reversible(decision: &Decision, moves: bool, given: Option<&Reversed>) -> Option<State> {
    let nothing = |reason: &str| Some(State::Nothing { reason: reason.to_owned() });
    let not = |reason: &str| Some(State::Not { reason: reason.to_owned() });
    if decision.reversed.is_some() || matches!(decision.operation, Some(Operation::ReverseEvent(_))) {
        return not("it gives something back itself");
    }
    if decision.proposal.is_some() {
        return not("it is of an adjustment: propose the opposite");
    }
    match given {
        _ if !moves => nothing("it moved nothing"),
        Some(given) if given.sums == given.moved => nothing("it is given back already"),
        Some(_) => not("a part is given back already: give back the rest with event.refunded"),
        None => None,
    }
}

/// Which wave an event goes with.
#[derive(Default)]
struct Waves {
    /// The last wave in which something is booked to an account on that side.
    last: BTreeMap<Leg, u32>,
}

impl Waves {
    /// Behind what gives those accounts something that it takes from them.
    fn of(&mut self, legs: &BTreeSet<Leg>, refusing: &[Leg]) -> u32 {
        let giving = refusing.iter().filter_map(|(account, asset, side)| {
            let other = if *side == Side::Debit { Side::Credit } else { Side::Debit };
            self.last.get(&(account.clone(), asset.clone(), other))
        });
        let wave = giving.max().copied().unwrap_or(0).saturating_add(1);
        for leg in legs {
            let last = self.last.entry(leg.clone()).or_default();
            *last = (*last).max(wave);
        }
        wave
    }
}

/// How many events of a job are how far.
#[derive(Default)]
struct Counts {
    reversed: usize,
    on_their_way: usize,
    due: usize,
    nothing: usize,
    not: usize,
    not_booked: usize,
}

impl Counts {
    fn add(&mut self, state: &State, decision: &Decision) {
        let count = match state {
            State::Reversed => &mut self.reversed,
            State::OnItsWay => &mut self.on_their_way,
            State::Due { .. } => &mut self.due,
            State::Nothing { .. } => &mut self.nothing,
            State::Not { .. } if decision.outcome() != Outcome::Booked => &mut self.not_booked,
            State::Not { .. } => &mut self.not,
        };
        *count += 1;
    }
}

/// Why nothing is reversed now, if that is so.
fn not_decided(found: &Found) -> Option<String> {
    let pending = found.orders.iter().filter(|(_, order)| order.decision.outcome() == Outcome::Pending);
    let ids: Vec<&str> = pending.map(|((_, id), _)| id.as_str()).collect();
    let (first, count) = (ids.first()?, ids.len());
    Some(format!(
        "{count} events of the job are not decided yet, the first is {first}: nothing is sent until they are"
    ))
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reversed, on_their_way, due, nothing, not, not_booked } = self;
        write!(
            f,
            "{reversed} reversed, {on_their_way} on their way, {due} to be sent, {not} cannot be reversed"
        )?;
        let more = [(nothing, "with nothing to give back"), (not_booked, "not booked")];
        let mut more = more.into_iter().filter(|(count, _)| **count > 0);
        more.try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

fn row(
    table: &mut Table,
    (source, id): &Key,
    decision: &Decision,
    state: &State,
    (wave, refusing): (Option<u32>, &[Leg]),
) {
    let booked = decision.outcome() == Outcome::Booked;
    let (said, reason, reversal) = match state {
        State::Reversed => ("reversed", None, None),
        State::OnItsWay => ("on its way", None, None),
        State::Due { reversal, before } => ("to be sent", before.clone(), Some(reversal.clone())),
        State::Nothing { reason } => ("nothing to give back", Some(reason.clone()), None),
        State::Not { reason } if booked => ("cannot be reversed", Some(reason.clone()), None),
        State::Not { .. } => (super::outcomes::word(decision.outcome()), None, None),
    };
    let accounts: BTreeSet<&str> = refusing.iter().map(|(account, ..)| account.as_str()).collect();
    let accounts: Vec<&str> = accounts.into_iter().collect();
    table.row([
        id.clone().into(),
        source.clone().into(),
        decision.r#type.clone().into(),
        said.into(),
        reason.into(),
        reversal.into(),
        wave.map_or(Cell::None, Cell::from),
        (wave.is_some() && !accounts.is_empty()).then(|| accounts.join(" ")).into(),
    ]);
}

const _: () = assert!(PREFIX.len() + 32 + "-10000".len() <= EVENT_ID_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_every_time_and_no_two_events_share_one() {
        let key = |source: &str, id: &str| (source.to_owned(), id.to_owned());
        assert_eq!(id_of("trip-1", &key("/shop", "t-1"), 1), id_of("trip-1", &key("/shop", "t-1"), 1));
        let all = [
            id_of("trip-1", &key("/shop", "t-1"), 1),
            id_of("trip-1", &key("/shop", "t-1"), 2),
            id_of("trip-1", &key("/shopt", "-1"), 1),
            id_of("trip-1", &key("/sho", "pt-1"), 1),
            id_of("trip-", &key("1/shop", "t-1"), 1),
            id_of("trip-2", &key("/shop", "t-1"), 1),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(job_of("trip-1"), "reversal:trip-1");
        let long = ["x".repeat(128), "y".repeat(128)].map(|job| job_of(&job));
        assert!(long[0] != long[1] && long.iter().all(|job| job.len() <= JOB_BYTES_MAX), "{long:?}");
    }

    #[test]
    fn what_takes_waits_for_what_gives() {
        let leg = |account: &str, side| (account.to_owned(), "CNY".to_owned(), side);
        let payment = |from: &str, to: &str| BTreeSet::from([leg(from, Side::Debit), leg(to, Side::Credit)]);
        // Wallets refuse debits, cash refuses nothing.
        let (mut waves, mut numbers) = (Waves::default(), Vec::new());
        for (from, to) in [("b", "a"), ("c", "a"), ("a", "cash"), ("a", "cash"), ("cash", "b"), ("d", "cash")]
        {
            let legs = payment(from, to);
            let refusing: Vec<Leg> = legs
                .iter()
                .filter(|(account, _, side)| account != "cash" && *side == Side::Debit)
                .cloned()
                .collect();
            numbers.push(waves.of(&legs, &refusing));
        }
        assert_eq!(numbers, [1, 1, 2, 2, 1, 1]);
    }
}
