//! The embedded log: who has its directory, and what it was made as.

use super::{Finding, Verdict, bounded, quoted};
use crate::config::Settings;
use crate::query::{Answer, Ending, Question};
use crate::{restore, socket};
use schemas::topics::PartitionCounts;
use std::path::Path;
use stream::embedded;

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let dir = settings.log.dir.as_path();
    let made = embedded::made_as(dir).map_err(|why| why.to_string());
    let owner = embedded::owner(dir).map_err(|why| why.to_string());
    let asked = dir.to_owned();
    let health = match &owner {
        Ok(Some(_)) => bounded(move || socket::ask::<_, Answer>(&asked, &Question::Health).ok().flatten()),
        _ => None,
    };
    vec![of_format(dir, made, settings.partition_counts()), of_owner(&owner, health.flatten().as_ref())]
}

fn of_format(dir: &Path, made: Result<Option<PartitionCounts>, String>, wanted: PartitionCounts) -> Finding {
    const SUBJECT: &str = "log";
    let made = match made {
        Ok(None) => return Finding::good(SUBJECT, "there is none yet, `ledgerflow run` makes it"),
        Err(why) => {
            let remedy = format!(
                "put back what is missing, or ledgerflow restore BACKUP --dir ANOTHER; {} stays as it is",
                quoted(&dir.display().to_string())
            );
            return Finding::new(SUBJECT, Verdict::Wrong, why, remedy);
        }
        Ok(Some(made)) => made,
    };
    match embedded::check_counts(&dir.join("meta"), made, wanted) {
        Ok(()) if restore::is_backup(dir) => {
            let found = "this is a backup: commands that read answer on it, a start would write into it";
            let remedy = format!("ledgerflow restore {} --dir ANOTHER", quoted(&dir.display().to_string()));
            Finding::new(SUBJECT, Verdict::Warning, found, remedy)
        }
        Ok(()) => {
            let counts = format!("partitions.events {}, partitions.internal {}", made.events, made.internal);
            Finding::good(SUBJECT, format!("of this format, {counts}"))
        }
        Err(why) => {
            let remedy = format!("partitions: {{events: {}, internal: {}}}", made.events, made.internal);
            Finding::new(SUBJECT, Verdict::Wrong, why.to_string(), remedy)
        }
    }
}

/// `health` = what the owner says of itself; `None` = it says nothing.
fn of_owner(owner: &Result<Option<String>, String>, health: Option<&Answer>) -> Finding {
    const SUBJECT: &str = "process";
    let pid = match owner {
        Ok(None) => return Finding::good(SUBJECT, "nothing runs on the directory"),
        Err(why) => {
            return Finding::new(SUBJECT, Verdict::Unknown, why, "run it as the user of the pipeline");
        }
        Ok(Some(pid)) => pid,
    };
    match health {
        Some(answer) if answer.ending == Ending::Done => {
            Finding::good(SUBJECT, format!("{pid} runs and is ready"))
        }
        Some(answer) => {
            let why = answer.message.as_deref().unwrap_or("it is not ready");
            Finding::new(SUBJECT, Verdict::Warning, format!("{pid} runs: {why}"), "ledgerflow status")
        }
        None => {
            let found =
                format!("{pid} has the directory and does not answer: it starts, hangs, or is a command");
            Finding::new(SUBJECT, Verdict::Warning, found, format!("ps -fp {pid}; if it hangs, kill {pid}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Good, Unknown, Warning, Wrong};

    const COUNTS: PartitionCounts = PartitionCounts { events: 4, internal: 8 };

    #[test]
    fn a_log_is_of_this_format_and_of_these_partitions() {
        let dir = tempfile::tempdir().expect("dir");
        let other = PartitionCounts { events: 2, internal: 8 };
        for (made, verdict, found, remedy) in [
            (Ok(None), Good, "there is none yet", ""),
            (Ok(Some(COUNTS)), Good, "of this format, partitions.events 4", ""),
            (
                Ok(Some(other)),
                Wrong,
                "partitions.events: it was made with 2, now it is 4",
                "partitions: {events: 2, internal: 8}",
            ),
            (Err("meta: format 9 is not known".to_owned()), Wrong, "format 9", "ledgerflow restore BACKUP"),
        ] {
            let of = of_format(dir.path(), made, COUNTS);
            assert_eq!(of.verdict, verdict, "{of:?}");
            assert!(of.found.contains(found) && of.remedy.contains(remedy), "{of:?}");
        }
        std::fs::write(dir.path().join("backup.manifest"), "").expect("manifest");
        let of = of_format(dir.path(), Ok(Some(COUNTS)), COUNTS);
        assert!(of.verdict == Warning && of.remedy.starts_with("ledgerflow restore "), "{of:?}");
    }

    #[test]
    fn a_directory_has_one_process_that_answers() {
        let (ready, not) =
            (Answer::says(Ending::Done, "ready"), Answer::says(Ending::Wrong, "posting restores"));
        let held = Ok(Some("77".to_owned()));
        for (owner, health, verdict, found) in [
            (Ok(None), None, Good, "nothing runs on the directory"),
            (held.clone(), Some(&ready), Good, "77 runs and is ready"),
            (held.clone(), Some(&not), Warning, "77 runs: posting restores"),
            (
                held,
                None,
                Warning,
                "77 has the directory and does not answer: it starts, hangs, or is a command",
            ),
            (Err("lock: permission denied".to_owned()), None, Unknown, "lock: permission denied"),
        ] {
            let of = of_owner(&owner, health);
            assert_eq!((of.verdict, of.found.as_str()), (verdict, found));
            assert_eq!(of.remedy.is_empty(), verdict == Good, "{of:?}");
        }
    }
}
