//! A Redis server of one's own, on loopback and a free port, keeping nothing: a process in a directory of the build, gone
//! when the thread that started it is, or a container.

use crate::backend::{Backend, Server, target};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long it may take until it answers.
const START_TRIES: u32 = 200;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// A server, running or not.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    server: Box<dyn Server>,
}

/// The program. Debian's `redis-server` is a name of `redis-check-rdb`, which comes without a service.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found =
        |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    found("redis-server").or_else(|| found("redis-check-rdb"))
}

impl Redis {
    /// Starts one with further options, such as `["--requirepass", "secret"]`. `None` = the machine has none; that is said.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start(options: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let server: Box<dyn Server> = match Backend::chosen() {
            Backend::Process => Box::new(Process::new(port, options)?),
            #[cfg(feature = "containers")]
            Backend::Docker => Box::new(crate::containers::Container::redis(port, &options)),
        };
        let mut redis = Self { port, server };
        redis.run();
        Some(redis)
    }

    /// Runs it, empty.
    ///
    /// # Panics
    /// It does not come up.
    pub fn run(&mut self) {
        self.server.run();
        for _ in 0..START_TRIES {
            if self.answers() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server: {}", self.server.output());
    }

    /// Whether it takes commands. That its port is open does not say so: an engine opens it before.
    fn answers(&self) -> bool {
        let mut first = [0];
        let asked = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut to| {
            to.set_read_timeout(Some(ANSWER))?;
            to.write_all(b"PING\r\n")?;
            to.read_exact(&mut first)
        });
        // `+PONG`, or an error where it wants a password.
        asked.is_ok() && b"+-".contains(&first[0])
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.server.signal(name);
    }

    /// Kills it; [`Self::run`] starts it again, empty.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Its port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// A process of this machine.
#[derive(Debug)]
struct Process {
    dir: PathBuf,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Process {
    /// Its directory with the program; `None` = the machine has none, that is said.
    fn new(port: u16, options: Vec<String>) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(program) = program() else {
            println!("skipped: no redis-server on this machine");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = target().join("redis").join(format!("{}-{number}", std::process::id()));
        let _of_an_earlier_process = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        symlink(program, dir.join("redis-server")).unwrap();
        Some(Self { dir, port, options, child: None })
    }
}

impl Server for Process {
    fn run(&mut self) {
        let out = std::fs::File::create(self.dir.join("out")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(self.dir.join("redis-server"));
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        command.arg(self.port.to_string()).arg("--dir").arg(&self.dir).args(&self.options);
        self.child = Some(command.stdin(Stdio::null()).stdout(out).spawn().unwrap());
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            let pid = child.id().to_string();
            let _gone_already = Command::new("kill").arg(format!("-{name}")).arg(pid).status();
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _status = child.wait();
        }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.dir.join("out")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}
