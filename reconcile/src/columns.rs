//! The columns of a provider's bill: known by their header names, wherever they stand.

use crate::quarantine::{Quarantine, QuarantineReason, excerpt};

/// A column of a provider's bill.
pub(crate) trait Named: Copy + PartialEq + 'static {
    /// Every column.
    const ALL: &'static [Self];

    /// Names in the header, today's first.
    fn names(self) -> &'static [&'static str];

    /// Its place in [`Self::ALL`].
    fn index(self) -> usize;

    /// Today's name.
    fn name(self) -> &'static str {
        self.names().first().copied().unwrap_or_default()
    }

    /// The column of that name.
    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|column| column.names().contains(&name))
    }
}

/// Declares the enum `Column` of a bill, each with its names, and how many there are.
macro_rules! columns {
    ($($variant:ident = $($name:literal)|+;)*) => {
        /// A column of the rows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Column { $($variant,)* }

        impl $crate::columns::Named for Column {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn names(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($name),+],)* }
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        /// Most columns a row is split into.
        pub(super) const COLUMNS_MAX: usize = <Column as $crate::columns::Named>::ALL.len();
    };
}
pub(crate) use columns;

/// Which column stands where; `N` = how many there can be.
#[derive(Debug)]
pub(crate) struct Places<C, const N: usize> {
    /// Columns in file order.
    pub(crate) columns: Vec<C>,
    place: [Option<usize>; N],
}

impl<C: Named, const N: usize> Places<C, N> {
    /// Reads the names of a header; beside each stands the name that is looked for.
    pub(crate) fn read<'a>(
        line: u32,
        names: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Quarantine> {
        let wrong = |reason, what: &str, name: &str| {
            Quarantine::new(reason, format!("line {line}: {what} {:?}", excerpt(name)))
        };
        let (mut columns, mut place) = (Vec::new(), [None; N]);
        for (shown, name) in names {
            let column = C::by_name(name)
                .ok_or_else(|| wrong(QuarantineReason::UnknownHeader, "unknown header", shown))?;
            let slot = place.get_mut(column.index()).filter(|slot| slot.is_none());
            let slot =
                slot.ok_or_else(|| wrong(QuarantineReason::RepeatedHeader, "repeated header", shown))?;
            *slot = Some(columns.len());
            columns.push(column);
        }
        Ok(Self { columns, place })
    }

    /// Where a column stands, counted from 0.
    pub(crate) fn place(&self, column: C) -> Option<usize> {
        self.place.get(column.index()).copied().flatten()
    }

    /// The values of a row, as many as the header names.
    pub(crate) fn fields<'a>(
        &self,
        line: u32,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<[&'a str; N], Quarantine> {
        let mut fields = [""; N];
        let mut count = 0_usize;
        for value in values {
            if let Some(field) = fields.get_mut(count) {
                *field = value;
            }
            count += 1;
        }
        let expected = self.columns.len();
        if count == expected {
            return Ok(fields);
        }
        let at = self.columns.get(count.min(expected.saturating_sub(1)));
        let why = format!("{count} fields where the header names {expected}");
        Err(Quarantine::field(line, at.map_or("", |column| column.name()), why))
    }
}
