//! A company in a temporary folder and the real program working for it.
//!
//! Every process is killed when its handle goes, and nothing is waited for without a bound.

use ledgerflow::query::{Answer, Ending, Question};
use ledgerflow::socket;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use stream::clock::monotonic_us;

/// Longest wait for anything: far beyond what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// Configuration with which all that happens now and then happens within seconds.
const RESTLESS: &str = "
log: {segment_mib: 1, sync_interval_ms: 5}
partitions: {events: 2, internal: 3}
checkpoint: {seconds: 1}
ingest: {tick_ms: 100}
retention: {interval_seconds: 1, free_percent: 1}
accounts: accounts.yaml
";

/// As [`RESTLESS`], and what hangs is left behind after two seconds.
pub const HASTY: &str = "
log: {segment_mib: 1, sync_interval_ms: 5}
partitions: {events: 2, internal: 3}
shutdown_seconds: 2
accounts: accounts.yaml
";

/// Waits until `done` gives something.
pub fn within<T>(patience: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let until = monotonic_us() + i64::try_from(patience.as_micros()).unwrap();
    loop {
        if let Some(found) = done() {
            return Some(found);
        }
        if monotonic_us() >= until {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }
}

/// A folder with a configuration; the books are in `books` below it.
pub struct Company {
    folder: tempfile::TempDir,
    numbers: AtomicU32,
    /// What works for it: this build's program, unless another one has taken its place.
    program: PathBuf,
}

impl Company {
    pub fn new() -> Self {
        Self::with(RESTLESS)
    }

    pub fn with(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let chart = ledgerflow::runtime::DEFAULT_CHART.replace(
            r#""users:*:wallet", normal: credit, limit: { overdraft: "0" }"#,
            r#""users:*:wallet", normal: credit, limit: { overdraft: "1000" }"#,
        );
        assert_ne!(chart, ledgerflow::runtime::DEFAULT_CHART);
        let program = PathBuf::from(env!("CARGO_BIN_EXE_ledgerflow"));
        let company = Self { folder, numbers: AtomicU32::new(0), program };
        company.write("accounts.yaml", chart);
        company.write("ledgerflow.yaml", configuration);
        company
    }

    /// From now on another program works for it, such as an older version.
    pub fn works_with(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// From the next start on business time begins there.
    pub fn set_clock(&self, at: &str) {
        self.write("ledgerflow.yaml", format!("{RESTLESS}business_clock: {{mode: offset, at: '{at}'}}\n"));
    }

    /// Imports a bill; `false` = nobody said that it is in.
    pub fn bill(&self, running: &Running, file: &Path) -> bool {
        let file = file.display().to_string();
        let question = Question::Bill { file, source: Some("wechat".to_owned()), day: None };
        running.ask(&question).is_some_and(|answer| answer.ending == Ending::Done)
    }

    /// Cases by kind, as `breaks --summary` counts them.
    pub fn cases(&self) -> std::collections::BTreeMap<String, u64> {
        let said = self.cli(&["breaks", "--summary", "-o", "json"]).ends(0).json();
        let rows = said["cases"].as_array().unwrap().iter();
        rows.map(|row| (row["kind"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap())).collect()
    }

    /// Waits until no partition has anything on its way to another, twice in a row.
    #[track_caller]
    pub fn comes_to_rest(&self, running: &Running) {
        let even = || {
            let rows = self.cli(&["channels", "-o", "json"]).ends(0).json();
            rows.as_array().unwrap().iter().all(|row| row["state"] == "even")
        };
        let rests = within(PATIENCE, || (even() && even()).then_some(()));
        assert!(rests.is_some(), "{}", running.err());
    }

    /// Waits until every business day but the newest is closed.
    #[track_caller]
    pub fn closes_its_days(&self, running: &Running) {
        let closed = within(PATIENCE, || {
            let mut days = self.days();
            let (_, newest) = days.pop()?;
            (newest == "OPEN" && days.iter().all(|(_, state)| state == "CLOSED")).then_some(())
        });
        assert!(closed.is_some(), "{:?}: {}", self.days(), running.err());
    }

    /// Business days and their states, in order.
    pub fn days(&self) -> Vec<(String, String)> {
        let said = self.cli(&["days", "-o", "json"]).ends(0).json();
        let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
        said.as_array().unwrap().iter().map(|row| (text(row, "day"), text(row, "state"))).collect()
    }

    /// Makes tokens for these names and rights, writes them to `tokens.yaml`: the tokens in order, and the file.
    pub fn tokens(&self, of: &[(&str, &str)]) -> (Vec<String>, PathBuf) {
        let (mut tokens, mut file) = (Vec::new(), "tokens:\n".to_owned());
        for (name, may) in of {
            let said = self.cli(&["token", name, "--may", may, "-o", "json"]).ends(0).json();
            tokens.push(said[0]["token"].as_str().unwrap().to_owned());
            file += &format!("{}\n", said[0]["line"].as_str().unwrap());
        }
        (tokens, self.write("tokens.yaml", file))
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn books(&self) -> PathBuf {
        self.path("books")
    }

    /// Starts one processor's process on Kafka, in the folder `place`; `fault` as in `LEDGERFLOW_FAULT`.
    pub fn process(&self, place: &str, role: &str, fault: Option<&str>) -> Running {
        let fault = fault.map(|fault| ("LEDGERFLOW_FAULT", fault));
        self.process_with(place, role, fault.as_slice())
    }

    /// The same with variables of its own.
    pub fn process_with(&self, place: &str, role: &str, variables: &[(&str, &str)]) -> Running {
        let place = self.path(place);
        let mut command = self.program(&place);
        command.envs(variables.iter().copied());
        let mut running = self.start(command.args(["run", "--unsupervised", role]));
        running.dir = place.join(role);
        running
    }

    fn program(&self, dir: &Path) -> Command {
        let mut command = self.plain();
        command.arg("--dir").arg(dir);
        command
    }

    fn plain(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        // What steers the tests, or the machine's own books, must not steer the program.
        for (name, _) in std::env::vars_os() {
            if ["LEDGERFLOW_", "OTEL_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
    }

    fn start(&self, command: &mut Command) -> Running {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("{number}.out")), self.path(&format!("{number}.err")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = command.spawn().unwrap();
        Running { child, dir: self.books(), out, err }
    }

    /// Starts a command on the books and does not wait for its end.
    pub fn begin(&self, arguments: &[&str]) -> Running {
        self.start(self.program(&self.books()).args(arguments))
    }

    /// Runs a command on the books.
    pub fn cli(&self, arguments: &[&str]) -> Said {
        self.cli_on(&self.books(), arguments)
    }

    /// Runs a command on another data directory.
    pub fn cli_on(&self, dir: &Path, arguments: &[&str]) -> Said {
        self.other(self.program(dir).args(arguments))
    }

    /// Runs a command on another data directory, with variables of its own.
    pub fn cli_with(&self, dir: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
        self.other(self.program(dir).envs(variables.iter().copied()).args(arguments))
    }

    /// Runs any command to its end.
    pub fn other(&self, command: &mut Command) -> Said {
        let mut running = self.start(command);
        let status =
            running.wait(PATIENCE).unwrap_or_else(|| panic!("{command:?} does not end: {}", running.err()));
        Said { code: status.code(), out: running.out(), err: running.err() }
    }

    /// Starts the pipeline, without waiting for it; `fault` as in `LEDGERFLOW_FAULT`.
    pub fn launch(&self, fault: Option<&str>) -> Running {
        let mut command = self.program(&self.books());
        if let Some(fault) = fault {
            command.env("LEDGERFLOW_FAULT", fault);
        }
        self.start(command.arg("run"))
    }

    /// Starts the program as it stands in a page: no directory is named.
    pub fn launch_as(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut command = self.plain();
        self.start(command.args(arguments).envs(variables.iter().copied()))
    }

    /// Starts the pipeline and waits until it is ready.
    pub fn run(&self) -> Running {
        self.ready(self.launch(None))
    }

    /// The same under limits of the shell, such as `-S -f 2048`.
    pub fn run_limited(&self, limits: &str) -> Running {
        let program = self.program(&self.books());
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit {limits}; exec \"$0\" \"$@\" run")]);
        command.arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
        command.current_dir(self.folder.path());
        for (name, _) in program.get_envs() {
            command.env_remove(name);
        }
        self.ready(self.start(&mut command))
    }

    /// Waits until a process is ready.
    pub fn ready(&self, mut running: Running) -> Running {
        let ready = within(PATIENCE, || {
            let ended = running.ended();
            assert!(ended.is_none(), "{ended:?}: {}", running.err());
            let answer = running.ask(&Question::Health);
            answer.is_some_and(|answer| answer.ending == Ending::Done).then_some(())
        });
        assert!(ready.is_some(), "never ready: {}", running.err());
        running
    }

    /// Balances of every account of a kind, by name.
    pub fn balances(&self, dir: &Path, prefix: &str) -> std::collections::BTreeMap<String, String> {
        let said = self.cli_on(dir, &["balance", prefix, "-o", "json"]).ends(0);
        let rows = said.json();
        let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(|row| (text(row, "account"), text(row, "balance"))).collect()
    }

    /// The books at rest are whole: the auditor finds nothing wrong or open, every state is what its log gives,
    /// and debits equal credits.
    #[track_caller]
    pub fn is_whole(&self) {
        let audit = self.cli(&["audit", "--quiesced", "-o", "json"]);
        let told = |line: &str| {
            !line.contains(r#""wrong":0,"open":0,"uncovered":0"#) && !line.contains("removed_meanwhile")
        };
        let failed: Vec<&str> = audit.out.lines().filter(|line| told(line)).collect();
        assert_eq!(audit.code, Some(0), "{}\n{}", failed.join("\n"), audit.err);
        self.cli(&["verify", "--deep"]).ends(0);
        let rows = self.cli(&["trial-balance", "-o", "json"]).ends(0).json();
        for row in rows.as_array().unwrap() {
            assert_eq!(row["difference"].as_str().unwrap().trim_matches(['0', '.']), "", "{row}");
        }
    }
}

/// Whoever answers questions.
pub trait Asks {
    /// `None` = nobody answers.
    fn ask(&self, question: &Question) -> Option<Answer>;
}

impl Asks for Running {
    fn ask(&self, question: &Question) -> Option<Answer> {
        Running::ask(self, question)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// Nobody listens: nobody was asked.
    Nobody,
    /// It was asked, and may have done it.
    Broken,
}

/// Whoever asks the process that runs on a folder, whichever that is.
#[derive(Debug, Clone)]
pub struct Caller(pub PathBuf);

impl Caller {
    pub fn ask(&self, question: &Question) -> Result<Answer, Unanswered> {
        let mut stream = UnixStream::connect(self.0.join(socket::NAME)).map_err(|_| Unanswered::Nobody)?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        let asked = writeln!(stream, "{}", serde_json::to_string(question).unwrap());
        asked.and_then(|()| BufReader::new(stream).read_line(&mut answer)).map_err(|_| Unanswered::Broken)?;
        serde_json::from_str(&answer).map_err(|_| Unanswered::Broken)
    }
}

/// A process of the program.
pub struct Running {
    child: Child,
    dir: PathBuf,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.out).unwrap()).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap()).into_owned()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        within(patience, || self.ended())
    }

    /// `None` = nobody answers: it does not run yet, or any more, or died over the question.
    pub fn ask(&self, question: &Question) -> Option<Answer> {
        Caller(self.dir.clone()).ask(question).ok()
    }

    /// Asks and waits for no answer: the stream keeps the question alive. `None` = nobody listens yet.
    pub fn begin(&self, question: &Question) -> Option<UnixStream> {
        let mut stream = UnixStream::connect(self.dir.join(socket::NAME)).ok()?;
        writeln!(stream, "{}", serde_json::to_string(question).unwrap()).ok()?;
        Some(stream)
    }

    /// Waits until the armed thread has come to its point and hangs there.
    #[track_caller]
    pub fn hangs(&self) {
        let hangs = within(PATIENCE, || self.err().contains("this thread hangs").then_some(()));
        assert!(hangs.is_some(), "{}", self.err());
    }

    /// SIGTERM; it drains and ends with 0.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait(Duration::from_secs(30));
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", self.err());
        self.err()
    }

    pub fn allow_files_of_any_size(&self) {
        let any = rustix::process::Rlimit { current: None, maximum: None };
        let of = Some(rustix::process::Pid::from_child(&self.child));
        rustix::process::prlimit(of, rustix::process::Resource::Fsize, any).unwrap();
    }

    /// Whether it was stopped by a signal, as /proc says.
    pub fn stands_still(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The name stands in brackets and may hold anything.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
