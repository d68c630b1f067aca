//! The way to the collector: one HTTP request a connection, with a bound in time and in bytes.

use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one request may take, from the connection to the last byte of the answer.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// Bytes of the longest answer that is read; one is a few dozen bytes long.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Port of a URL that names none.
const PORT: u16 = 80;

/// Sends over plain HTTP.
#[derive(Debug)]
pub(super) struct Client;

type Answer = Result<Response<Bytes>, HttpError>;

impl HttpClient for Client {
    // What `async_trait` would write.
    fn send_bytes<'a, 'f>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'f>>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move { timeout(REQUEST_WAIT, send(request)).await? })
    }
}

async fn send(mut request: Request<Bytes>) -> Answer {
    let uri = request.uri();
    let authority = uri.authority().ok_or("the URL names no host")?;
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(PORT))).await?;
    let host = authority.as_str().parse()?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    *request.uri_mut() = path;
    request.headers_mut().insert("host", host);
    request.headers_mut().insert("connection", "close".parse()?);
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let answering = tokio::spawn(connection);
    let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    answering.abort();
    Ok(Response::from_parts(head, body))
}
