//! Connections: so many at a time, and none that stands still for long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use stream::mutex::lock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// A connection on which nothing moves for so long is closed: longer than an answer may be waited for
/// (`timeout_seconds`), and than the time between two signs of life of a stream.
const IDLE: Duration = Duration::from_secs(75);

/// How long after a connection that could not be taken the next one is tried.
const PAUSE: Duration = Duration::from_millis(200);
/// A failure that was not repeated for so long is over: it is tried again after every [`PAUSE`] while somebody waits.
const OVER: Duration = Duration::from_secs(1);

/// Whether connections can be taken: what hindered it last, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Accepting(Arc<Mutex<Option<(Instant, String)>>>);

impl Accepting {
    fn last(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        lock(&self.0)
    }

    fn failed(&self, error: &io::Error) {
        let before = self.last().replace((Instant::now(), error.to_string()));
        if before.is_none() {
            tracing::error!(%error, "no connection can be taken");
        }
    }

    /// What hinders it now.
    pub(super) fn hindered(&self) -> Option<String> {
        let last = self.last().clone()?;
        (last.0.elapsed() < OVER).then_some(last.1)
    }
}

/// A listener that takes no more connections than there are permits; others wait to be taken.
pub(super) struct Limited {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    accepting: Accepting,
}

impl Limited {
    pub(super) const fn new(listener: TcpListener, permits: Arc<Semaphore>, accepting: Accepting) -> Self {
        Self { listener, permits, accepting }
    }
}

impl axum::serve::Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // It is never closed; without a permit a connection would only be one too many.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    self.accepting.last().take();
                    return (Connection { stream, idle: Box::pin(sleep(IDLE)), _permit: permit }, address);
                }
                // Whoever came has gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.accepting.failed(&error);
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its permit.
pub(super) struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// What came of reading or writing; an error where nothing has moved for too long.
    fn moved<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return done;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.moved(cx, done)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.moved(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
