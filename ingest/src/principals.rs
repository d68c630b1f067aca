//! Whose event a record is: what the configuration says of its lane, never what the event says of itself.

use schemas::principal;
use std::fmt;
use std::str::FromStr;
use stream::log::{Header, header};

/// Who may write to a lane of events, and so what is believed of whom they come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Writers {
    /// Anyone: nobody is known to stand behind its events.
    #[default]
    Anyone,
    /// Doors of this program and nobody else: each event's principal is the one that its door says.
    Doors,
    /// One principal, in whose name everybody writes there.
    One(String),
}

impl Writers {
    /// The principal of a record; empty = nobody is known.
    #[must_use]
    pub fn principal<'r>(&'r self, headers: &'r [Header]) -> &'r str {
        match self {
            Self::Anyone => "",
            Self::One(name) => name,
            Self::Doors => stated(headers).unwrap_or_default(),
        }
    }

    /// Whether a door may write there in the name of that principal; empty = nobody is known.
    #[must_use]
    pub fn admits(&self, principal: &str) -> bool {
        match self {
            Self::Anyone | Self::Doors => true,
            Self::One(name) => name == principal,
        }
    }

    /// Whether a header is a door's own, and no part of the event.
    #[must_use]
    pub fn is_door_header(&self, name: &[u8]) -> bool {
        *self == Self::Doors && name == principal::HEADER.as_bytes()
    }
}

/// What a door has said. It says it once; two statements are none.
fn stated(headers: &[Header]) -> Option<&str> {
    let mut named = headers.iter().filter(|header| header.name == principal::HEADER.as_bytes());
    if named.next().is_none() || named.next().is_some() {
        return None;
    }
    let name = std::str::from_utf8(header(headers, principal::HEADER)?).ok()?;
    principal::check(name).is_ok().then_some(name)
}

impl FromStr for Writers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "anyone" => Ok(Self::Anyone),
            "doors" => Ok(Self::Doors),
            name => match principal::check(name) {
                Ok(()) => Ok(Self::One(name.to_owned())),
                Err(why) => Err(why.to_string()),
            },
        }
    }
}

impl fmt::Display for Writers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anyone => "anyone",
            Self::Doors => "doors",
            Self::One(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&'static str]) -> Vec<Header> {
        let mut headers = vec![Header::text("traceparent", "00-1")];
        headers.extend(names.iter().map(|name| Header::text(principal::HEADER, *name)));
        headers
    }

    #[test]
    fn a_header_counts_where_only_doors_write() {
        let one = Writers::One("orders".to_owned());
        for (writers, stated, principal) in [
            (&Writers::Anyone, &["anna"][..], ""),
            (&Writers::Doors, &["anna"][..], "anna"),
            (&Writers::Doors, &[][..], ""),
            (&Writers::Doors, &["anna", "bert"][..], ""),
            (&Writers::Doors, &["anna", "anna"][..], ""),
            (&Writers::Doors, &["-"][..], ""),
            (&Writers::Doors, &["a\nb"][..], ""),
            (&one, &["anna"][..], "orders"),
            (&one, &[][..], "orders"),
        ] {
            assert_eq!(writers.principal(&headers(stated)), principal, "{writers:?} {stated:?}");
        }
    }

    #[test]
    fn nobody_sends_in_the_name_of_a_lane() {
        let one = Writers::One("orders".to_owned());
        for (writers, principal, admitted) in [
            (&Writers::Anyone, "anna", true),
            (&Writers::Doors, "anna", true),
            (&Writers::Doors, "", true),
            (&one, "orders", true),
            (&one, "anna", false),
            (&one, "", false),
        ] {
            assert_eq!(writers.admits(principal), admitted, "{writers:?} {principal:?}");
        }
    }

    #[test]
    fn words_and_names() {
        for (text, writers) in [
            ("anyone", Ok(Writers::Anyone)),
            ("doors", Ok(Writers::Doors)),
            ("orders", Ok(Writers::One("orders".into()))),
            ("-", Err("\"-\" stands for nobody".to_owned())),
        ] {
            assert_eq!(text.parse::<Writers>(), writers);
            assert!(writers.is_err() || writers.unwrap().to_string() == text);
        }
    }
}
