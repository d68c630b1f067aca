//! Names of cases in suspense: `p02-p00-17` is what item 17 of partition 0 left in suspense of partition 2.

use crate::wire::SuspenseCase;

/// Longest name, bytes: two partitions of ten digits and a sequence of twenty.
pub const BYTES_MAX: usize = 44;

/// Its name.
#[must_use]
pub fn name(case: &SuspenseCase) -> String {
    let SuspenseCase { partition, from, sequence } = case;
    format!("p{partition:02}-p{from:02}-{sequence}")
}

/// The case of that name; each has one name.
#[must_use]
pub fn parse(text: &str) -> Option<SuspenseCase> {
    let mut parts = text.strip_prefix('p')?.splitn(2, "-p");
    let (partition, rest) = (parts.next()?, parts.next()?);
    let (from, sequence) = rest.split_once('-')?;
    let case = SuspenseCase {
        partition: partition.parse().ok()?,
        from: from.parse().ok()?,
        sequence: sequence.parse().ok()?,
    };
    (name(&case) == text).then_some(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_one_name() {
        for (partition, from, sequence) in [(2, 0, 17), (255, 100, 1), (u32::MAX, u32::MAX, u64::MAX)] {
            let case = SuspenseCase { partition, from, sequence };
            let named = name(&case);
            assert!(named.len() <= BYTES_MAX, "{named}");
            assert_eq!(parse(&named), Some(case), "{named}");
        }
        for text in ["", "p02", "p02-p00", "p02-p00-", "p2-p00-17", "p02-p00-017", "p02-p00-+7", "x02-p00-17"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in ["p02-p00--1", "p02-p00-17-1", "p02--p00-17", "p02-p00-18446744073709551616", "p0२-p00-1"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
