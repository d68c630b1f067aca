//! The account table of one slot: one row per (account, asset).
//!
//! Rows are found by name through an index of row numbers, so that a name is stored once. Row numbers never leave this
//! crate; everything written is sorted by name.

use rustc_hash::FxHasher;
use schemas::chart::{AccountClass, Chart};
use schemas::ids::ACCOUNT_BYTES_MAX;
use schemas::limits::Bounds;
use schemas::reason::Reason;
use schemas::wire::Side;
use std::hash::Hasher;
use stream::table::{Changed, Index, Name, Rows, spread};

/// Figures of one account in one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Debits minus credits, minor units.
    pub balance: i128,
    /// Number of entries.
    pub seq: u64,
    /// Journal batch of the last entry; 0 = none.
    pub last_batch: u64,
}

/// How far a balance may go, debits minus credits, minor units. The ends of the range are no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Credits may take it down to here.
    pub lowest: i128,
    /// Debits may take it up to here.
    pub highest: i128,
}

impl Range {
    /// No limit.
    pub const ALL: Self = Self { lowest: i128::MIN, highest: i128::MAX };

    /// The limits of an account on that normal side.
    #[must_use]
    pub const fn of(normal: Side, bounds: Bounds) -> Self {
        match normal {
            // No limit below is none above: the ends have no negative of their own.
            Side::Credit => Self { lowest: turned(bounds.most), highest: turned(bounds.least) },
            _ => Self { lowest: bounds.least, highest: bounds.most },
        }
    }

    /// Whether entries on `side` meet a limit.
    #[must_use]
    pub const fn limits(&self, side: Side) -> bool {
        match side {
            Side::Credit => self.lowest != Self::ALL.lowest,
            _ => self.highest != Self::ALL.highest,
        }
    }

    /// Whether entries on `side` may take the balance to `after` where so much is on hold on that side besides.
    #[must_use]
    pub const fn allows(&self, side: Side, after: i128, held: i128) -> bool {
        match side {
            Side::Credit => !self.limits(side) || after.saturating_sub(held) >= self.lowest,
            _ => !self.limits(side) || after.saturating_add(held) <= self.highest,
        }
    }
}

/// The negative; the ends of the range are each other's.
const fn turned(figure: i128) -> i128 {
    match figure {
        i128::MIN => i128::MAX,
        i128::MAX => i128::MIN,
        figure => -figure,
    }
}

/// Sides whose entries count for a rule about velocity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Debits do.
    pub debits: bool,
    /// Credits do.
    pub credits: bool,
}

impl Counted {
    /// Whether entries on a side count.
    #[must_use]
    pub const fn has(self, side: Side) -> bool {
        match side {
            Side::Credit => self.credits,
            _ => self.debits,
        }
    }

    /// Whether any do.
    #[must_use]
    pub const fn any(self) -> bool {
        self.debits || self.credits
    }

    fn of(class: &AccountClass, asset: &str) -> Self {
        let mut counted = Self::default();
        for rule in class.velocity.iter().filter(|rule| rule.amount_max(asset).is_some()) {
            counted.credits |= rule.side == Side::Credit;
            counted.debits |= rule.side != Side::Credit;
        }
        counted
    }
}

/// What the chart says of an account in one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Normal side.
    pub normal: Side,
    /// How far its balance may go.
    pub range: Range,
    /// It must be opened by an event before it is used.
    pub opened_first: bool,
    /// It is asked about every leg, wherever the event is decided.
    pub guarded: bool,
    /// Which of its entries count for a rule about velocity.
    pub counted: Counted,
    /// Something else vouches for its funds: it is not asked any more.
    pub vouched: bool,
    /// Its limits and its velocity are not asked about what gives an event back.
    pub reversals_forced: bool,
    /// This is such an event.
    pub forced: bool,
}

#[cfg(test)]
impl Terms {
    /// These limits and nothing else.
    pub(crate) const fn plain(normal: Side, range: Range) -> Self {
        Self {
            normal,
            range,
            opened_first: false,
            guarded: false,
            counted: Counted { debits: false, credits: false },
            vouched: false,
            reversals_forced: false,
            forced: false,
        }
    }
}

impl Terms {
    /// Whether the account must be asked about a leg on `side`: it moves it towards a limit or counts for a rule, or the
    /// account is guarded.
    #[must_use]
    pub const fn may_refuse(&self, side: Side) -> bool {
        !self.vouched
            && (self.guarded || (!self.forced && (self.range.limits(side) || self.counted.has(side))))
    }

    /// Whether an event may give the account a limit on `side`: the chart does, or the account is guarded.
    #[must_use]
    pub const fn may_be_limited(&self, side: Side) -> bool {
        !self.vouched && !self.forced && (self.guarded || self.range.limits(side))
    }

    /// The same where its limits and its velocity are not asked; what moves it counts.
    #[must_use]
    pub const fn forced(self) -> Self {
        Self { range: Range::ALL, forced: true, ..self }
    }

    /// The same where something else vouches for its funds.
    #[must_use]
    pub const fn unjudged(self) -> Self {
        Self { vouched: true, ..self }
    }

    /// A figure of its normal side as debits minus credits, and the other way round.
    #[must_use]
    pub const fn signed(&self, figure: i128) -> i128 {
        match self.normal {
            Side::Credit => turned(figure),
            _ => figure,
        }
    }

    /// Why an entry on `side` that passes a limit is refused.
    #[must_use]
    pub fn beyond(&self, side: Side) -> Reason {
        if side == self.normal { Reason::BalanceTooHigh } else { Reason::InsufficientFunds }
    }

    /// What a class says of its accounts in an asset; `None` when they may not hold it.
    #[must_use]
    pub fn of(class: &AccountClass, asset: &str) -> Option<Self> {
        let (opened_first, guarded) = (class.opened_first, class.guarded || class.opened_first);
        let range = || Range::of(class.normal, class.limits.of_asset(asset));
        class.holds(asset).then(|| Self {
            normal: class.normal,
            range: range(),
            opened_first,
            guarded,
            counted: Counted::of(class, asset),
            vouched: false,
            reversals_forced: class.reversals_forced,
            forced: false,
        })
    }
}

/// What the chart says of each class in each asset, worked out once: every leg asks for it.
#[derive(Debug, Clone)]
pub struct ChartTerms(Vec<Vec<(Box<str>, Terms)>>);

impl ChartTerms {
    /// Of all its classes and assets.
    #[must_use]
    pub fn of(chart: &Chart) -> Self {
        let of_class = |class: &AccountClass| {
            let terms = |asset: &String| Some((asset.as_str().into(), Terms::of(class, asset)?));
            chart.assets.keys().filter_map(terms).collect()
        };
        Self(chart.classes.iter().map(of_class).collect())
    }

    /// Of the class of that number; `None` when it may not hold the asset, or there is no such class or asset.
    #[must_use]
    pub fn get(&self, class: usize, asset: &str) -> Option<&Terms> {
        // In the order of their codes, as the chart has them.
        let of_class = self.0.get(class)?;
        let at = of_class.binary_search_by(|(code, _)| (**code).cmp(asset)).ok()?;
        of_class.get(at).map(|(_, terms)| terms)
    }
}

/// Account, then asset, and the length of the account. A short name lies beside the figures: looking an account up among
/// a million waits for memory, and each place it has to look at is another wait.
fn name_of(account: &str, asset: &str) -> Name {
    Name::new([account.as_bytes(), asset.as_bytes()], u16::try_from(account.len()).unwrap_or(u16::MAX))
}

const _: () = assert!(ACCOUNT_BYTES_MAX <= u16::MAX as usize);

/// One row is a cache line.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Row {
    figures: Figures,
    name: Name,
}

impl Row {
    /// Account and asset.
    fn parts(&self) -> (&[u8], &[u8]) {
        self.name.bytes().split_at_checked(self.name.number().into()).unwrap_or_default()
    }

    fn name(&self) -> (&str, &str) {
        // They were text when they came.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let (account, asset) = self.parts();
        (text(account), text(asset))
    }

    fn is(&self, account: &str, asset: &str) -> bool {
        self.parts() == (account.as_bytes(), asset.as_bytes())
    }
}

/// Rows of one slot.
#[derive(Debug, Default)]
pub struct AccountTable {
    index: Index,
    rows: Rows<Row>,
    dirty: Changed,
    /// Of the dirty rows, about.
    dirty_bytes: usize,
}

fn hash_of(account: &str, asset: &str) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(account.as_bytes());
    hasher.write(asset.as_bytes());
    spread(hasher.finish())
}

impl AccountTable {
    /// Row number of an account in an asset.
    #[must_use]
    pub fn find(&self, account: &str, asset: &str) -> Option<u32> {
        self.find_by(hash_of(account, asset), account, asset)
    }

    /// Row numbers of accounts in assets, in their order.
    ///
    /// One look-up after the other waits for memory twice: for its slot of the index, then for the row. Here each of the
    /// three loops does so little that the processor waits for many of them at once; the last finds all in its cache.
    #[must_use]
    pub fn find_all(&self, names: &[(&str, &str)]) -> Vec<Option<u32>> {
        let hashes: Vec<u32> = names.iter().map(|(account, asset)| hash_of(account, asset)).collect();
        let guesses: Vec<Option<u32>> = hashes.iter().map(|hash| self.index.guess(*hash)).collect();
        let touch = |sum: u64, row: &u32| sum ^ self.rows.get(*row as usize).map_or(0, |r| r.figures.seq);
        std::hint::black_box(guesses.iter().flatten().fold(0, touch));
        let found = |(hash, (account, asset)): (u32, &(&str, &str))| self.find_by(hash, account, asset);
        hashes.into_iter().zip(names).map(found).collect()
    }

    fn find_by(&self, hash: u32, account: &str, asset: &str) -> Option<u32> {
        self.index.find(hash, |row| self.rows.get(row as usize).is_some_and(|r| r.is(account, asset)))
    }

    /// Row number of an account in an asset, which gets one with zero figures where it has none.
    pub(crate) fn find_or_insert(&mut self, account: &str, asset: &str) -> u32 {
        let hash = hash_of(account, asset);
        if let Some(row) = self.find_by(hash, account, asset) {
            return row;
        }
        let row = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Row { figures: Figures::default(), name: name_of(account, asset) });
        self.index.insert(hash, row);
        row
    }

    /// Account and asset of a row.
    #[must_use]
    pub fn name(&self, row: u32) -> Option<(&str, &str)> {
        self.rows.get(row as usize).map(Row::name)
    }

    /// Figures of a row; zero for a row that does not exist.
    #[must_use]
    pub fn figures(&self, row: u32) -> Figures {
        self.rows.get(row as usize).map_or_else(Figures::default, |r| r.figures)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Sets the figures of a row.
    pub(crate) fn set(&mut self, row: u32, figures: Figures) {
        if let Some(r) = self.rows.get_mut(row as usize) {
            r.figures = figures;
            if self.dirty.add(row) {
                self.dirty_bytes += r.name.bytes().len() + 48;
            }
        }
    }

    /// Sets figures that a checkpoint holds.
    pub(crate) fn load(&mut self, account: &str, asset: &str, figures: Figures) {
        let row = self.find_or_insert(account, asset);
        if let Some(r) = self.rows.get_mut(row as usize) {
            r.figures = figures;
        }
    }

    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(&str, &str, Figures)) {
        self.dirty_bytes = 0;
        for row in self.dirty.take() {
            if let Some(r) = self.rows.get(row as usize) {
                let (account, asset) = r.name();
                each(account, asset, r.figures);
            }
        }
    }

    pub(crate) const fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// Every account and asset with its figures, in the order in which they came.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, Figures)> {
        self.rows.iter().map(|r| (r.name().0, r.name().1, r.figures))
    }

    /// Every account and asset with its figures, sorted by account, then asset.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, &str, Figures)> {
        let mut all: Vec<_> = self.all().collect();
        all.sort_unstable_by_key(|(account, asset, _)| (*account, *asset));
        all
    }
}

const _: () = assert!(size_of::<Row>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_normal_side() {
        let terms = |normal, least, most| {
            let range = Range::of(normal, Bounds { least, most });
            Terms::plain(normal, range)
        };
        let refuses = |t: &Terms| [Side::Debit, Side::Credit].map(|side| t.may_refuse(side));
        let wallet = terms(Side::Credit, -100, i128::MAX);
        assert_eq!(refuses(&wallet), [true, false]);
        let spends = |after, held| wallet.range.allows(Side::Debit, after, held);
        assert!(spends(100, 0) && !spends(101, 0) && spends(i128::MIN, 0));
        assert!(spends(93, 7) && !spends(94, 7) && !spends(i128::MAX, 7));
        assert!(wallet.range.allows(Side::Credit, i128::MIN, i128::MAX));
        let cash = terms(Side::Debit, 0, 50);
        assert_eq!(refuses(&cash), [true, true]);
        let takes = |after, held| cash.range.allows(Side::Credit, after, held);
        assert!(takes(0, 0) && !takes(-1, 0) && takes(7, 7) && !takes(6, 7) && takes(60, 0));
        let gets = |after, held| cash.range.allows(Side::Debit, after, held);
        assert!(gets(50, 0) && !gets(51, 0) && gets(43, 7) && !gets(44, 7) && gets(-9, 0));
        assert_eq!(cash.beyond(Side::Credit), Reason::InsufficientFunds);
        assert_eq!(cash.beyond(Side::Debit), Reason::BalanceTooHigh);
        let purse = terms(Side::Credit, i128::MIN, 50);
        assert_eq!(refuses(&purse), [false, true]);
        assert!(purse.range.allows(Side::Credit, -50, 0) && !purse.range.allows(Side::Credit, -51, 0));
        let bank = terms(Side::Debit, i128::MIN, i128::MAX);
        assert_eq!((refuses(&bank), bank.range), ([false, false], Range::ALL));
        assert!(bank.range.allows(Side::Debit, i128::MIN, i128::MAX));
        let vault = Terms { guarded: true, ..bank };
        assert_eq!((refuses(&vault), refuses(&wallet.unjudged())), ([true, true], [false, false]));
        let card = Terms { counted: Counted { debits: true, credits: false }, ..bank };
        assert_eq!((refuses(&card), refuses(&card.unjudged())), ([true, false], [false, false]));
        let back = Terms { counted: card.counted, guarded: true, ..wallet }.forced();
        assert_eq!(refuses(&back), [true, true], "guarded all the same");
        assert_eq!(refuses(&Terms { guarded: false, ..back }), [false, false]);
        assert_eq!((back.range, back.counted), (Range::ALL, card.counted), "it counts all the same");
        let counted = [(false, false), (true, false), (false, true)];
        let any = counted.map(|(debits, credits)| Counted { debits, credits }.any());
        assert_eq!(any, [false, true, true]);
    }

    #[test]
    fn rows_are_found_again_among_many() {
        let mut table = AccountTable::default();
        assert!(table.is_empty());
        for n in 0..10_000_u64 {
            let figures = Figures { balance: i128::from(n), seq: n, last_batch: 1 };
            let row =
                table.find_or_insert(&format!("users:{n}:wallet"), if n % 2 == 0 { "CNY" } else { "USD" });
            table.set(row, figures);
        }
        for n in 0..10_000_u64 {
            let (this, other) = if n % 2 == 0 { ("CNY", "USD") } else { ("USD", "CNY") };
            let row = table.find(&format!("users:{n}:wallet"), this).unwrap();
            assert_eq!(table.figures(row).seq, n);
            assert_eq!(table.find(&format!("users:{n}:wallet"), other), None);
        }
        let mut seen = 0;
        table.take_dirty(|_, _, _| seen += 1);
        assert_eq!((seen, table.dirty_bytes()), (10_000, 0));
        assert!(!table.is_empty());
    }

    /// The index knows 32 bits of a name.
    #[test]
    fn accounts_of_one_hash_have_a_row_each() {
        let mut names = std::collections::BTreeMap::new();
        let (one, other) = (0..)
            .map(|n| format!("users:{n}:wallet"))
            .find_map(|name| Some((names.insert(hash_of(&name, "CNY"), name.clone())?, name)))
            .unwrap();
        let mut table = AccountTable::default();
        let rows = [&one, &other].map(|name| table.find_or_insert(name, "CNY"));
        assert_eq!(rows, [0, 1]);
        assert_eq!([&one, &other].map(|name| table.find(name, "CNY")), rows.map(Some));
    }
}
