//! A line of the tail: text that stands there, and `{NAME}` where a total does. `{*}` is any text.

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Total(String),
    Any,
}

/// A line of the tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

impl Pattern {
    /// Reads a pattern.
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while !rest.is_empty() {
            let (text, after) = rest.split_once('{').unwrap_or((rest, ""));
            let opened = text.len() < rest.len();
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            } else if matches!(pieces.last(), Some(Piece::Total(_) | Piece::Any)) {
                return Err(format!("{pattern:?}: expected text between two places"));
            }
            if !opened {
                break;
            }
            let (name, after) =
                after.split_once('}').ok_or_else(|| format!("{pattern:?}: expected }} after {{"))?;
            pieces.push(if name == "*" { Piece::Any } else { Piece::Total(name.to_owned()) });
            rest = after;
        }
        Ok(Self(pieces))
    }

    /// The totals it has places for.
    pub(super) fn totals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Total(name) => Some(name.as_str()),
            Piece::Text(_) | Piece::Any => None,
        })
    }

    /// What stands at the places of a line; `None` when the line is another. A place ends where the text that
    /// follows it stands first.
    pub(crate) fn find<'a>(&'a self, line: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let mut found = Vec::new();
        let mut rest = line;
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            let name = match piece {
                Piece::Text(text) => {
                    rest = rest.strip_prefix(text.as_str())?;
                    continue;
                }
                Piece::Total(name) => Some(name.as_str()),
                Piece::Any => None,
            };
            let until = match pieces.peek() {
                Some(Piece::Text(text)) => rest.find(text.as_str())?,
                _ => rest.len(),
            };
            let (value, after) = rest.split_at_checked(until)?;
            found.extend(name.map(|name| (name, value)));
            rest = after;
        }
        rest.is_empty().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found() {
        let find = |pattern: &str, line: &str| -> Option<Vec<(String, String)>> {
            let pattern = Pattern::parse(pattern).unwrap();
            let found = pattern.find(line)?;
            Some(found.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let both = Some(vec![pair("rows", "6"), pair("paid", "0.06")]);
        assert_eq!(find("合计：{rows}笔，共{paid}元", "合计：6笔，共0.06元"), both);
        assert_eq!(find("合计：{rows}笔，共{paid}元{*}", "合计：6笔，共0.06元。"), both);
        assert_eq!(find("{rows};{paid}", "6;0.06"), both);
        assert_eq!(find("合计：{rows}笔，共{paid}元", "合计：6笔，共0.06元。"), None);
        assert_eq!(find("合计：{rows}笔", "小计：6笔"), None);
        assert_eq!(find("total", "total"), Some(Vec::new()));
        assert_eq!(find("{*} rows: {rows}", "Total of rows: 3"), Some(vec![pair("rows", "3")]));
        for wrong in ["{a}{b}", "{a", "{a}{*}"] {
            Pattern::parse(wrong).unwrap_err();
        }
    }
}
