//! A Redis server of one's own: in a directory of the build, on loopback and a free port, keeping nothing, gone when the
//! thread that started it is.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long it may take until it answers.
const START_TRIES: u32 = 200;

/// A server, running or not.
#[derive(Debug)]
pub struct Redis {
    dir: PathBuf,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
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
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Some(program) = program() else {
            println!("skipped: no redis-server on this machine");
            return None;
        };
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target"),
            PathBuf::from,
        );
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = target.join("redis").join(format!("{}-{number}", std::process::id()));
        let _of_an_earlier_process = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        symlink(program, dir.join("redis-server")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut redis = Self { dir, port, options, child: None };
        redis.run();
        Some(redis)
    }

    /// Runs it, empty.
    ///
    /// # Panics
    /// It does not come up.
    pub fn run(&mut self) {
        let out = std::fs::File::create(self.dir.join("out")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(self.dir.join("redis-server"));
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        command.arg(self.port.to_string()).arg("--dir").arg(&self.dir).args(&self.options);
        self.child = Some(command.stdin(Stdio::null()).stdout(out).spawn().unwrap());
        for _ in 0..START_TRIES {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server: {}", std::fs::read_to_string(self.dir.join("out")).unwrap_or_default());
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            let pid = child.id().to_string();
            let _gone_already = Command::new("kill").arg(format!("-{name}")).arg(pid).status();
        }
    }

    /// Kills it; [`Self::run`] starts it again, empty.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            let _status = child.wait();
        }
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

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}
