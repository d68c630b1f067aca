//! What long runs have shown: `make soak` has each suite add a line to `docs/proof-runs.jsonl`, and the table of
//! `docs/proof.md` is their sum.
//!
//! A line is an object: `suite`, `commit`, `date` (of the run, UTC), `result` (`passed` or `failed`), and `counts`, whose
//! names say what was counted. Lines are added, never changed; the file begins anew with a release.

use ledgerflow::cli::screen::grouped;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// The file that lines are added to; nothing is written where it is not set.
const RUNS: &str = "PROOF_RUNS";

/// A run of a suite. When it goes, it is written down, as failed while a panic is on its way.
#[derive(Debug)]
pub struct Proof {
    suite: &'static str,
    counts: BTreeMap<String, u64>,
}

impl Proof {
    /// A run of a suite that has counted nothing yet.
    ///
    /// # Panics
    /// No promise names it.
    #[must_use]
    pub fn of(suite: &'static str) -> Self {
        assert!(
            PROMISES.iter().any(|promise| promise.suites.contains(&suite)),
            "no promise has suite {suite}"
        );
        Self { suite, counts: BTreeMap::new() }
    }

    /// Counts so many more.
    pub fn count(&mut self, what: &str, times: u64) {
        *self.counts.entry(what.to_owned()).or_default() += times;
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os(RUNS) else { return };
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let result = if std::thread::panicking() { "failed" } else { "passed" };
        let line = json!({ "suite": self.suite, "commit": text("PROOF_COMMIT"), "date": text("PROOF_DATE"),
            "result": result, "counts": self.counts });
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        // One write: several suites may add theirs at once.
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            eprintln!("{}: {error}", path.display());
        }
    }
}

/// Something that the project promises.
#[derive(Debug)]
pub struct Promise {
    /// In words.
    pub what: &'static str,
    /// What it is held to before a release.
    pub goal: &'static str,
    /// Suites that show it.
    pub suites: &'static [&'static str],
}

/// All of them, in the order of the table.
pub const PROMISES: &[Promise] = &[
    Promise {
        what: "The books are right whatever the log does and whoever dies where: simulation of the whole pipeline",
        goal: "100,000 seeds of at least 300 windows",
        suites: &["simulation"],
    },
    Promise {
        what: "What is lost between partitions is sent again",
        goal: "10,000 seeds",
        suites: &["simulation, credits lost"],
    },
    Promise {
        what: "A record that nobody can read stops its slot alone, and nothing is missing once it is taken out",
        goal: "5,000 seeds",
        suites: &["simulation, poison"],
    },
    Promise {
        what: "What the log loses, against its promise, stops whoever needs it and nobody else; nothing is missing once it is put back",
        goal: "5,000 seeds",
        suites: &["simulation, losses"],
    },
    Promise {
        what: "`kill -9` of the process at any point, embedded log; a day closes in each round",
        goal: "20 kills at each point of each processor",
        suites: &["kills, embedded"],
    },
    Promise {
        what: "`kill -9` of processors at any point, on Kafka",
        goal: "200 kills, 50 and more of each processor",
        suites: &["kills, Kafka"],
    },
    Promise {
        what: "Members that hang in a window and wake up late write nothing, on Kafka",
        goal: "50 that hang for longer than their session",
        suites: &["hangs, Kafka"],
    },
    Promise {
        what: "A process that stands still at any point, beyond its session and its transaction, writes nothing when it goes on",
        goal: "50 of them",
        suites: &["stops, Kafka"],
    },
    Promise {
        what: "An end request that comes late changes nothing",
        goal: "1,000 of them",
        suites: &["late ends, Kafka"],
    },
    Promise {
        what: "The broker is away: it hangs, dies, loses connections in the middle of commits",
        goal: "50 times",
        suites: &["broker away"],
    },
    Promise {
        what: "A broker of three dies, leader or coordinator, and comes back: nothing is lost, posting goes on",
        goal: "50 of them, posting back within 15 s",
        suites: &["brokers lost"],
    },
    Promise {
        what: "Clients see nothing aborted, lost, duplicate, torn or fractured while processes die, embedded log",
        goal: "20 runs of 120 s",
        suites: &["histories, embedded"],
    },
    Promise {
        what: "Clients and read-committed consumers see nothing of that kind while processes and the broker die or stand still, on Kafka",
        goal: "20 runs of 120 s",
        suites: &["histories, Kafka"],
    },
    Promise {
        what: "An older version and this one in turn over one log, embedded: each goes on with what the other one left",
        goal: "10 turns, 2 of them ended by `kill -9`, from the version before",
        suites: &["upgrade"],
    },
    Promise {
        what: "Whatever bytes come in, `decide` refuses or books, and its laws hold",
        goal: "10 minutes a target and change",
        suites: &["fuzz"],
    },
    Promise {
        what: "A change of the ledger's core does not go unnoticed by its tests",
        goal: "none that is not explained",
        suites: &["mutants"],
    },
];

/// The table, from the lines of the runs.
///
/// # Errors
/// A line that is none, with its number.
pub fn table(lines: &str) -> Result<String, String> {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let run: Value = serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
        let text = |name: &str| run[name].as_str().map(str::to_owned);
        let (Some(suite), Some(commit), Some(date)) = (text("suite"), text("commit"), text("date")) else {
            return Err(format!("line {number}: suite, commit and date are texts"));
        };
        sums.entry(suite).or_default().add(&run, &format!("{date}, {commit}"));
    }
    let mut table =
        "| promise | held to | done | failed runs | last run |\n|---|---|---|---|---|\n".to_owned();
    for promise in PROMISES {
        let of = promise.suites.iter().filter_map(|suite| sums.get(*suite));
        let mut all = Sum::default();
        of.for_each(|sum| all.join(sum));
        let (what, goal) = (promise.what, promise.goal);
        let line = match all.runs {
            0 => format!("| {what} | {goal} | not run yet | | |\n"),
            _ => format!(
                "| {what} | {goal} | {} | {} of {} | {} |\n",
                all.done(),
                all.failed,
                all.runs,
                all.last
            ),
        };
        table.push_str(&line);
    }
    Ok(table)
}

/// The table of defects that were planted, from what `.ci/defects` found; `rule` is the number of one, or says in words what
/// else the defect goes against.
///
/// # Errors
/// Text that is no such list.
pub fn defects(found: &str) -> Result<String, String> {
    let found: Vec<Value> = serde_json::from_str(found).map_err(|error| error.to_string())?;
    let mut table = "| defect | rule | seen by |\n|---|---|---|\n".to_owned();
    for row in &found {
        let (Some(name), Some(rule), Some(by)) =
            (row["name"].as_str(), word(&row["rule"]), row["seen_by"].as_array())
        else {
            return Err(format!("{row}: expected name, rule and seen_by"));
        };
        let by: Vec<&str> = by.iter().filter_map(Value::as_str).collect();
        let by = if by.is_empty() { "**nothing**".to_owned() } else { by.join("; ").replace('_', "\\_") };
        table.push_str(&format!("| {name} | {rule} | {by} |\n"));
    }
    Ok(table)
}

fn word(rule: &Value) -> Option<String> {
    rule.as_u64().map(|number| number.to_string()).or_else(|| Some(rule.as_str()?.to_owned()))
}

#[derive(Debug, Default)]
struct Sum {
    counts: BTreeMap<String, u64>,
    runs: u64,
    failed: u64,
    last: String,
}

impl Sum {
    fn add(&mut self, run: &Value, at: &str) {
        let none = Map::new();
        for (what, times) in run["counts"].as_object().unwrap_or(&none) {
            *self.counts.entry(what.clone()).or_default() += times.as_u64().unwrap_or(0);
        }
        self.runs += 1;
        self.failed += u64::from(run["result"] != "passed");
        at.clone_into(&mut self.last);
    }

    fn join(&mut self, other: &Self) {
        other.counts.iter().for_each(|(what, times)| *self.counts.entry(what.clone()).or_default() += times);
        self.runs += other.runs;
        self.failed += other.failed;
        self.last.clone_from(&other.last);
    }

    fn done(&self) -> String {
        let told: Vec<String> =
            self.counts.iter().map(|(what, times)| format!("{} {what}", grouped(*times))).collect();
        told.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_summed_by_promise() {
        let run = |suite: &str, result: &str, seeds: u64| {
            json!({ "suite": suite, "commit": "c1", "date": "2026-01-02", "result": result, "counts": { "seeds": seeds } })
                .to_string()
        };
        let lines =
            [run("simulation", "passed", 1_999), run("simulation", "failed", 1), run("fuzz", "passed", 7)];
        let table = table(&lines.join("\n")).unwrap();
        let row = |begins: &str| table.lines().find(|line| line.starts_with(begins)).unwrap().to_owned();
        assert!(row("| The books").ends_with("| 2,000 seeds | 1 of 2 | 2026-01-02, c1 |"), "{table}");
        assert!(row("| Whatever bytes").ends_with("| 7 seeds | 0 of 1 | 2026-01-02, c1 |"));
        assert!(row("| What is lost").ends_with("| not run yet | | |"));
        assert_eq!(table.lines().count(), 2 + PROMISES.len());
        assert_eq!(super::table("{}").unwrap_err(), "line 1: suite, commit and date are texts");
        assert!(super::table("\n{").unwrap_err().starts_with("line 1: "));
        let found =
            r#"[{"name":"a","rule":3,"seen_by":["x_y","z"]},{"name":"b","rule":"auditor","seen_by":[]}]"#;
        assert!(defects(found).unwrap().ends_with("| a | 3 | x\\_y; z |\n| b | auditor | **nothing** |\n"));
        assert!(defects("[{}]").unwrap_err().contains("expected name"));
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
