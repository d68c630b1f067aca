//! `topics acls`: what each part's user needs on the cluster, made of the roles that the part plays there.

use crate::cli::args::{Acls, Part};
use crate::cli::output::Table;
use crate::config::Settings;
use crate::query::Answer;
use clap::ValueEnum;
use ingest::principals::Writers;
use schemas::topics::Topic;
use std::fmt::Write;
use stream::kafka::Options;
use stream::kafka::acls::{Acl, Granting, Role, acls as needed};

/// What a part's user is on the cluster.
fn roles(part: Part, settings: &Settings) -> Vec<Role> {
    let (mirrors, imports) = (!settings.redis.url.is_empty(), !settings.bills.sources.is_empty());
    match part {
        Part::Ingest => vec![Role::Ingest],
        Part::Posting => vec![Role::Posting],
        Part::Settlement if mirrors => vec![Role::Settlement, Role::Mirror],
        Part::Settlement => vec![Role::Settlement],
        Part::Reconcile if imports => vec![Role::Rekey, Role::Join, Role::Importer],
        Part::Reconcile => vec![Role::Rekey, Role::Join],
        Part::Sender => vec![Role::Sender, Role::Importer],
        Part::Reader => vec![Role::Reader],
        Part::Snapshots => vec![Role::Snapshots],
        Part::Archive => vec![Role::Archive],
        Part::Admin => vec![Role::Operator],
        Part::Upstream => vec![Role::Upstream],
    }
}

/// What a part's user needs on a cluster that is reached as `options` say.
#[must_use]
pub fn needed_by(part: Part, settings: &Settings, options: &Options) -> Vec<Acl> {
    let mut all = needed(&roles(part, settings), options);
    if part == Part::Upstream {
        // A lane of doors is what nobody else may write to.
        let lanes = Topic::LANES.into_iter().zip(settings.writers());
        let doors: Vec<String> = lanes
            .filter(|(_, writers)| *writers == Writers::Doors)
            .map(|(topic, _)| options.name(topic.name()))
            .collect();
        all.retain(|acl| !doors.contains(&acl.name));
    }
    all
}

/// `topics acls`: commands for a shell, a comment before those of each part; and the same as a table, one ACL a row.
///
/// # Errors
/// The configuration of the client cannot be read.
pub fn acls(settings: &Settings, options: &Acls) -> anyhow::Result<(String, Answer)> {
    let reached = super::options(settings)?;
    let parts = if options.parts.is_empty() { Part::value_variants() } else { &options.parts };
    let mut table =
        Table::new("acls", &["part", "principal", "operation", "resource_type", "pattern_type", "name"]);
    let mut script = String::new();
    for part in parts {
        let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let given = options.principals.iter().rfind(|(of, _)| of == part).map(|(_, principal)| principal);
        let principal = given.cloned().unwrap_or_else(|| format!("User:{name}"));
        let all = needed_by(*part, settings, &reached);
        let command_config = options.command_config.as_deref();
        let granting = Granting { bootstrap: &reached.bootstrap, command_config, principal: &principal };
        // Writing to a String cannot fail.
        let _ = writeln!(script, "# {name}\n{}", granting.commands(&all).join("\n"));
        for acl in &all {
            table.row([
                name.as_str().into(),
                principal.as_str().into(),
                acl.operation.to_string().into(),
                acl.resource.name().into(),
                if acl.resource.is_prefix() { "prefixed" } else { "literal" }.into(),
                acl.name.as_str().into(),
            ]);
        }
    }
    Ok((script, Answer::tables(vec![table])))
}
