//! What a window of side batches changes. Pure: the slot is read, the change is built, nothing is written.
//!
//! Every record ends with its keys judged, so that revisions count records and not windows.

use super::judge::{Gates, judge};
use super::publish::{self, Moment};
use super::state::{Bill, CaseRow, FileState, JoinChange, JoinSlot, KeyState, KeyText, OursRow, TheirsRow};
use crate::config::Config;
use crate::match_key::{MatchKey, partition_of_key};
use schemas::batch;
use schemas::recon_json::Case;
use schemas::wire::side_item::Item;
use schemas::wire::{FileReleased, OurSide, SideItem, SidesBody, TheirSide};
use std::collections::BTreeSet;
use stream::log::Record;

/// A window being decided.
pub(super) struct Joining<'a> {
    slot: u32,
    config: &'a Config,
    base: &'a JoinSlot,
    /// Changes so far.
    pub(super) change: JoinChange,
    touched: BTreeSet<KeyText>,
    /// Items read.
    pub(super) items: u64,
}

impl Gates for JoinSlot {
    fn file(&self, id: &str) -> Option<&FileState> {
        self.files.get(id)
    }

    fn closed(&self, bill: &Bill) -> bool {
        self.closed.contains(bill)
    }
}

/// Gates as this window leaves them.
struct Changed<'a> {
    base: &'a JoinSlot,
    change: &'a JoinChange,
}

impl Gates for Changed<'_> {
    fn file(&self, id: &str) -> Option<&FileState> {
        self.change.files.get(id).or_else(|| self.base.files.get(id))
    }

    fn closed(&self, bill: &Bill) -> bool {
        self.change.closed.contains(bill) || self.base.closed.contains(bill)
    }
}

impl<'a> Joining<'a> {
    /// Nothing read yet.
    pub(super) fn new(slot: u32, config: &'a Config, base: &'a JoinSlot) -> Self {
        Self { slot, config, base, change: JoinChange::default(), touched: BTreeSet::new(), items: 0 }
    }

    /// Takes one batch: the next of its writer's chain.
    pub(super) fn record(&mut self, record: &Record) -> Result<(), String> {
        let opened = batch::open(&record.value).map_err(|e| e.to_string())?;
        let writer = opened.header.slot;
        if writer >= self.config.partitions() {
            return Err(format!("batch of unknown slot {writer}"));
        }
        let head = self.change.heads.get(&writer).or_else(|| self.base.heads.get(&writer));
        let head = head.copied().unwrap_or_default().accept(&opened).map_err(|e| e.to_string())?;
        let body: SidesBody = opened.body().map_err(|e| e.to_string())?;
        opened.expect_count(body.item.len()).map_err(|e| e.to_string())?;
        self.change.heads.insert(writer, head);
        for item in body.item {
            self.item(item)?;
        }
        self.settle();
        Ok(())
    }

    fn item(&mut self, item: SideItem) -> Result<(), String> {
        self.items += 1;
        let journal = item.journal_partition.checked_sub(1);
        match (item.item.ok_or("item of unknown kind")?, journal) {
            (Item::Ours(ours), _) => self.ours(ours),
            (Item::Theirs(theirs), _) => self.theirs(theirs),
            (Item::Released(released), _) => self.released(released),
            (Item::Tick(tick), Some(journal)) => {
                let known = self.change.ticks.get(&journal).or_else(|| self.base.ticks.get(&journal));
                let latest = known.copied().unwrap_or(i64::MIN).max(tick.business_time_us);
                self.change.ticks.insert(journal, latest);
                Ok(())
            }
            (Item::Aligned(aligned), Some(journal)) => {
                let place = (aligned.book, journal);
                let known = self.change.aligned.get(&place).or_else(|| self.base.aligned.get(&place));
                let latest = known.copied().unwrap_or(i32::MIN).max(aligned.date);
                self.change.aligned.insert(place, latest);
                Ok(())
            }
            (Item::Tick(_) | Item::Aligned(_), None) => {
                Err("tick or day without its journal partition".into())
            }
        }
    }

    /// The key's text, when it belongs here.
    fn text(&self, key: &MatchKey) -> Result<KeyText, String> {
        let text = key.text();
        let partition = partition_of_key(&text, self.config.partitions());
        if partition == self.slot {
            Ok(text.into())
        } else {
            Err(format!("key {text} belongs to partition {partition}"))
        }
    }

    /// What is under a key, this window's changes included.
    fn state(&self, text: &KeyText) -> KeyState {
        self.change.keys.get(text).or_else(|| self.base.keys.get(text)).unwrap_or_default()
    }

    fn edit(&mut self, text: &KeyText, edit: impl FnOnce(&mut KeyState)) {
        let mut state = self.state(text);
        edit(&mut state);
        self.change.keys.put(text.clone(), &state);
    }

    fn edit_file(&mut self, id: &str) -> &mut FileState {
        let base = self.base;
        let known = || base.files.get(id).cloned().unwrap_or_default();
        self.change.files.entry(id.to_owned()).or_insert_with(known)
    }

    fn gates(&self) -> Changed<'_> {
        Changed { base: self.base, change: &self.change }
    }

    fn ours(&mut self, mut side: OurSide) -> Result<(), String> {
        let matched = side.r#match.as_mut().ok_or("entry without a match")?;
        let key = MatchKey::of_ours(matched);
        let text = self.text(&key)?;
        if self.config.exponent(&matched.asset).is_none() {
            return Err(format!("entry in asset {:?}, which is not in accounts.yaml", matched.asset));
        }
        for part in [
            &mut matched.provider,
            &mut matched.account,
            &mut matched.order,
            &mut matched.kind,
            &mut matched.refund,
        ] {
            *part = String::new();
        }
        let day =
            self.config.provider(&key.provider).day_of(side.occurred_at_us).map_err(|e| e.to_string())?.0;
        self.edit(&text, |state| state.ours.push(OursRow { side, day }));
        let bill = Bill::of_key(&key, day);
        if !self.gates().closed(&bill) {
            self.change.waiting.entry(bill).or_default().push(text.clone());
        }
        self.touched.insert(text);
        Ok(())
    }

    fn theirs(&mut self, side: TheirSide) -> Result<(), String> {
        let text = self.text(&MatchKey::of_theirs(&side))?;
        let mut line = side.line.ok_or("line without content")?;
        for part in [&mut line.order, &mut line.kind, &mut line.refund, &mut line.account] {
            *part = String::new();
        }
        let file = self.edit_file(&side.file);
        if file.end.is_some() {
            return Err(format!("line {} of file {} after its release", line.line, side.file));
        }
        file.staged += 1;
        let row = TheirsRow { file: side.file.clone(), line };
        self.edit(&text, |state| state.theirs.push(row));
        self.change.staged.entry(side.file).or_default().push(text);
        Ok(())
    }

    fn released(&mut self, released: FileReleased) -> Result<(), String> {
        let file = released.file.ok_or("release without a file")?;
        let end = released.end.ok_or("release without an end")?;
        let state = self.edit_file(&file.id);
        if state.end.is_some() {
            return Err(format!("file {} is released twice", file.id));
        }
        if state.staged != released.staged {
            let (found, stated) = (state.staged, released.staged);
            return Err(format!("file {}: {found} lines staged, its release names {stated}", file.id));
        }
        let accepted = end.accepted;
        state.file = Some(file.clone());
        state.end = Some(end);
        let staged = indexed(self.base.staged.get(&file.id), self.change.staged.get(&file.id));
        if accepted {
            let bill = Bill::of_file(&file);
            let waiting = indexed(self.base.waiting.get(&bill), self.change.waiting.get(&bill));
            self.touched.extend(staged.into_iter().chain(waiting));
            self.change.closed.insert(bill);
        } else {
            for text in staged {
                self.edit(&text, |state| state.theirs.retain(|row| row.file != file.id));
            }
        }
        Ok(())
    }

    /// Judges the keys a record touched; a case that became another has its revision raised.
    fn settle(&mut self) {
        for text in std::mem::take(&mut self.touched) {
            let Some(key) = MatchKey::parse(&text) else { continue };
            let mut state = self.state(&text);
            let (mut cases, gates) = (std::mem::take(&mut state.cases), self.gates());
            for (place, judged) in judge(self.config, &key, &state, &gates).iter().enumerate() {
                let (kind, fingerprint) = (CaseRow::number(judged.kind), judged.fingerprint());
                match cases.get_mut(place) {
                    None => cases.push(CaseRow { revision: u64::from(kind != 0), kind, fingerprint }),
                    Some(row) if (row.kind, row.fingerprint) != (kind, fingerprint) => {
                        *row = CaseRow { revision: row.revision + 1, kind, fingerprint };
                    }
                    Some(_) => {}
                }
            }
            state.cases = cases;
            self.change.keys.put(text, &state);
        }
    }

    /// Gives what the window publishes, by key: one key's cases at a time, as a file may have any number of them.
    ///
    /// # Errors
    /// Those of `take`.
    pub(super) fn publish<E>(&self, mut take: impl FnMut(&Case) -> Result<(), E>) -> Result<(), E> {
        let gates = self.gates();
        for text in self.change.keys.texts() {
            let before = self.base.keys.get(text).unwrap_or_default();
            let state = self.state(text);
            if before.cases == state.cases {
                continue;
            }
            let Some(key) = MatchKey::parse(text) else { continue };
            let before = Moment { state: &before, gates: self.base };
            let after = Moment { state: &state, gates: &gates };
            publish::changes(self.config, &key, &before, &after).iter().try_for_each(&mut take)?;
        }
        Ok(())
    }
}

fn indexed(base: Option<&Vec<KeyText>>, change: Option<&Vec<KeyText>>) -> BTreeSet<KeyText> {
    base.into_iter().chain(change).flatten().cloned().collect()
}
