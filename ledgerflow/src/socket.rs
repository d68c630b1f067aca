//! The Unix socket of a running pipeline: `DIR/ledgerflow.sock`, mode 0600, one JSON line each way per connection.
//!
//! Bounds: a request line of [`REQUEST_BYTES_MAX`], [`CONNECTIONS_MAX`] connections at a time, [`IO_WAIT`] for the
//! peer to send its line or take the answer. A peer that misbehaves loses its connection and nothing else.

use anyhow::{Context, bail};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Name of the socket in the data directory.
pub const NAME: &str = "ledgerflow.sock";
/// Longest request.
pub const REQUEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most connections at a time; more are closed at once.
pub const CONNECTIONS_MAX: usize = 16;
/// How long a peer may take for its line, or to take the answer.
pub const IO_WAIT: Duration = Duration::from_secs(10);
/// How long a client waits for an answer (an audit reads everything).
pub const ANSWER_WAIT: Duration = Duration::from_secs(600);

/// A listening socket; dropping it removes the file.
pub struct Server {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Listens in `dir` and answers with `handler` (a request line, and the number of the user who asks, to an answer
    /// line). The caller holds the directory's lock, so a socket file that is there belongs to a dead process.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(
        dir: &Path,
        handler: impl Fn(&str, u32) -> String + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let path = dir.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let handler = Arc::new(handler);
        let thread = std::thread::Builder::new()
            .name("socket".into())
            .spawn(move || accept(&listener, &handler, &stopped))?;
        Ok(Self { path, stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the accept call; if that fails the process is ending anyway.
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn accept<H>(listener: &UnixListener, handler: &Arc<H>, stop: &AtomicBool)
where
    H: Fn(&str, u32) -> String + Send + Sync + 'static,
{
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let connection = Connection::new(&open);
        if open.load(Ordering::Acquire) > CONNECTIONS_MAX {
            continue;
        }
        let handler = Arc::clone(handler);
        // Where there is no thread to be had, the connection is closed.
        let _ = std::thread::Builder::new().name("query".into()).spawn(move || {
            let _counted = connection;
            if let Err(error) = answer(&stream, handler.as_ref()) {
                tracing::debug!(%error, "query connection");
            }
        });
    }
}

/// Counts a connection until it is dropped, also by a panic.
struct Connection(Arc<AtomicUsize>);

impl Connection {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn answer(stream: &UnixStream, handler: &impl Fn(&str, u32) -> String) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(IO_WAIT))?;
    stream.set_write_timeout(Some(IO_WAIT))?;
    // The kernel says so, as of the moment of the connection.
    let peer = rustix::net::sockopt::socket_peercred(stream).context("who is at the other end")?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut line)?;
    if !line.ends_with('\n') {
        bail!("request without end");
    }
    let mut out = handler(line.trim_end(), peer.uid.as_raw());
    out.push('\n');
    let mut stream = stream;
    stream.write_all(out.as_bytes())?;
    Ok(())
}

/// Asks the pipeline that runs on `dir`. `None` = none runs there.
///
/// # Errors
/// It runs and does not answer, or its answer cannot be read.
pub fn ask<Q: Serialize, A: DeserializeOwned>(dir: &Path, question: &Q) -> anyhow::Result<Option<A>> {
    let path = dir.join(NAME);
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("connecting to {}", path.display())),
    };
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.set_write_timeout(Some(IO_WAIT))?;
    let mut line = serde_json::to_string(question)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(|error| unread(dir, error))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(|error| unread(dir, error))?;
    if answer.is_empty() {
        bail!("the pipeline on {} closed the connection without an answer", dir.display());
    }
    Ok(Some(serde_json::from_str(&answer).context("reading the answer")?))
}

/// A connection that broke while the question was written, or was reset because nobody has read all of it: the server
/// acts on whole lines only, so that nothing was done.
fn unread(dir: &Path, error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => anyhow::anyhow!(
            "the pipeline on {} is stopping and has not read the question: nothing was sent or done",
            dir.display()
        ),
        _ => anyhow::Error::from(error).context("asking the pipeline"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_gets_its_answer_and_the_file_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ask::<_, String>(dir.path(), &"anyone?").unwrap().is_none());
        let server = Server::start(dir.path(), |line, uid| {
            assert_eq!(uid, rustix::process::geteuid().as_raw());
            line.to_owned()
        })
        .unwrap();
        let mode = std::fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(ask::<_, String>(dir.path(), &"echo").unwrap().as_deref(), Some("echo"));
        // A peer that sends garbage or too much harms nobody.
        let mut bad = UnixStream::connect(dir.path().join(NAME)).unwrap();
        let _ = bad.write_all(&vec![b'x'; 5_000_000]);
        drop(bad);
        assert_eq!(ask::<_, String>(dir.path(), &"still there").unwrap().as_deref(), Some("still there"));
        drop(server);
        assert!(!dir.path().join(NAME).exists());
    }

    #[test]
    fn a_question_that_nobody_reads_is_told_as_not_done() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(NAME)).unwrap();
        let stopping = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            // Closed with the question still in it.
            let mut first = [0];
            (&stream).read_exact(&mut first).unwrap();
        });
        let said = ask::<_, String>(dir.path(), &"x".repeat(100)).unwrap_err().to_string();
        stopping.join().unwrap();
        assert!(said.contains("is stopping") && said.contains("nothing was sent"), "{said}");
    }
}
