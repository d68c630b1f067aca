//! Processes of a measurement on Kafka: started, asked, stopped, killed.

use super::{Stage, TRANSFER_RULES};
use crate::cli::output::Cell;
use crate::generate::BENCH_CHART;
use crate::query::{Answer, Ending, Question};
use crate::runtime::Role;
use crate::socket;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use stream::clock;
use stream::kafka::Options;

/// How long a process may take to be ready.
const READY_US: i64 = 60_000_000;

/// How the processes of a measurement are started.
pub(super) struct Processes<'a> {
    dir: &'a Path,
    config: Option<&'a Path>,
    reached: &'a Options,
}

/// A processor's process; it is killed when its handle goes.
pub(super) struct Process {
    role: Role,
    child: Child,
    folder: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> Processes<'a> {
    /// Writes chart and rules of measurements into `dir`, where the processes' folders will be too.
    pub(super) fn new(dir: &'a Path, config: Option<&'a Path>, reached: &'a Options) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        std::fs::write(dir.join("accounts.yaml"), BENCH_CHART)?;
        std::fs::write(dir.join("rules.yaml"), TRANSFER_RULES)?;
        Ok(Self { dir, config, reached })
    }

    /// Starts a process in the folder `place`; `more` = further settings.
    pub(super) fn start(&self, role: Role, place: &str, more: &[(&str, &str)]) -> anyhow::Result<Process> {
        let program = std::env::current_exe().context("path of this program")?;
        let (dir, counts) = (self.dir.join(place), self.reached.counts);
        let mut command = Command::new(&program);
        if let Some(config) = self.config {
            command.arg("--config").arg(config);
        }
        command
            .args(["run", "--unsupervised", role.name()])
            .env("LEDGERFLOW_LOG__KIND", "kafka")
            .env("LEDGERFLOW_LOG__DIR", &dir)
            .env(
                "LEDGERFLOW_LOG_LEVEL",
                std::env::var("LEDGERFLOW_LOG_LEVEL").unwrap_or_else(|_| "error".into()),
            )
            .env("LEDGERFLOW_KAFKA__BOOTSTRAP", &self.reached.bootstrap)
            .env("LEDGERFLOW_KAFKA__PREFIX", &self.reached.prefix)
            .env("LEDGERFLOW_PARTITIONS__EVENTS", counts.events.to_string())
            .env("LEDGERFLOW_PARTITIONS__INTERNAL", counts.internal.to_string())
            .env("LEDGERFLOW_ACCOUNTS", self.dir.join("accounts.yaml"))
            .env("LEDGERFLOW_RULES", self.dir.join("rules.yaml"))
            .envs(more.iter().copied());
        let child = command.spawn().with_context(|| format!("starting {}", role.name()))?;
        Ok(Process { role, child, folder: dir.join(role.name()) })
    }

    /// Starts one process of each of these and waits until they are ready.
    pub(super) fn ready(&self, roles: &[Role]) -> anyhow::Result<Vec<Process>> {
        let mut all =
            roles.iter().map(|role| self.start(*role, "", &[])).collect::<anyhow::Result<Vec<_>>>()?;
        all.iter_mut().try_for_each(Process::wait_ready)?;
        Ok(all)
    }
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn wait_ready(&mut self) -> anyhow::Result<()> {
        let until_us = clock::monotonic_us() + READY_US;
        while self.ask(&Question::Health)?.is_none_or(|answer| answer.ending != Ending::Done) {
            if clock::monotonic_us() > until_us {
                bail!("{} is not ready", self.role.name());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// `None` = it does not answer yet.
    fn ask(&mut self, question: &Question) -> anyhow::Result<Option<Answer>> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {status}", self.role.name());
        }
        socket::ask(&self.folder, question)
    }

    /// Whether it has worked off what lies before it.
    pub(super) fn has_read_everything(&mut self) -> anyhow::Result<bool> {
        let answer = self.ask(&Question::Work)?;
        let rows = answer.into_iter().flat_map(|answer| answer.tables).flat_map(|table| table.rows);
        let behind: i64 = rows.filter_map(|row| row.last().map(number)).sum();
        Ok(behind == 0)
    }

    /// What its stages have done, CPU time aside.
    pub(super) fn stages(&mut self) -> anyhow::Result<BTreeMap<String, Stage>> {
        let answer = self.ask(&Question::Work)?.context("a process does not answer")?;
        let rows = answer.tables.into_iter().flat_map(|table| table.rows);
        let stage = |row: Vec<Cell>| {
            let mut cells = row.iter();
            let name = cells.next().map(Cell::to_string).unwrap_or_default();
            let mut next = || cells.next().map(number).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            let (windows, windows_aborted, items) = (next(), next(), next());
            let (records_read, records_written) = (next(), next());
            (name, Stage { cpu_ms: 0, windows, windows_aborted, items, records_read, records_written })
        };
        Ok(rows.map(stage).collect())
    }

    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("process id")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended: {status}", self.role.name());
        }
        Ok(())
    }

    /// Kills it by SIGKILL.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

const fn number(cell: &Cell) -> i64 {
    if let Cell::Number(number) = cell { *number } else { 0 }
}
