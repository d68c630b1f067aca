//! State of a settlement slot: one account record per (account, asset), and a head with everything else.
//!
//! Accounts are numbered in order of first appearance in the journal, so the numbers are part of the state and the
//! same however it was rebuilt. A checkpoint has one pair per account (key `a` + number, big-endian) and one for the
//! head (key `h`); values are the protobuf images below. A checkpoint that leaves an account out is found, because the
//! head says how many there are.

use crate::contradiction::Contradiction;
use crate::days::{BusinessTime, Days, Reports};
use crate::decide::Touched;
use crate::dual::{Account, Daily, DualBalance};
use crate::names::{self, Name, Names};
use bytes::Bytes;
use prost::Message;
use schemas::amount_wire;
use schemas::batch::{ChainHead, Hash, sha256};
use schemas::chart::Chart;
use schemas::dates::Day;
use schemas::topics::Topic;
use schemas::wire::Amount;
use schemas::wire_write::Fields;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use stream::log::{Offset, TopicPartition};
use stream::processor::{LastRead, SlotState};
use stream::table::{Changed, Rows};

/// Version of the images.
const FORMAT: u32 = 1;
const ACCOUNT_KEY: u8 = b'a';
const HEAD_KEY: &[u8] = b"h";
/// About how many bytes an account's pair takes.
const ACCOUNT_PAIR_BYTES: usize = 96;
/// About how many bytes the head's pair takes.
const HEAD_PAIR_BYTES: usize = 256;

/// The chart's assets, sorted by code; an asset's number is its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Assets(Vec<(String, u8)>);

impl Assets {
    /// Assets of a chart; `None` when they are more than 65,535.
    #[must_use]
    pub fn of(chart: &Chart) -> Option<Self> {
        u16::try_from(chart.assets.len()).ok()?;
        Some(Self(chart.assets.iter().map(|(code, asset)| (code.clone(), asset.exponent)).collect()))
    }

    /// Number of an asset.
    #[must_use]
    pub fn number(&self, code: &[u8]) -> Option<u16> {
        let at = self.0.binary_search_by(|(own, _)| own.as_bytes().cmp(code)).ok()?;
        u16::try_from(at).ok()
    }

    /// Code and exponent of a number.
    #[must_use]
    pub fn get(&self, number: u16) -> Option<(&str, u8)> {
        self.0.get(usize::from(number)).map(|(code, exponent)| (code.as_str(), *exponent))
    }

    /// Number of assets.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Closings under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Day that is being closed.
    pub day: Day,
    /// Number of the next account to look at; those below are done.
    pub next: u32,
}

/// How far this slot's closings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closing {
    /// Newest day whose closings are all out.
    pub through: Option<Day>,
    /// The day after it, once it is aligned.
    pub progress: Option<Progress>,
}

impl Closing {
    /// Newest day whose closing of account `index` is out.
    #[must_use]
    pub fn closed_for(&self, index: u32) -> Option<Day> {
        match self.progress {
            Some(progress) if index < progress.next => Some(progress.day),
            _ => self.through,
        }
    }

    /// Newest day aligned in this journal.
    #[must_use]
    pub fn aligned(&self) -> Option<Day> {
        self.progress.map(|progress| progress.day).or(self.through)
    }

    /// Last day that anything may be dated: T+2 opens only after T's closings are out. `None` = no day is aligned yet.
    #[must_use]
    pub fn latest_open(&self) -> Option<Day> {
        match self.progress {
            Some(progress) => Some(progress.day.next()),
            None => self.through.map(|through| through.next().next()),
        }
    }
}

/// Everything of a slot but its accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Head of the journal's chain.
    pub journal: ChainHead,
    /// Generation named by the last journal batch.
    pub generation: u32,
    /// Number of the last journal batch.
    pub batch: u64,
    /// Business time.
    pub time: BusinessTime,
    /// Closings.
    pub closing: Closing,
    /// Entries dated before the newest closed day.
    pub deep_back_dated: u64,
    /// Next offset of `days.aligned` (slot 0 only).
    pub reports_next: Offset,
    /// Hash of the last record of `days.aligned`; zeros before the first.
    pub reports_hash: Hash,
    /// What it said.
    pub reports: Reports,
}

impl Head {
    /// The days as this head sees them.
    #[must_use]
    pub fn days(&self) -> Days<'_> {
        Days { time: &self.time, reports: &self.reports, aligned: self.closing.aligned() }
    }

    /// Hash for the positions' metadata: of the last journal batch; once `days.aligned` was read, of that hash and
    /// the hash of the last record there.
    #[must_use]
    pub fn position_hash(&self) -> Hash {
        if self.reports_hash == Hash::default() {
            return self.journal.hash;
        }
        let mut both = self.journal.hash.to_vec();
        both.extend_from_slice(&self.reports_hash);
        sha256(&both)
    }
}

/// State of one slot.
#[derive(Debug)]
pub struct Slot {
    /// Its number.
    pub(crate) slot: u32,
    pub(crate) assets: Arc<Assets>,
    pub(crate) names: Names,
    pub(crate) accounts: Rows<Account>,
    pub(crate) head: Head,
    dirty: Changed,
    head_dirty: bool,
    /// Sum of the balances by number of the asset, debits minus credits; `None` = it left 128 bits.
    sums: Vec<Option<i128>>,
    /// Pairs of a checkpoint that wait for those with lower numbers.
    loading: BTreeMap<u32, (Name, Account)>,
    /// Accounts that the checkpoint's head names.
    loaded_accounts: Option<usize>,
}

/// What a window changes, absolute.
#[derive(Debug)]
pub struct Change {
    pub(crate) head: Head,
    /// Names that follow the slot's own, in order.
    pub(crate) names: Names,
    /// Accounts with their after-values.
    pub(crate) accounts: Vec<Touched>,
}

impl Slot {
    /// The empty state.
    #[must_use]
    pub fn new(slot: u32, assets: Arc<Assets>) -> Self {
        let sums = vec![Some(0); assets.len()];
        Self {
            slot,
            assets,
            sums,
            names: Names::default(),
            accounts: Rows::default(),
            head: Head::default(),
            dirty: Changed::default(),
            head_dirty: false,
            loading: BTreeMap::new(),
            loaded_accounts: None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.slot
    }

    /// Everything but the accounts.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Finds an account that has been booked.
    #[must_use]
    pub fn account(&self, account: &str, asset: &str) -> Option<&Account> {
        let asset = self.assets.number(asset.as_bytes())?;
        self.find(account, asset).map(|(_, account)| account)
    }

    pub(crate) fn find(&self, account: &str, asset: u16) -> Option<(&Name, &Account)> {
        let index =
            self.names.find(names::hash(account.as_bytes(), asset), account.as_bytes(), asset)? as usize;
        self.names.get(index).zip(self.accounts.get(index))
    }

    /// Whether a checkpoint, if one was loaded, was whole.
    pub(crate) fn check_whole(&self) -> Result<(), Contradiction> {
        let found = self.accounts.len();
        let stated = self.loaded_accounts.unwrap_or(found);
        if self.loading.is_empty() && found == stated {
            Ok(())
        } else {
            Err(Contradiction::Checkpoint { found, stated: stated.max(found + self.loading.len()) })
        }
    }

    /// The only mutator: takes a window's after-values.
    pub(crate) fn take(&mut self, change: Change) {
        for name in change.names.iter() {
            if self.names.push(name.clone()).is_some() {
                self.accounts.push(Account::EMPTY);
            }
        }
        for Touched { index, account, .. } in change.accounts {
            if self.set(index as usize, account) {
                self.dirty.add(index);
            }
        }
        self.head = change.head;
        self.head_dirty = true;
        self.loaded_accounts = None;
    }

    /// Gives an account its after-values, and their sum what they change; whether there is such an account.
    fn set(&mut self, index: usize, account: Account) -> bool {
        let (Some(own), Some(name)) = (self.accounts.get_mut(index), self.names.get(index)) else {
            return false;
        };
        if let Some(sum) = self.sums.get_mut(usize::from(name.asset())) {
            let change = account.dual.current.checked_sub(own.dual.current);
            *sum = sum.zip(change).and_then(|(sum, change)| sum.checked_add(change));
        }
        *own = account;
        true
    }

    /// Sum of all balances per asset, debits minus credits in minor units, kept as they change: zero in every slot by
    /// itself. `None` = the sum left 128 bits on the way.
    pub fn sums(&self) -> impl Iterator<Item = (&str, Option<i128>)> {
        let asset = |number| u16::try_from(number).ok().and_then(|number| self.assets.get(number));
        self.sums.iter().enumerate().filter_map(move |(number, sum)| Some((asset(number)?.0, *sum)))
    }

    /// Writes an account's pair: its value takes the place of what is in `value`.
    fn account_pair(&self, index: u32, value: &mut Vec<u8>) -> Option<[u8; 5]> {
        let account = self.accounts.get(index as usize)?;
        let name = self.names.get(index as usize)?;
        let (asset, _) = self.assets.get(name.asset())?;
        value.clear();
        write_account(value, name, asset, account);
        Some(account_key(index))
    }

    fn head_image(&self) -> Vec<u8> {
        HeadImage::of(&self.head, self.accounts.len()).encode_to_vec()
    }

    fn load_account(&mut self, index: u32, value: &[u8]) -> Result<(), String> {
        let image = AccountImage::decode(value).map_err(|e| e.to_string())?;
        let asset = self
            .assets
            .number(image.asset.as_bytes())
            .ok_or_else(|| format!("unknown asset {:?}", image.asset))?;
        let account = image.account()?;
        let name = Name::new(&image.account, asset);
        if let Some(own) = self.names.get(index as usize) {
            if *own != name {
                return Err(format!("account {index} is both {:?} and {:?}", own.account(), name.account()));
            }
            self.set(index as usize, account);
            return Ok(());
        }
        self.loading.insert(index, (name, account));
        while let Some(entry) = self.loading.first_entry()
            && *entry.key() as usize == self.accounts.len()
        {
            let (name, account) = entry.remove();
            let index = self.accounts.len();
            self.names.push(name).ok_or("too many accounts")?;
            self.accounts.push(Account::EMPTY);
            self.set(index, account);
        }
        Ok(())
    }
}

impl SlotState for Slot {
    fn take_dirty(&mut self, put: &mut stream::processor::PutPair<'_>) {
        let mut value = Vec::new();
        for index in self.dirty.take() {
            if let Some(key) = self.account_pair(index, &mut value) {
                put(&key, Some(&value));
            }
        }
        if std::mem::take(&mut self.head_dirty) {
            put(HEAD_KEY, Some(&self.head_image()));
        }
    }

    fn dirty_bytes(&self) -> usize {
        self.dirty.len() * ACCOUNT_PAIR_BYTES + usize::from(self.head_dirty) * HEAD_PAIR_BYTES
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        match key {
            HEAD_KEY => {
                let image = HeadImage::decode(value).map_err(|e| e.to_string())?;
                self.loaded_accounts = usize::try_from(image.accounts).ok();
                self.head = image.head()?;
                Ok(())
            }
            [ACCOUNT_KEY, index @ ..] => {
                let index = <[u8; 4]>::try_from(index).map_err(|_| "account key of another length")?;
                self.load_account(u32::from_be_bytes(index), value)
            }
            _ => Err(format!("unknown key {key:?}")),
        }
    }

    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = Vec::with_capacity(self.accounts.len() + 1);
        self.put_all(&mut |key, value| pairs.push((key.to_vec(), value.unwrap_or_default().to_vec())));
        pairs
    }

    fn put_all(&self, put: &mut stream::processor::PutPair<'_>) {
        let mut value = Vec::new();
        for index in 0..u32::try_from(self.accounts.len()).unwrap_or(u32::MAX) {
            if let Some(key) = self.account_pair(index, &mut value) {
                put(&key, Some(&value));
            }
        }
        put(HEAD_KEY, Some(&self.head_image()));
    }

    fn position_hash(&self) -> Option<Hash> {
        Some(self.head.position_hash())
    }

    fn last_read(&self) -> Vec<LastRead> {
        let at = TopicPartition::new(Topic::DaysAligned, 0);
        let last = self.head.reports_next.checked_sub(1).filter(|offset| *offset >= 0);
        last.map(|offset| LastRead { at, offset, hash: self.head.reports_hash }).into_iter().collect()
    }
}

fn account_key(index: u32) -> [u8; 5] {
    let [a, b, c, d] = index.to_be_bytes();
    [ACCOUNT_KEY, a, b, c, d]
}

/// Checkpoint value of an account.
#[derive(Clone, PartialEq, ::prost::Message)]
struct AccountImage {
    #[prost(string, tag = "1")]
    account: String,
    #[prost(string, tag = "2")]
    asset: String,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(message, required, tag = "4")]
    current: Amount,
    #[prost(message, required, tag = "5")]
    previous: Amount,
    #[prost(sint32, tag = "6")]
    last_date: i32,
    #[prost(sint32, optional, tag = "7")]
    unpublished_from: Option<i32>,
    #[prost(message, optional, tag = "8")]
    daily: Option<DailyImage>,
}

/// Newest daily record of an account.
#[derive(Clone, PartialEq, ::prost::Message)]
struct DailyImage {
    #[prost(sint32, tag = "1")]
    day: i32,
    #[prost(uint32, tag = "2")]
    revision: u32,
    #[prost(message, required, tag = "3")]
    closing: Amount,
}

/// Appends an [`AccountImage`], written without a copy of its texts.
fn write_account(out: &mut Vec<u8>, name: &Name, asset: &str, account: &Account) {
    let mut image = Fields::new(out);
    image.bytes(1, name.bytes());
    image.text(2, asset);
    image.uint(3, account.seq);
    image.amount(4, account.dual.current);
    image.amount(5, account.dual.previous);
    image.sint(6, account.dual.last_date.0.into());
    if let Some(day) = account.unpublished_from {
        // Written even when it is 0: that is a day too.
        prost::encoding::sint32::encode(7, &day.0, out);
    }
    if let Some(daily) = account.daily {
        Fields::new(out).message(8, |image| {
            image.sint(1, daily.day.0.into());
            image.uint(2, daily.revision.get().into());
            image.amount(3, daily.closing);
        });
    }
}

impl AccountImage {
    fn account(&self) -> Result<Account, String> {
        let daily = match &self.daily {
            None => None,
            Some(daily) => Some(Daily {
                closing: amount_wire::value(Some(daily.closing)),
                day: Day(daily.day),
                revision: NonZeroU32::new(daily.revision).ok_or("revision 0")?,
            }),
        };
        let dual = DualBalance {
            current: amount_wire::value(Some(self.current)),
            previous: amount_wire::value(Some(self.previous)),
            last_date: Day(self.last_date),
        };
        Ok(Account { dual, seq: self.seq, unpublished_from: self.unpublished_from.map(Day), daily })
    }
}

/// Checkpoint value of the head.
#[derive(Clone, PartialEq, ::prost::Message)]
struct HeadImage {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    accounts: u64,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    #[prost(bytes = "bytes", tag = "4")]
    hash: Bytes,
    #[prost(uint32, tag = "5")]
    generation: u32,
    #[prost(uint64, tag = "6")]
    batch: u64,
    #[prost(sint32, optional, tag = "7")]
    first_day: Option<i32>,
    #[prost(int64, optional, tag = "8")]
    highest_us: Option<i64>,
    #[prost(uint64, tag = "9")]
    held: u64,
    #[prost(int64, optional, tag = "10")]
    held_us: Option<i64>,
    #[prost(sint32, optional, tag = "11")]
    closed_through: Option<i32>,
    #[prost(sint32, optional, tag = "12")]
    closing_day: Option<i32>,
    #[prost(uint32, tag = "13")]
    closing_next: u32,
    #[prost(uint64, tag = "14")]
    deep_back_dated: u64,
    #[prost(int64, tag = "15")]
    reports_next: i64,
    #[prost(bytes = "bytes", tag = "16")]
    reports_hash: Bytes,
    #[prost(sint32, optional, tag = "17")]
    reports_closed: Option<i32>,
    #[prost(message, repeated, tag = "18")]
    reports: Vec<ReportsImage>,
}

/// Slots that have reported a day that is not closed.
#[derive(Clone, PartialEq, ::prost::Message)]
struct ReportsImage {
    #[prost(sint32, tag = "1")]
    day: i32,
    #[prost(uint32, repeated, tag = "2")]
    slot: Vec<u32>,
}

impl HeadImage {
    fn of(head: &Head, accounts: usize) -> Self {
        let reports = head.reports.open.iter();
        Self {
            format: FORMAT,
            accounts: accounts as u64,
            sequence: head.journal.sequence,
            hash: Bytes::copy_from_slice(&head.journal.hash),
            generation: head.generation,
            batch: head.batch,
            first_day: head.time.first_day.map(|day| day.0),
            highest_us: head.time.highest_us,
            held: head.time.held,
            held_us: head.time.held_us,
            closed_through: head.closing.through.map(|day| day.0),
            closing_day: head.closing.progress.map(|progress| progress.day.0),
            closing_next: head.closing.progress.map_or(0, |progress| progress.next),
            deep_back_dated: head.deep_back_dated,
            reports_next: head.reports_next,
            reports_hash: Bytes::copy_from_slice(&head.reports_hash),
            reports_closed: head.reports.closed.map(|day| day.0),
            reports: reports
                .map(|(day, slots)| ReportsImage { day: day.0, slot: slots.iter().copied().collect() })
                .collect(),
        }
    }

    fn head(self) -> Result<Head, String> {
        if self.format != FORMAT {
            return Err(format!("state format {}, this program reads {FORMAT}", self.format));
        }
        let hash =
            |bytes: &Bytes| Hash::try_from(bytes.as_ref()).map_err(|_| "hash of another length".to_owned());
        let open = self.reports.into_iter().map(|r| (Day(r.day), r.slot.into_iter().collect()));
        Ok(Head {
            journal: ChainHead { sequence: self.sequence, hash: hash(&self.hash)? },
            generation: self.generation,
            batch: self.batch,
            time: BusinessTime {
                first_day: self.first_day.map(Day),
                highest_us: self.highest_us,
                held: self.held,
                held_us: self.held_us,
            },
            closing: Closing {
                through: self.closed_through.map(Day),
                progress: self.closing_day.map(|day| Progress { day: Day(day), next: self.closing_next }),
            },
            deep_back_dated: self.deep_back_dated,
            reports_next: self.reports_next,
            reports_hash: hash(&self.reports_hash)?,
            reports: Reports { closed: self.reports_closed.map(Day), open: open.collect() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn figure() -> impl Strategy<Value = i128> {
        prop_oneof![any::<i128>(), Just(0), any::<i64>().prop_map(i128::from)]
    }

    proptest! {
        #[test]
        fn an_account_is_written_as_its_image_would_be(
            account in "[a-z:]{0,40}", seq: u64, current in figure(), previous in figure(), closing in figure(),
            days: (i32, Option<i32>, i32), revision in proptest::option::of(1_u32..),
        ) {
            let (last_date, unpublished_from, day) = days;
            let daily = revision.and_then(NonZeroU32::new);
            let daily = daily.map(|revision| Daily { closing, day: Day(day), revision });
            let dual = DualBalance { current, previous, last_date: Day(last_date) };
            let unpublished_from = unpublished_from.map(Day);
            let own = Account { dual, seq, unpublished_from, daily };
            let image = AccountImage {
                account: account.clone(),
                asset: "CNY".into(),
                seq,
                current: current.into(),
                previous: previous.into(),
                last_date,
                unpublished_from: unpublished_from.map(|day| day.0),
                daily: daily.map(|daily| DailyImage {
                    day,
                    revision: daily.revision.get(),
                    closing: closing.into(),
                }),
            };
            let mut written = Vec::new();
            write_account(&mut written, &Name::new(&account, 0), "CNY", &own);
            prop_assert_eq!(&written, &image.encode_to_vec());
            prop_assert_eq!(AccountImage::decode(&written[..]).unwrap().account().unwrap(), own);
        }
    }
}
