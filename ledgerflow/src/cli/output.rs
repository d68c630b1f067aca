//! Answers on standard output: rows under columns, as a table for people, as JSON or as CSV.
//!
//! For people, columns in which no row says anything are left out. Rows that are wider than the terminal get their widest
//! column broken into lines, or are shown as one line a field. JSON and CSV always have all columns.
//!
//! Bounds: an answer is in memory whole. Standard output gets the answer and nothing else; progress and logs go to
//! standard error. Amounts stay the decimal text they are: a JSON string, never a JSON number.

use super::args::Output;
use comfy_table::{Attribute, CellAlignment, ColumnConstraint, ContentArrangement, presets};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

/// Rows under columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// What stands above it when an answer has several.
    pub title: String,
    /// Names of the columns: keys in JSON, the header line elsewhere.
    pub columns: Vec<String>,
    /// Rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
    /// Whether it is left out for people, because another one of the answer sums it up.
    #[serde(default)]
    pub for_programs: bool,
}

/// What a row says under a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// Nothing: null in JSON.
    None,
    /// A text.
    Text(String),
    /// A decimal amount; right-aligned, a string in JSON.
    Amount(String),
    /// A count or a position; right-aligned, a number in JSON.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(i64::from(number))
    }
}

impl From<u64> for Cell {
    /// A count past `i64::MAX` becomes its text.
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::Text(number.to_string()), Self::Number)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::None, Into::into)
    }
}

impl Cell {
    /// An amount in decimal text.
    #[must_use]
    pub fn amount(text: impl Into<String>) -> Self {
        Self::Amount(text.into())
    }

    const fn is_figure(&self) -> bool {
        matches!(self, Self::Amount(_) | Self::Number(_))
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::None => serde_json::Value::Null,
            Self::Text(text) | Self::Amount(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Text(text) | Self::Amount(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { title: title.to_owned(), columns, ..Self::default() }
    }

    /// The same, left out for people.
    #[must_use]
    pub fn for_programs(self) -> Self {
        Self { for_programs: true, ..self }
    }

    /// Adds a row; cells that are missing are none, cells beyond the last column are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut cells: Vec<Cell> = cells.into_iter().collect();
        cells.resize(self.columns.len(), Cell::None);
        self.rows.push(cells);
    }

    /// Without the columns in which no row says anything.
    fn told(&self) -> Self {
        let says = |column: usize| {
            self.rows.iter().any(|row| row.get(column).is_some_and(|cell| !cell.to_string().is_empty()))
        };
        let kept: Vec<usize> = (0..self.columns.len()).filter(|column| says(*column)).collect();
        let row = |row: &Vec<Cell>| kept.iter().filter_map(|column| row.get(*column).cloned()).collect();
        Self {
            title: self.title.clone(),
            columns: kept.iter().filter_map(|column| self.columns.get(*column).cloned()).collect(),
            rows: self.rows.iter().map(row).collect(),
            ..Self::default()
        }
    }

    /// One line a field, an empty one between two rows.
    fn upright(&self) -> Self {
        let mut upright = Self::new(&self.title, &["field", "value"]);
        for row in &self.rows {
            if !upright.rows.is_empty() {
                upright.row([]);
            }
            for (column, cell) in self.columns.iter().zip(row) {
                let text = cell.to_string();
                if !text.is_empty() {
                    upright.row([column.as_str().into(), text.into()]);
                }
            }
        }
        upright
    }

    /// Its rows as JSON objects.
    pub fn values(&self) -> impl Iterator<Item = serde_json::Value> {
        self.rows.iter().map(|row| {
            let pairs = self.columns.iter().zip(row).map(|(column, cell)| (column.clone(), cell.json()));
            serde_json::Value::Object(pairs.collect())
        })
    }
}

/// Where a table for people goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Whether it is a terminal: lines are fitted into its width, headers are bold.
    pub terminal: bool,
    /// Its width in columns; `None` = ask the terminal.
    pub width: Option<u16>,
}

impl Screen {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self { terminal: io::stdout().is_terminal(), width: None }
    }
}

/// Writes an answer of one table or several.
///
/// Several are: for people, each under its title; in JSON, an object of arrays by title; in CSV, one table with the
/// title of each row's table in the first column, `table`, and then the columns of all, each name once, in the order in
/// which they come. What a row's own table does not have is empty.
///
/// # Errors
/// Writing failed.
pub fn write(to: &mut dyn Write, tables: &[Table], output: Output, screen: Screen) -> io::Result<()> {
    match (output, tables) {
        (Output::Table, tables) => {
            let tables: Vec<&Table> = tables.iter().filter(|table| !table.for_programs).collect();
            for (index, &table) in tables.iter().enumerate() {
                if tables.len() > 1 {
                    let gap = if index > 0 { "\n" } else { "" };
                    writeln!(to, "{gap}{}", visible(&table.title))?;
                }
                write_table(to, table, screen)?;
            }
            Ok(())
        }
        (Output::Json, [table]) => {
            write_array(to, table, "")?;
            writeln!(to)
        }
        (Output::Json, tables) => {
            for (index, table) in tables.iter().enumerate() {
                let title = serde_json::Value::from(table.title.as_str());
                write!(to, "{}{title}: ", if index == 0 { "{\n  " } else { ",\n  " })?;
                write_array(to, table, "  ")?;
            }
            writeln!(to, "{}", if tables.is_empty() { "{}" } else { "\n}" })
        }
        (Output::Csv, []) => Ok(()),
        (Output::Csv, [table]) => write_csv(to, table),
        (Output::Csv, tables) => write_csv(to, &united(tables)),
    }
}

/// Puts bytes on standard output. That the reader of a pipe has gone is no error: it has what it wanted.
///
/// # Errors
/// Writing failed.
pub fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// An array with one object a line, so that line tools can read it too.
fn write_array(to: &mut dyn Write, table: &Table, indent: &str) -> io::Result<()> {
    to.write_all(b"[")?;
    for (index, object) in table.values().enumerate() {
        write!(to, "{}\n{indent}  {object}", if index == 0 { "" } else { "," })?;
    }
    if !table.rows.is_empty() {
        write!(to, "\n{indent}")?;
    }
    to.write_all(b"]")
}

/// Several tables as one, see [`write`].
fn united(tables: &[Table]) -> Table {
    let mut columns = vec!["table".to_owned()];
    for column in tables.iter().flat_map(|table| &table.columns) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    let mut rows = Vec::new();
    for table in tables {
        let places = columns.iter().map(|name| table.columns.iter().position(|column| column == name));
        let places: Vec<Option<usize>> = places.skip(1).collect();
        for row in &table.rows {
            let cell =
                |place: &Option<usize>| place.and_then(|at| row.get(at).cloned()).unwrap_or(Cell::None);
            rows.push(
                [Cell::from(table.title.as_str())].into_iter().chain(places.iter().map(cell)).collect(),
            );
        }
    }
    Table { title: String::new(), columns, rows, for_programs: false }
}

fn write_csv(to: &mut dyn Write, table: &Table) -> io::Result<()> {
    let mut line = |fields: &mut dyn Iterator<Item = String>| {
        let fields: Vec<String> = fields.map(|field| quoted(&field)).collect();
        write!(to, "{}\r\n", fields.join(","))
    };
    line(&mut table.columns.iter().cloned())?;
    for row in &table.rows {
        line(&mut row.iter().map(Cell::to_string))?;
    }
    Ok(())
}

/// RFC 4180: a field with a comma, a quote or a line break is quoted, quotes in it are doubled. Spaces at the ends
/// are quoted too, as many readers cut them.
fn quoted(field: &str) -> String {
    let plain = !field.contains([',', '"', '\r', '\n']) && field.trim() == field;
    if plain { field.to_owned() } else { format!("\"{}\"", field.replace('"', "\"\"")) }
}

fn write_table(to: &mut dyn Write, table: &Table, screen: Screen) -> io::Result<()> {
    if table.rows.is_empty() {
        return writeln!(to, "(none)");
    }
    let table = table.told();
    let mut out = drawn(&table, screen);
    if screen.terminal
        && let Some(width) = out.width()
    {
        fit(&mut out, &table, screen, width);
    }
    for line in out.lines() {
        writeln!(to, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A table as lines for people of at most so many columns, without bold headers.
pub(super) fn lines_within(table: &Table, width: usize) -> Vec<String> {
    let width = u16::try_from(width).unwrap_or(u16::MAX);
    let screen = Screen { terminal: true, width: Some(width) };
    let table = table.told();
    let mut out = drawn(&table, screen);
    fit(&mut out, &table, screen, width);
    // Escapes of the cells are made visible: those that are left are the headers'.
    let plain = |line: String| line.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "").trim_end().to_owned();
    out.lines().map(plain).collect()
}

/// What is wider than the terminal: its widest column is broken into lines where that leaves it room enough, and words
/// stay whole in the others; else, and where it is a single row, it stands upright.
fn fit(out: &mut comfy_table::Table, table: &Table, screen: Screen, width: u16) {
    let widths = out.column_max_content_widths();
    let gaps = u16::try_from(widths.len().saturating_sub(1)).unwrap_or(u16::MAX).saturating_mul(GAP);
    let needed = widths.iter().fold(gaps, |sum, width| sum.saturating_add(*width));
    if needed <= width {
        return;
    }
    let widest = widths.iter().enumerate().max_by_key(|(_, width)| **width);
    let (index, widest) = widest.map_or((0, 0), |(index, width)| (index, *width));
    if table.rows.len() == 1 || width < (needed - widest).saturating_add(BROKEN_MIN) {
        *out = drawn(&table.upright(), screen);
        return;
    }
    for (number, column) in out.column_iter_mut().enumerate() {
        if number != index {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

/// Least width of a column that is broken into lines.
const BROKEN_MIN: u16 = 20;

/// Blanks between two columns.
const GAP: u16 = 2;

fn drawn(table: &Table, screen: Screen) -> comfy_table::Table {
    let mut out = comfy_table::Table::new();
    out.load_style(presets::NOTHING);
    if screen.terminal {
        out.enforce_styling().set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = screen.width {
            out.set_width(width);
        }
    } else {
        out.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    }
    out.set_header(table.columns.iter().map(|column| {
        let cell = comfy_table::Cell::new(visible(column));
        if screen.terminal { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    for row in &table.rows {
        out.add_row(row.iter().map(|cell| visible(&cell.to_string())));
    }
    let last = table.columns.len().saturating_sub(1);
    for (index, column) in out.column_iter_mut().enumerate() {
        let figures =
            |row: &Vec<Cell>| row.get(index).is_none_or(|cell| cell.is_figure() || *cell == Cell::None);
        if table.rows.iter().all(figures) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_padding((0, if index == last { 0 } else { GAP }));
    }
    out
}

/// The text with control characters made visible: what came from outside must not steer a terminal.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            let _ = write!(shown, "{}", letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Screen = Screen { terminal: false, width: None };

    fn written(tables: &[Table], output: Output, screen: Screen) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes, tables, output, screen).expect("write");
        String::from_utf8(bytes).expect("text")
    }

    /// What stands on a terminal of that width, without the bold.
    fn on_a_terminal(table: &Table, width: u16) -> String {
        let screen = Screen { terminal: true, width: Some(width) };
        let text = written(std::slice::from_ref(table), Output::Table, screen);
        let text = text.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn balances() -> Table {
        let mut table = Table::new("balances", &["account", "asset", "balance", "entries", "held"]);
        table.row([
            "users:42:wallet".into(),
            "CNY".into(),
            Cell::amount("1200.00"),
            12_u64.into(),
            false.into(),
        ]);
        table.row(["users:7:wallet".into(), "CNY".into(), Cell::amount("-0.05"), 3_u64.into(), true.into()]);
        table.row(["商户:微信:费用".into(), "CNY".into(), Cell::None, 0_u64.into()]);
        table
    }

    fn odd() -> Table {
        let mut table = Table::new("rejected", &["position", "detail, as text"]);
        table.row(["0@17".into(), "a \"quoted\",\r\nbroken line".into()]);
        table.row(["1@2".into(), " esc \u{1b}[31mred\u{202e} ".into()]);
        table
    }

    #[test]
    fn a_table_for_people_aligns_figures_right_and_counts_wide_letters_as_two() {
        let want = "\
account          asset  balance  entries  held
users:42:wallet  CNY    1200.00       12  false
users:7:wallet   CNY      -0.05        3  true
商户:微信:费用   CNY                   0
";
        assert_eq!(written(&[balances()], Output::Table, OFF), want);
    }

    #[test]
    fn what_came_from_outside_cannot_steer_the_terminal() {
        let want = "\
position  detail, as text
0@17      a \"quoted\",\\u{d}\\u{a}broken line
1@2        esc \\u{1b}[31mred\\u{202e}
";
        assert_eq!(written(&[odd()], Output::Table, OFF), want);
    }

    #[test]
    fn a_terminal_has_bold_headers_and_lines_that_fit() {
        let screen = Screen { terminal: true, width: Some(30) };
        let text = written(&[balances()], Output::Table, screen);
        for line in text.lines() {
            let plain = line.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
            assert!(plain.chars().count() <= 30, "{plain:?}");
        }
        assert!(text.lines().count() > 4, "{text}");
    }

    #[test]
    fn columns_that_say_nothing_are_for_programs_only() {
        let mut table = Table::new("bills", &["file", "reason", "lines", "detail"]);
        table.row(["a.csv".into(), "".into(), 3_u64.into()]);
        table.row(["b.csv".into(), Cell::None, 4_u64.into(), "".into()]);
        let tables = [table];
        assert_eq!(written(&tables, Output::Table, OFF), "file   lines\na.csv      3\nb.csv      4\n");
        assert_eq!(written(&tables, Output::Csv, OFF).lines().next(), Some("file,reason,lines,detail"));
        assert!(written(&tables, Output::Json, OFF).contains(r#""reason":"","lines":3,"detail":null"#));
    }

    #[test]
    fn what_is_for_programs_is_not_for_people() {
        let (mut sum, mut each) = (Table::new("sum", &["n"]), Table::new("each", &["n"]).for_programs());
        sum.row([3_u64.into()]);
        each.row([1_u64.into()]);
        let tables = [each, sum];
        assert_eq!(written(&tables, Output::Table, OFF), "n\n3\n");
        assert_eq!(written(&tables, Output::Csv, OFF), "table,n\r\neach,1\r\nsum,3\r\n");
        assert!(written(&tables, Output::Json, OFF).contains(r#""each": ["#));
    }

    #[test]
    fn a_single_row_wider_than_the_terminal_stands_upright() {
        let mut table = Table::new("event", &["id", "reason", "occurred_at", "entries"]);
        table.row(["order-327".into(), Cell::None, "2026-11-11T14:32:15Z".into(), 12_u64.into()]);
        assert_eq!(
            on_a_terminal(&table, 40),
            "id         occurred_at           entries\norder-327  2026-11-11T14:32:15Z       12\n"
        );
        let upright = "\
field        value
id           order-327
occurred_at  2026-11-11T14:32:15Z
entries      12
";
        assert_eq!(on_a_terminal(&table, 39), upright);
    }

    #[test]
    fn of_rows_wider_than_the_terminal_the_widest_column_is_broken_or_they_stand_upright() {
        let mut table = Table::new("rejected", &["position", "detail"]);
        table.row(["0@17".into(), "users:17801:wallet would stand at -99.00 CNY".into()]);
        table.row(["0@18".into(), "too late".into()]);
        let broken = "\
position  detail
0@17      users:17801:wallet
          would stand at
          -99.00 CNY
0@18      too late
";
        assert_eq!(on_a_terminal(&table, 30), broken);
        let upright = "\
field     value
position  0@17
detail    users:17801:wallet
          would stand at
          -99.00 CNY

position  0@18
detail    too late
";
        assert_eq!(on_a_terminal(&table, 29), upright);
    }

    #[test]
    fn json_is_an_array_with_an_object_a_line() {
        let want = r#"[
  {"account":"users:42:wallet","asset":"CNY","balance":"1200.00","entries":12,"held":false},
  {"account":"users:7:wallet","asset":"CNY","balance":"-0.05","entries":3,"held":true},
  {"account":"商户:微信:费用","asset":"CNY","balance":null,"entries":0,"held":null}
]
"#;
        assert_eq!(written(&[balances()], Output::Json, OFF), want);
        let odd = written(&[odd()], Output::Json, OFF);
        let read: serde_json::Value = serde_json::from_str(&odd).expect("json");
        assert_eq!(read[1]["detail, as text"], " esc \u{1b}[31mred\u{202e} ");
    }

    #[test]
    fn csv_is_rfc_4180() {
        let want = "\
account,asset,balance,entries,held\r
users:42:wallet,CNY,1200.00,12,false\r
users:7:wallet,CNY,-0.05,3,true\r
商户:微信:费用,CNY,,0,\r
";
        assert_eq!(written(&[balances()], Output::Csv, OFF), want);
        let want = "position,\"detail, as text\"\r\n0@17,\"a \"\"quoted\"\",\r\nbroken line\"\r\n1@2,\" esc \u{1b}[31mred\u{202e} \"\r\n";
        assert_eq!(written(&[odd()], Output::Csv, OFF), want);
    }

    #[test]
    fn several_tables_are_told_apart() {
        let (mut one, two) = (Table::new("event", &["id"]), Table::new("entries", &["seq"]));
        one.row(["e-1".into()]);
        let tables = [one, two];
        assert_eq!(written(&tables, Output::Table, OFF), "event\nid\ne-1\n\nentries\n(none)\n");
        let json = "{\n  \"event\": [\n    {\"id\":\"e-1\"}\n  ],\n  \"entries\": []\n}\n";
        assert_eq!(written(&tables, Output::Json, OFF), json);
        assert_eq!(written(&tables, Output::Csv, OFF), "table,id,seq\r\nevent,e-1,\r\n");
        assert_eq!(written(&[], Output::Json, OFF), "{}\n");
    }

    /// A column that two tables have stands there once.
    #[test]
    fn several_tables_are_one_in_csv() {
        let (mut one, mut two) =
            (Table::new("cases", &["kind", "count"]), Table::new("bills", &["file", "kind"]));
        one.row(["matched".into(), 1_u64.into()]);
        two.row(["a, b".into(), "ALL".into()]);
        let want = "table,kind,count,file\r\ncases,matched,1,\r\nbills,ALL,,\"a, b\"\r\n";
        assert_eq!(written(&[one, two], Output::Csv, OFF), want);
        assert_eq!(written(&[], Output::Csv, OFF), "");
    }

    #[test]
    fn a_table_passes_through_json_unchanged() {
        let text = serde_json::to_string(&balances()).expect("json");
        assert_eq!(serde_json::from_str::<Table>(&text).expect("table"), balances());
    }
}
