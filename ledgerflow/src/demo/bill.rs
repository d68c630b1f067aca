//! The providers' bills of the day, made from what the providers did and not from what we booked; and the errors planted
//! in them.
//!
//! What is planted are errors of content, not a damaged file: control totals are right. A kind of break that a format
//! has no column for is not planted ([`Provider::cannot`]).

use super::provider::Provider;
use super::traffic::Movement;
use crate::generate::bill::Line;
use crate::generate::{alipay, wechat};
use anyhow::{Context, ensure};
use schemas::dates::Day;
use schemas::recon_json::CaseKind;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use stream::sim::Prng;

/// A case: its order number and its refund number, which is empty for a payment.
pub(super) type CaseName = (String, String);
/// Which cases, per provider and kind, sorted; one that occurs twice stands twice. Pairs that agree are among them.
pub(super) type Cases = BTreeMap<(Provider, CaseKind), Vec<CaseName>>;

/// A bill that has been written.
pub(super) struct Bill {
    /// Whose it is.
    pub(super) provider: Provider,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Lines.
    pub(super) lines: u64,
}

/// Writes the bills of the movements into `dir/bills`, a folder for each provider, with errors at places drawn from the
/// seed; the bills, and the cases that must be found in them.
pub(super) fn write_all(
    movements: &[Movement],
    seed: u64,
    day: Day,
    dir: &Path,
) -> anyhow::Result<(Vec<Bill>, Cases)> {
    let (mut bills, mut cases) = (Vec::new(), Cases::new());
    let mut prng = Prng::new(seed ^ 0xb111);
    for provider in Provider::ALL {
        let mut lines = planted(provider, movements, &mut prng, &mut cases)?;
        lines.sort_by(|a, b| (a.time_us, &a.order).cmp(&(b.time_us, &b.order)));
        let folder = folder(dir, provider);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(provider.file_name(day));
        let count = lines.len() as u64;
        write(provider, day, lines, &path).with_context(|| format!("writing {}", path.display()))?;
        bills.push(Bill { provider, path, lines: count });
    }
    cases.values_mut().for_each(|cases| cases.sort());
    Ok((bills, cases))
}

fn write(provider: Provider, day: Day, lines: Vec<Line>, path: &Path) -> anyhow::Result<()> {
    match provider {
        Provider::Wechat => {
            let mut file = BufWriter::new(File::create(path)?);
            wechat::write(&mut file, provider.account(), lines)?;
            file.flush()?;
        }
        Provider::Alipay => std::fs::write(path, alipay::write(provider.account(), day, &lines)?)?,
    }
    Ok(())
}

/// Where a provider's bills lie.
pub(super) fn folder(dir: &Path, provider: Provider) -> PathBuf {
    dir.join("bills").join(provider.name())
}

/// The lines of a provider's bill with its errors; adds to `cases` what they must become.
fn planted(
    provider: Provider,
    movements: &[Movement],
    prng: &mut Prng,
    cases: &mut Cases,
) -> anyhow::Result<Vec<Line>> {
    let own: Vec<&Movement> = movements.iter().filter(|movement| movement.provider == provider).collect();
    let errors = places(provider, &own, prng)?;
    let mut note = |kind, of: &Line| {
        cases.entry((provider, kind)).or_default().push((of.order.clone(), of.refund.clone()));
    };
    let mut lines = Vec::with_capacity(own.len() + 64);
    for (at, movement) in own.into_iter().enumerate() {
        let mut line = movement.line();
        let Some(kind) = errors.get(&at).copied() else {
            note(CaseKind::Matched, &line);
            lines.push(line);
            continue;
        };
        let extra = plant(kind, &mut line);
        note(kind, extra.as_ref().unwrap_or(&line));
        if extra.is_some() {
            // A duplicated or an extra line leaves its neighbour's own pair as it is.
            note(CaseKind::Matched, &line);
        }
        lines.extend(extra);
        if kind != CaseKind::OursOnly {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Which error stands where.
fn places(
    provider: Provider,
    movements: &[&Movement],
    prng: &mut Prng,
) -> anyhow::Result<BTreeMap<usize, CaseKind>> {
    let mut left = shuffled((0..movements.len()).collect(), prng);
    let mut errors = BTreeMap::new();
    for (kind, count) in provider.errors() {
        for _ in 0..*count {
            let fit =
                left.iter().rposition(|at| movements.get(*at).is_some_and(|movement| fits(*kind, movement)));
            ensure!(
                fit.is_some(),
                "the day has too few orders for the planted errors: ask for more --events"
            );
            errors.insert(left.swap_remove(fit.unwrap_or_default()), *kind);
        }
    }
    Ok(errors)
}

/// Only a refund has a status that may differ, and a fee is taken for a payment.
fn fits(kind: CaseKind, movement: &Movement) -> bool {
    match kind {
        CaseKind::Status => movement.is_refund(),
        CaseKind::Fee => !movement.is_refund(),
        _ => true,
    }
}

/// Changes a line, or gives another one to stand beside it.
fn plant(kind: CaseKind, line: &mut Line) -> Option<Line> {
    line.differ(kind);
    match kind {
        CaseKind::Duplicate => Some(line.clone()),
        CaseKind::TheirsOnly => Some(Line { order: format!("X{}", line.order), ..line.clone() }),
        _ => None,
    }
}

fn shuffled(mut all: Vec<usize>, prng: &mut Prng) -> Vec<usize> {
    for last in (1..all.len()).rev() {
        all.swap(last, prng.index(last + 1));
    }
    all
}
