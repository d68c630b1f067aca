//! How much was moved of accounts within the windows of the chart's rules, and whether more may be.
//!
//! What counts for a rule is what an event moves an account to the rule's side over all its legs, in the amount, and the legs
//! that do it, in the number. What is on hold counts as if it were moved now. The time is that of the ticks.
//!
//! Bounded by the accounts that have a rule and were moved within its window, and by [`schemas::velocity::BUCKETS`] parts of
//! it for each; what counts no more is forgotten by ticks, [`FORGOTTEN_MAX`] accounts each. Order relied on: none.

use crate::overlay::{Line, LocalLeg, Overlay, Refusal};
use crate::state::KEY_VELOCITY;
use prost::Message;
use rustc_hash::FxHashMap;
use schemas::amount_wire::value;
use schemas::money;
use schemas::reason::Reason;
use schemas::velocity::{BUCKETS, VelocityRule, over_us};
use schemas::wire::{self, Moved, MovedPart, Side, journal_item::Item};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most meters that one tick forgets; the next one goes on.
pub const FORGOTTEN_MAX: usize = 4_096;
/// Bytes of a changed part in the journal, at most, without the names of its account and asset.
pub const PART_BYTES: usize = 56;
/// Bytes around the names and parts of an account in the journal, at most.
pub const MOVED_BYTES: usize = 16;

/// An amount and a number of legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Minor units.
    pub amount: i128,
    /// Number of legs.
    pub count: u64,
}

impl Volume {
    const fn plus(self, other: Self) -> Self {
        let amount = self.amount.saturating_add(other.amount);
        Self { amount, count: self.count.saturating_add(other.count) }
    }
}

/// Account, asset, side as on the wire, length of the window in seconds.
pub type MeterKey = (Box<str>, Box<str>, i32, u32);

fn key_of(account: &str, asset: &str, rule: &VelocityRule) -> MeterKey {
    (account.into(), asset.into(), rule.side as i32, rule.window_s)
}

/// What was moved in each part of a window that still counts, and was not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter(BTreeMap<i64, Volume>);

impl Meter {
    /// What was moved in the parts that still count in part `now`.
    fn counted(&self, now: i64) -> Volume {
        self.0.range(now.saturating_sub(BUCKETS)..).fold(Volume::default(), |sum, (_, part)| sum.plus(*part))
    }

    /// What was moved in a part, from now on; those that count no more in it are forgotten.
    fn set(&mut self, part: i64, volume: Volume) {
        let from = part.saturating_sub(BUCKETS);
        if self.0.first_key_value().is_some_and(|(first, _)| *first < from) {
            self.0 = self.0.split_off(&from);
        }
        self.0.insert(part, volume);
    }

    fn over_us(&self, window_s: u32) -> i64 {
        self.0.last_key_value().map_or(0, |(part, _)| over_us(window_s, *part))
    }

    /// The parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = (i64, Volume)> {
        self.0.iter().map(|(part, volume)| (*part, *volume))
    }

    fn encode(&self) -> Vec<u8> {
        wire::StoredMoves { part: self.parts().map(|(part, volume)| to_wire(0, 0, part, volume)).collect() }
            .encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let stored = wire::StoredMoves::decode(bytes).ok()?;
        Some(Self(stored.part.iter().map(part_of_wire).collect()))
    }
}

fn to_wire(side: i32, window_s: u32, part: i64, Volume { amount, count }: Volume) -> MovedPart {
    MovedPart { side, window_s, part, amount: Some(amount.into()), count }
}

fn part_of_wire(part: &MovedPart) -> (i64, Volume) {
    (part.part, Volume { amount: value(part.amount), count: part.count })
}

/// A part of a window as it is from now on.
#[derive(Debug)]
pub struct Move {
    key: MeterKey,
    part: i64,
    volume: Volume,
}

/// The changes that a journal item says.
pub fn of_wire(moved: &Moved) -> impl Iterator<Item = Move> {
    let Moved { account, asset, part } = moved;
    part.iter().map(|of| {
        let key = (account.as_str().into(), asset.as_str().into(), of.side, of.window_s);
        let (part, volume) = part_of_wire(of);
        Move { key, part, volume }
    })
}

/// What was moved of the accounts of a slot. Looked up by hash; whatever is told of all of them is sorted.
#[derive(Debug, Default)]
pub struct VelocityTable {
    meters: FxHashMap<Arc<MeterKey>, Kept>,
    /// By the time from which nothing of it counts.
    over: BTreeSet<(i64, Arc<MeterKey>)>,
    /// Changed since the last checkpoint; one that came back after it was forgotten stands here twice.
    dirty: Vec<Arc<MeterKey>>,
}

#[derive(Debug)]
struct Kept {
    name: Arc<MeterKey>,
    meter: Meter,
    /// Whether it stands in [`VelocityTable::dirty`].
    dirty: bool,
}

impl VelocityTable {
    /// Every account, asset and window of which something was moved, sorted.
    pub fn all(&self) -> impl Iterator<Item = (&MeterKey, &Meter)> {
        let all = self.over.iter().filter_map(|(_, name)| Some((&**name, self.meter(name)?)));
        let mut all: Vec<(&MeterKey, &Meter)> = all.collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }

    fn meter(&self, key: &MeterKey) -> Option<&Meter> {
        self.meters.get(key).map(|kept| &kept.meter)
    }

    pub(crate) fn set(&mut self, Move { key, part, volume }: Move) {
        if !self.meters.contains_key(&key) {
            let name = Arc::new(key.clone());
            let kept = Kept { name: Arc::clone(&name), meter: Meter::default(), dirty: false };
            self.meters.insert(name, kept);
        }
        let Some(kept) = self.meters.get_mut(&key) else { return };
        let before = kept.meter.over_us(key.3);
        let is_new = kept.meter.0.is_empty();
        kept.meter.set(part, volume);
        let after = kept.meter.over_us(key.3);
        if is_new || before != after {
            self.over.remove(&(before, Arc::clone(&kept.name)));
            self.over.insert((after, Arc::clone(&kept.name)));
        }
        if !std::mem::replace(&mut kept.dirty, true) {
            self.dirty.push(Arc::clone(&kept.name));
        }
    }

    /// Forgets meters of which nothing counts any more.
    pub(crate) fn forget(&mut self, tick_us: i64) {
        for _ in 0..FORGOTTEN_MAX {
            if self.over.first().is_none_or(|(over_us, _)| *over_us > tick_us) {
                return;
            }
            let Some((_, name)) = self.over.pop_first() else { return };
            self.meters.remove(&*name);
            self.dirty.push(name);
        }
    }

    pub(crate) fn load(&mut self, key: &[u8], stored: &[u8]) -> Option<()> {
        let (name, meter) = (Arc::new(key_of_bytes(key)?), Meter::decode(stored)?);
        self.over.insert((meter.over_us(name.3), Arc::clone(&name)));
        self.meters.insert(Arc::clone(&name), Kept { name, meter, dirty: false });
        Some(())
    }

    /// Keys changed since the last call, as in a checkpoint, with what is there now.
    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for name in dirty {
            let kept = self.meters.get_mut(&*name);
            let stored = kept.map(|kept| {
                kept.dirty = false;
                kept.meter.encode()
            });
            each(&key_bytes(&name), stored.as_deref());
        }
    }

    /// Everything, as in a checkpoint, sorted.
    pub(crate) fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.all().map(|(key, meter)| (key_bytes(key), meter.encode())).collect()
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 256
    }
}

/// Account, asset, side, window. Names have no zero byte.
fn key_bytes((account, asset, side, window_s): &MeterKey) -> Vec<u8> {
    let numbers = [side.to_be_bytes(), window_s.to_be_bytes()].concat();
    [&[KEY_VELOCITY], account.as_bytes(), &[0], asset.as_bytes(), &[0], &numbers[..]].concat()
}

/// Of what follows the first byte.
fn key_of_bytes(rest: &[u8]) -> Option<MeterKey> {
    let mut texts = rest.splitn(3, |byte| *byte == 0);
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Box::from);
    let (account, asset) = (text(texts.next()?)?, text(texts.next()?)?);
    let (side, window_s) = texts.next()?.split_at_checked(4)?;
    let side = i32::from_be_bytes(side.try_into().ok()?);
    Some((account, asset, side, u32::from_be_bytes(window_s.try_into().ok()?)))
}

/// What a window changes: meters as they become, with the parts that changed. Journalled in the order of their names.
#[derive(Debug, Default)]
pub struct Moves {
    meters: FxHashMap<MeterKey, (Meter, BTreeSet<i64>)>,
    /// In the journal, at most.
    bytes: usize,
}

impl Overlay<'_> {
    /// Rules of an account's class about entries in an asset on a side.
    fn velocity_rules(&self, account: &str, side: Side) -> impl Iterator<Item = &VelocityRule> {
        let class = self.config.chart.resolve(account);
        let rules = class.map_or(&[][..], |class| &class.velocity);
        rules.iter().filter(move |rule| rule.side == side)
    }

    /// Judges whether so much more may be moved of an account to a side, or be put on hold for that.
    ///
    /// # Errors
    /// [`Reason::VelocityExceeded`].
    pub(crate) fn check_velocity(
        &self,
        account: &str,
        asset: &str,
        side: Side,
        more: Volume,
    ) -> Result<(), Refusal> {
        for rule in self.velocity_rules(account, side) {
            let Some(amount_max) = rule.amount_max(asset) else { continue };
            let key = key_of(account, asset, rule);
            let meter = self.moves.meters.get(&key).map(|(meter, _)| meter);
            let meter = meter.or_else(|| self.base.velocity.meter(&key));
            let moved = meter.map(|meter| meter.counted(rule.part_of(self.tick_us))).unwrap_or_default();
            let on_hold = self.volume_held(account, asset, side);
            let after = moved.plus(on_hold).plus(more);
            if after.amount > amount_max || after.count > rule.count_max {
                return Err(self.too_fast(account, asset, rule, (after, amount_max)));
            }
        }
        Ok(())
    }

    fn too_fast(
        &self,
        account: &str,
        asset: &str,
        rule: &VelocityRule,
        (after, amount_max): (Volume, i128),
    ) -> Refusal {
        let exponent = self.config.chart.assets.get(asset).map_or(0, |asset| asset.exponent);
        let shown = |minor| money::format(minor, exponent);
        let most = match (amount_max, rule.count_max) {
            (i128::MAX, count) => format!("{count} times"),
            (amount, u64::MAX) => format!("{} {asset}", shown(amount)),
            (amount, count) => format!("{} {asset} and {count} times", shown(amount)),
        };
        let (amount, count, window_s) = (shown(after.amount), after.count, rule.window_s);
        let what = format!(
            "{account} would be moved by {amount} {asset} in {count} legs within {window_s} s, at most {most}"
        );
        Refusal::new(Reason::VelocityExceeded, what)
    }

    /// Counts what was moved of an account to a side.
    pub(crate) fn count_moved(&mut self, account: &str, asset: &str, side: Side, more: Volume) {
        if more.amount <= 0 {
            return;
        }
        let config = self.config;
        let rules = config.chart.resolve(account).map_or(&[][..], |class| &class.velocity);
        for rule in rules.iter().filter(|rule| rule.side == side && rule.amount_max(asset).is_some()) {
            let (key, part) = (key_of(account, asset, rule), rule.part_of(self.tick_us));
            let base = self.base.velocity.meter(&key);
            let of_key = self.moves.meters.entry(key);
            let (meter, parts) =
                of_key.or_insert_with(|| (base.cloned().unwrap_or_default(), BTreeSet::new()));
            let before = meter.0.get(&part).copied().unwrap_or_default();
            meter.set(part, before.plus(more));
            if parts.insert(part) {
                self.moves.bytes += account.len() + asset.len() + MOVED_BYTES + PART_BYTES;
            }
        }
    }

    /// Counts what the entries of an event have moved of accounts that have a rule.
    pub(crate) fn count_entries(&mut self, legs: &[LocalLeg<'_>], lines: &[Line<'_>]) {
        if !legs.iter().any(|leg| leg.terms.is_some_and(|terms| terms.counted.any())) {
            return;
        }
        for (n, (leg, line)) in legs.iter().zip(lines).enumerate() {
            let is_first = lines.iter().position(|other| other.row == line.row) == Some(n);
            let Some(terms) = leg.terms.filter(|terms| is_first && terms.counted.any()) else { continue };
            let of_row = lines.iter().filter(|other| other.row == line.row);
            let after = of_row.clone().next_back().map_or(line.after, |last| last.after);
            let side = if after > line.before { Side::Debit } else { Side::Credit };
            if terms.counted.has(side) {
                let more = volume(side, after.saturating_sub(line.before).saturating_abs(), of_row);
                self.count_moved(leg.account, leg.asset, side, more);
            }
        }
    }

    /// Journals what was moved in the window, account by account.
    pub(crate) fn journal_moves(&mut self) {
        let mut moved: Option<Moved> = None;
        let mut by_name: Vec<_> = std::mem::take(&mut self.moves.meters).into_iter().collect();
        by_name.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for ((account, asset, side, window_s), (meter, parts)) in by_name {
            let part = parts.into_iter().filter_map(|part| {
                // One that counts no more was forgotten when a later one began.
                Some(to_wire(side, window_s, part, *meter.0.get(&part)?))
            });
            match &mut moved {
                Some(same) if *same.account == *account && *same.asset == *asset => same.part.extend(part),
                _ => {
                    let (account, asset) = (account.into(), asset.into());
                    let next = Moved { account, asset, part: part.collect() };
                    moved.replace(next).into_iter().for_each(|done| self.journal(Item::Moved(done)));
                }
            }
        }
        moved.into_iter().for_each(|last| self.journal(Item::Moved(last)));
    }

    /// Bytes that the journal will say of what was moved in the window, at most.
    #[must_use]
    pub const fn moved_bytes(&self) -> usize {
        self.moves.bytes
    }
}

/// How much of a net amount each leg on its side carries, the first ones first; those that carry nothing are left out of the
/// count.
pub(crate) fn volume<'l, 'c: 'l>(side: Side, net: i128, lines: impl Iterator<Item = &'l Line<'c>>) -> Volume {
    let (mut left, mut count) = (net, 0);
    for line in lines.filter(|line| line.side == side) {
        if left <= 0 {
            break;
        }
        left = left.saturating_sub(line.amount);
        count += 1;
    }
    Volume { amount: net, count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::ids::{ACCOUNT_BYTES_MAX, ASSET_BYTES_MAX};

    fn key(account: &str) -> MeterKey {
        (account.into(), "CNY".into(), Side::Debit as i32, 8)
    }

    fn v(amount: i128, count: u64) -> Volume {
        Volume { amount, count }
    }

    fn mv(key: MeterKey, part: i64, volume: Volume) -> Move {
        Move { key, part, volume }
    }

    #[test]
    fn a_part_takes_no_more_bytes_than_room_is_made_for() {
        let part = to_wire(2, u32::MAX, i64::MIN, v(i128::MIN, u64::MAX));
        let [account, asset] = [ACCOUNT_BYTES_MAX, ASSET_BYTES_MAX].map(|bytes| "x".repeat(bytes));
        let moved = |part: Vec<MovedPart>| {
            let moved = Moved { account: account.clone(), asset: asset.clone(), part };
            wire::JournalItem { item: Some(Item::Moved(moved)) }.encoded_len()
        };
        let none = moved(Vec::new());
        assert!(none + 4 <= ACCOUNT_BYTES_MAX + ASSET_BYTES_MAX + MOVED_BYTES, "{none}");
        assert!(moved(vec![part]) - none <= PART_BYTES + 2);
    }

    #[test]
    fn what_was_moved_counts_for_its_window_and_is_forgotten() {
        let mut table = VelocityTable::default();
        table.set(mv(key("a"), 1, v(5, 1)));
        table.set(mv(key("a"), 3, v(7, 2)));
        table.set(mv(key("a"), 3, v(9, 3)));
        let counted = |table: &VelocityTable, now| table.meter(&key("a")).unwrap().counted(now);
        assert_eq!([3, 9, 10, 11, 12].map(|now| counted(&table, now).amount), [14, 14, 9, 9, 0]);
        table.set(mv(key("b"), 2, v(1, 1)));
        table.set(mv(key("a"), 10, v(1, 1)));
        let parts =
            |table: &VelocityTable| table.meter(&key("a")).unwrap().parts().map(|(part, _)| part).collect();
        let (kept, want): (Vec<_>, _) = (parts(&table), [3, 10]);
        assert_eq!(kept, want);
        table.forget(10_999_999);
        assert_eq!(table.meters.len(), 2);
        table.forget(11_000_000);
        assert_eq!(table.all().map(|(key, _)| key).collect::<Vec<_>>(), [&key("a")]);
        table.forget(19_000_000);
        assert!(table.meters.is_empty() && table.over.is_empty());
        let mut dirty = Vec::new();
        table.take_dirty(|key, meter| dirty.push((key_of_bytes(&key[1..]).unwrap(), meter.is_some())));
        assert_eq!(dirty, [(key("a"), false), (key("b"), false)]);
        // One that comes back after it was forgotten is told once, as it is now.
        table.set(mv(key("a"), 20, v(1, 1)));
        table.forget(i64::MAX);
        table.set(mv(key("a"), 30, v(2, 1)));
        table.set(mv(key("a"), 30, v(3, 1)));
        let mut told = Vec::new();
        table.take_dirty(|_, meter| told.push(meter.map(|bytes| Meter::decode(bytes).unwrap())));
        assert_eq!(told, [table.meter(&key("a")).cloned()]);
        table.take_dirty(|_, _| panic!("told twice"));
    }

    #[test]
    fn meters_survive_a_checkpoint() {
        let mut table = VelocityTable::default();
        table.set(mv(key("users:1:card"), -3, v(i128::MAX, u64::MAX)));
        table.set(mv(key("users:1:card"), 2, v(1, 1)));
        let mut again = VelocityTable::default();
        table.pairs().iter().for_each(|(key, value)| again.load(&key[1..], value).unwrap());
        assert_eq!((again.pairs(), &again.over), (table.pairs(), &table.over));
        assert!(again.all().eq(table.all()));
        assert_eq!(key_of_bytes(b"a\0CNY\0\0\0\0\x01\0\0\0"), None);
    }
}
