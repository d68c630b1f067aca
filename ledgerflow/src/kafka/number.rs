//! A process's number among those that run the same processor. Its workers' transactional ids follow from it, so it is
//! kept: a process that comes back under its number fences what it left, and takes its partitions at once.

use crate::config::Settings;
use crate::runtime::Role;
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::path::Path;
use stream::log::Log;

/// File that holds it.
const FILE: &str = "member";

/// The number that the configuration says, or that the folder keeps, or the lowest that no member has. Two processes may
/// take the same: the later one fences the earlier one, which then takes another.
pub(super) fn take(settings: &Settings, role: Role, log: &dyn Log, dir: &Path) -> anyhow::Result<u32> {
    if let Some(member) = settings.kafka.member {
        return Ok(member.0.get());
    }
    let path = dir.join(FILE);
    let kept = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
    if let Some(kept) = kept.filter(|kept| (1..=settings.kafka.members).contains(kept)) {
        return Ok(kept);
    }
    let mut members = Vec::new();
    for group in role.groups() {
        // A broker that has just started does not know its groups yet.
        let found = super::reach(u32::MAX, || log.members(group));
        members.extend(found.with_context(|| format!("members of {group}"))?);
    }
    let free = free(&members, settings.kafka.members);
    let Some(free) = free else {
        bail!(
            "kafka.members: {} processes run {} already, and there may be no more; raise it for all of them",
            settings.kafka.members,
            role.name()
        );
    };
    std::fs::write(&path, format!("{free}\n")).with_context(|| path.display().to_string())?;
    Ok(free)
}

/// Forgets a number that was chosen here.
pub(super) fn give_up(dir: &Path) {
    // Where there is none the configuration says it.
    let _ = std::fs::remove_file(dir.join(FILE));
}

/// The lowest number that no member has; members are called `number.worker`.
fn free(members: &[String], of: u32) -> Option<u32> {
    let number = |name: &String| name.split('.').next()?.parse::<u32>().ok();
    let taken: BTreeSet<u32> = members.iter().filter_map(number).collect();
    (1..=of).find(|number| !taken.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_taken() {
        let members = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(free(&members(&[]), 8), Some(1));
        assert_eq!(free(&members(&["1.1", "1.2", "3.1"]), 8), Some(2));
        assert_eq!(free(&members(&["2.1", "1.1"]), 2), None);
        assert_eq!(free(&members(&["somebody", "10.1"]), 8), Some(1));
    }
}
