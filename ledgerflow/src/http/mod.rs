//! The HTTP API: events in; balances, entries, days, breaks and the rest out. It asks the same questions as the commands do.
//!
//! Phases: bind ([`Bound`], before the books are opened) -> serve on a thread of its own -> stop (what is under way is
//! answered, streams end) within a bound.
//! Bounds: connections, bodies read and requests worked on at a time, open streams (`http.connections_max`,
//! `http.requests_max`, `http.streams_max`); a request that has waited for a second is told to come again; the body's size,
//! and how long it may take to come; how long an answer may take. What reads or waits runs on threads of the runtime's blocking pool, never on its own.

mod access;
mod connection;
mod events;
mod extract;
mod metrics;
pub mod openapi;
mod problem;
mod read;
mod reversal;
mod stream;

pub use access::{Access, Right, make as make_token};
pub use metrics::{bind as bind_metrics, start as serve_metrics};
pub use problem::Kind as ProblemKind;

use crate::cli::commands::WrongUse;
use crate::config::{HttpSettings, Listen};
use crate::query::books::Books;
use crate::query::{self, Answer, Ending, Question};
use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use connection::{Accepting, Limited};
use problem::{Kind, Problem};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Where the books are got from for a request, or why there are none now.
pub type Source = Arc<dyn Fn() -> Result<Arc<Books>, String> + Send + Sync>;

/// Why there are no books any more.
pub const STOPPING: &str = "the process is stopping";

/// What every request works with.
#[derive(Clone)]
struct State {
    books: Source,
    /// Data directory.
    dir: Arc<Path>,
    /// How many places there are, of [`Self::requests`] and of [`Self::streams`].
    places: [u32; 2],
    access: Arc<Access>,
    bodies: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Longest body that is taken.
    body_bytes: usize,
    /// Whether connections can be taken.
    accepting: Accepting,
    stop: watch::Receiver<bool>,
}

impl State {
    /// Works with the books on a thread that may wait.
    async fn with_books<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Books) -> R + Send + 'static,
    ) -> Result<R, Problem> {
        let busy = || Problem::new(Kind::Busy, "try again in a moment");
        let turn = tokio::time::timeout(TURN_WAIT, Arc::clone(&self.requests).acquire_owned()).await;
        let permit = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
        let books = Arc::clone(&self.books);
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            books().map(|books| work(&books))
        });
        // Whoever works on it goes on and keeps its place until it is done.
        let asked = tokio::time::timeout(ANSWER_WAIT, asked).await;
        let late = |_| Problem::new(Kind::Unavailable, "there was no answer in time");
        let answer =
            asked.map_err(late)?.map_err(|error| Problem::new(Kind::Unavailable, error.to_string()))?;
        answer.map_err(|why| Problem::new(Kind::Unavailable, why))
    }

    /// Asks on a thread that may wait.
    async fn ask(&self, question: Question) -> Result<Answer, Problem> {
        answered(self.with_books(move |books| query::answer(books, &question)).await?)
    }
}

/// An answer that is one, or the problem that it tells of.
fn answered(answer: Answer) -> Result<Answer, Problem> {
    let why = || answer.message.clone().unwrap_or_default();
    match answer.ending {
        Ending::Failed => Err(Problem::new(Kind::Unavailable, why())),
        Ending::NotFound => Err(Problem::new(Kind::NotFound, why())),
        Ending::Done | Ending::Wrong => Ok(answer),
    }
}

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(1);

/// An address that is taken, and who may use it.
pub struct Bound {
    listener: TcpListener,
    access: Access,
}

impl Bound {
    /// Takes the address; `None` where none is configured. Whoever connects waits until there is a server.
    ///
    /// # Errors
    /// The address cannot be bound, or the file of tokens is wrong.
    pub fn new(settings: &HttpSettings) -> anyhow::Result<Option<Self>> {
        Self::at("http.listen", settings.listen, settings)
    }

    /// The same for the address that another setting names.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn at(name: &str, listen: Listen, settings: &HttpSettings) -> anyhow::Result<Option<Self>> {
        let Some(address) = listen.0 else { return Ok(None) };
        let access = settings.tokens.as_deref().map(Access::read).transpose();
        let access = access.map_err(|why| WrongUse(format!("http.tokens: {why:#}")))?;
        let listener = TcpListener::bind(address).with_context(|| format!("{name}: {address}"))?;
        listener.set_nonblocking(true).with_context(|| name.to_owned())?;
        Ok(Some(Self { listener, access: access.unwrap_or_default() }))
    }
}

/// A server that listens until it is dropped.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

/// How long requests that are under way may take when a server stops beside a pipeline, which needs the rest of the time.
const STOP_WAIT: Duration = Duration::from_secs(2);

impl Server {
    /// Serves the API; `dir` is the data directory.
    ///
    /// # Errors
    /// No thread.
    pub fn start(bound: Bound, settings: &HttpSettings, books: Source, dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(bound, settings, (books, dir), STOP_WAIT)
    }

    /// The same where requests that are under way when it stops may take so long.
    ///
    /// # Errors
    /// No thread.
    pub fn start_with(
        bound: Bound,
        settings: &HttpSettings,
        of: (Source, &Path),
        stop_wait: Duration,
    ) -> anyhow::Result<Self> {
        Self::serving("HTTP", bound, settings, of, (router, stop_wait))
    }

    /// Serves what `router` makes of the state; `what` names it in the log.
    fn serving(
        what: &'static str,
        bound: Bound,
        settings: &HttpSettings,
        (books, dir): (Source, &Path),
        (router, stop_wait): (impl FnOnce(State) -> Router, Duration),
    ) -> anyhow::Result<Self> {
        let Bound { listener, access } = bound;
        let address = listener.local_addr().context(what)?;
        let (stop, stopped) = watch::channel(false);
        let permits = |count: u32| Arc::new(Semaphore::new(usize::try_from(count).unwrap_or(1)));
        let state = State {
            books,
            dir: Arc::from(dir),
            places: [settings.requests_max, settings.streams_max],
            access: Arc::new(access),
            bodies: permits(settings.requests_max),
            requests: permits(settings.requests_max),
            streams: permits(settings.streams_max),
            body_bytes: usize::try_from(settings.body_mib).unwrap_or(1) << 20,
            accepting: Accepting::default(),
            stop: stopped,
        };
        let app = router(state.clone());
        let accepting = state.accepting.clone();
        let threads = usize::try_from(settings.requests_max + settings.streams_max).unwrap_or(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(threads)
            .thread_name("http")
            .enable_all()
            .build()
            .context("http runtime")?;
        let connections = permits(settings.connections_max);
        let serve = move || {
            let until_stopped = async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                serve(Limited::new(listener, connections, accepting), app, state.stop, stop_wait).await
            };
            if let Err(error) = runtime.block_on(until_stopped) {
                tracing::error!(%error, what, "the server ended");
            }
            runtime.shutdown_timeout(STOP_WAIT);
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(serve).context("thread")?;
        tracing::info!(%address, "{what}");
        Ok(Self { stop, thread: Some(thread), address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody listens any more only when the server has ended by itself.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HTTP server's thread panicked");
        }
    }
}

async fn serve(
    listener: Limited,
    app: Router,
    mut stop: watch::Receiver<bool>,
    stop_wait: Duration,
) -> std::io::Result<()> {
    let mut told = stop.clone();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
        // A sender that is gone means the same.
        let _ = told.wait_for(|stop| *stop).await;
    });
    let late = async move {
        let _ = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(stop_wait).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = late => Ok(()),
    }
}

fn router(state: State) -> Router {
    let guarded = |right: Right| {
        let state = state.clone();
        from_fn(move |request, next| access::guard(right, state.clone(), request, next))
    };
    let send = Router::new()
        .route("/v1/events", post(events::post))
        .route_layer(guarded(Right::Send))
        .layer(DefaultBodyLimit::max(state.body_bytes));
    // It tells what is in the job besides.
    let reverse = Router::new()
        .route("/v1/jobs/{job}/reversal", post(reversal::post))
        .route_layer(guarded(Right::Read))
        .route_layer(guarded(Right::Send));
    let read = Router::new()
        .route("/v1/accounts", get(read::accounts))
        .route("/v1/accounts/{account}", get(read::account))
        .route("/v1/accounts/{account}/balances", get(read::balances))
        .route("/v1/accounts/{account}/entries", get(read::entries))
        .route("/v1/balances/changes", get(stream::changes))
        .route("/v1/events/{id}", get(read::trace))
        .route("/v1/trial-balance", get(read::trial_balance))
        .route("/v1/days", get(read::days))
        .route("/v1/holds", get(read::holds))
        .route("/v1/jobs/{job}", get(read::job))
        .route("/v1/adjustments", get(read::adjustments))
        .route("/v1/suspense", get(read::suspense))
        .route("/v1/parked", get(read::parked))
        .route("/v1/breaks", get(read::breaks))
        .route("/v1/breaks/summary", get(read::break_summary))
        .route("/v1/rejected", get(read::rejected))
        .route("/v1/rejected/{position}", get(read::rejected_one))
        .route("/v1/channels", get(read::channels))
        .route("/v1/status", get(read::status))
        .route("/metrics", get(metrics::api))
        .route_layer(guarded(Right::Read));
    let open = Router::new()
        .route("/livez", get(read::livez))
        .route("/readyz", get(read::readyz))
        .route("/openapi.json", get(openapi::get));
    open.merge(send)
        .merge(reverse)
        .merge(read)
        .fallback(|| async { Problem::new(Kind::NotFound, "no such address; /openapi.json lists them") })
        .method_not_allowed_fallback(|| async { Problem::new(Kind::MethodNotAllowed, "see /openapi.json") })
        .with_state(state)
}
