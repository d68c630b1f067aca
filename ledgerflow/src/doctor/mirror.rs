//! Redis, where balances are mirrored: whether it answers, what it is, what it holds of these books.

use super::{Finding, Verdict, bounded};
use crate::config::Settings;
use crate::mirror::{Away, Server, Watermark};
use std::collections::BTreeMap;

/// The first release whose `HSET` takes several fields.
const OLDEST: u32 = 4;

/// What was asked of it.
struct Asked {
    info: BTreeMap<String, String>,
    /// Of each slot, as Redis has it.
    marks: Vec<Option<Watermark>>,
    replication_id: String,
}

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    if settings.redis.url.is_empty() {
        return Vec::new();
    }
    let (url, prefix) = (settings.redis.url.clone(), settings.redis.prefix.clone());
    let slots = settings.partitions.internal;
    let ask = move || -> Result<Asked, Away> {
        let mut server = Server::connect(&url, &prefix)?;
        let marks = (0..slots).map(|slot| server.watermark(slot)).collect::<Result<_, Away>>()?;
        Ok(Asked { info: server.info()?, marks, replication_id: server.replication_id().to_owned() })
    };
    match bounded(ask) {
        Some(Ok(asked)) => judged(&asked),
        Some(Err(why)) => vec![away(&settings.redis.url.to_string(), &why.to_string())],
        None => vec![away(&settings.redis.url.to_string(), "no answer in time")],
    }
}

/// `url` as it may be shown.
fn away(url: &str, why: &str) -> Finding {
    let remedy =
        "start Redis there, or LEDGERFLOW_REDIS__URL=redis://:PASSWORD@HOST:PORT; redis.url: '' = no mirror";
    Finding::new("redis", Verdict::Wrong, format!("{url}: {why}"), remedy)
}

fn judged(asked: &Asked) -> Vec<Finding> {
    let told = |name: &str| asked.info.get(name).map(String::as_str);
    vec![
        of_server(told("redis_version"), told("role")),
        of_policy(told("maxmemory_policy"), told("maxmemory")),
        of_marks(&asked.marks, &asked.replication_id),
    ]
}

fn of_server(version: Option<&str>, role: Option<&str>) -> Finding {
    let finding = |verdict, found: String, remedy: &str| Finding::new("redis", verdict, found, remedy);
    let Some(version) = version else {
        return finding(
            Verdict::Unknown,
            "it answers, but tells no version".to_owned(),
            "redis-cli INFO server",
        );
    };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match (major, role) {
        (Some(major), _) if major < OLDEST => {
            finding(Verdict::Wrong, format!("version {version}"), "Redis 4 or later")
        }
        (_, Some("slave")) => {
            let found = format!("version {version}, a replica: it takes no balances");
            finding(Verdict::Wrong, found, "redis.url: that of the primary")
        }
        _ => finding(Verdict::Good, format!("it answers, version {version}"), ""),
    }
}

fn of_policy(policy: Option<&str>, maxmemory: Option<&str>) -> Finding {
    const SUBJECT: &str = "redis maxmemory-policy";
    const REMEDY: &str =
        "redis-cli CONFIG SET maxmemory-policy noeviction, and maxmemory-policy noeviction in redis.conf";
    match policy {
        None => Finding::new(SUBJECT, Verdict::Unknown, "not told", REMEDY),
        Some("noeviction") => Finding::good(SUBJECT, "noeviction"),
        Some(policy) => {
            let bound = match maxmemory {
                None | Some("0") => "nothing is evicted as long as maxmemory is 0".to_owned(),
                Some(bytes) => {
                    format!("past {bytes} bytes it may evict balances and how far they are mirrored")
                }
            };
            Finding::new(SUBJECT, Verdict::Warning, format!("{policy}: {bound}"), REMEDY)
        }
    }
}

fn of_marks(marks: &[Option<Watermark>], replication_id: &str) -> Finding {
    const SUBJECT: &str = "redis mirror";
    let known = marks.iter().flatten().count();
    let ours = marks.iter().flatten().filter(|mark| mark.replication_id == replication_id).count();
    let rebuilding = marks.iter().flatten().filter(|mark| mark.rebuild_until.is_some()).count();
    let of = marks.len();
    if ours < known {
        let found = format!(
            "{} of {of} slots are of a server before this one: they are rebuilt, until then balances may be missing",
            known - ours
        );
        return Finding::new(SUBJECT, Verdict::Warning, found, "ledgerflow status shows how far it is");
    }
    let more = if rebuilding > 0 { format!(", {rebuilding} of them being rebuilt") } else { String::new() };
    Finding::good(SUBJECT, format!("{known} of {of} slots are mirrored{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Good, Unknown, Warning, Wrong};

    #[test]
    fn a_server_is_new_enough_and_takes_writes() {
        for (version, role, verdict) in [
            (Some("7.0.15"), Some("master"), Good),
            (Some("4.0.0"), None, Good),
            (Some("3.2.12"), Some("master"), Wrong),
            (Some("7.0.15"), Some("slave"), Wrong),
            (None, Some("master"), Unknown),
        ] {
            assert_eq!(of_server(version, role).verdict, verdict, "{version:?} {role:?}");
        }
    }

    #[test]
    fn nothing_of_the_mirror_is_evicted() {
        for (policy, maxmemory, verdict, found) in [
            (Some("noeviction"), Some("1000"), Good, "noeviction"),
            (
                Some("allkeys-lru"),
                Some("0"),
                Warning,
                "allkeys-lru: nothing is evicted as long as maxmemory is 0",
            ),
            (
                Some("allkeys-lru"),
                Some("1000"),
                Warning,
                "allkeys-lru: past 1000 bytes it may evict balances and how far they are mirrored",
            ),
            (None, None, Unknown, "not told"),
        ] {
            let of = of_policy(policy, maxmemory);
            assert_eq!((of.verdict, of.found.as_str()), (verdict, found));
        }
    }

    #[test]
    fn slots_of_another_server_are_rebuilt() {
        let mark = |id: &str, rebuild_until| {
            Some(Watermark { replication_id: id.to_owned(), rebuild_until, ..Watermark::default() })
        };
        for (marks, verdict, found) in [
            (vec![None, None], Good, "0 of 2 slots are mirrored"),
            (
                vec![mark("a", None), mark("a", Some(9))],
                Good,
                "2 of 2 slots are mirrored, 1 of them being rebuilt",
            ),
            (vec![mark("a", None), mark("b", None)], Warning, "1 of 2 slots are of a server before this one"),
        ] {
            let of = of_marks(&marks, "a");
            assert_eq!(of.verdict, verdict, "{of:?}");
            assert!(of.found.starts_with(found), "{of:?}");
        }
    }
}
