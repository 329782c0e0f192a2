//! How a bucket is spoken to: one connection for each request, TLS where the URL asks for it. Whom to
//! trust is not its business.

use std::{error::Error, pin::Pin, time::Duration};

use http::{HeaderValue, Request, Uri, header::HOST};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::store::trust;

/// How long a request and its whole answer may take.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Exchange))
    }
}

#[derive(Debug)]
struct Exchange;

impl HttpService for Exchange {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            match timeout(ANSWER_WITHIN, exchange(request)).await {
                Ok(answer) => answer,
                Err(late) => Err(HttpError::new(HttpErrorKind::Timeout, late)),
            }
        })
    }
}

fn failed(kind: HttpErrorKind) -> impl Fn(Box<dyn Error + Send + Sync>) -> HttpError {
    move |error| HttpError::new(kind, std::io::Error::other(error))
}

async fn exchange(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let unreachable = failed(HttpErrorKind::Connect);
    let uri = request.uri().clone();
    let host = uri.host().ok_or_else(|| unreachable("the URL has no host".into()))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_secure = uri.scheme_str() != Some("http");
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let stream = TcpStream::connect((bare.as_str(), port));
    let stream = stream.await.map_err(|error| unreachable(error.into()))?;
    if !is_secure {
        return over(stream, request).await;
    }
    let trust = trust::config().map_err(|error| unreachable(error.into()))?;
    let name = ServerName::try_from(bare).map_err(|error| unreachable(error.into()))?;
    let secured = TlsConnector::from(trust).connect(name, stream).await;
    over(secured.map_err(|error| unreachable(error.into()))?, request).await
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let (unreachable, broken) =
        (failed(HttpErrorKind::Connect), failed(HttpErrorKind::Interrupted));
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.into()))?;
    let request =
        relative(request).map_err(|error| failed(HttpErrorKind::Unknown)(error.into()))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.map_err(|error| broken(error.into()))?.to_bytes();
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(bytes)))
    };
    // The connection moves only while it is polled; how it ends is said by the exchange.
    let moved = async {
        let _ = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = moved => match never {},
    }
}

/// The request as it goes over the wire: the path alone, the host in its header.
fn relative(mut request: HttpRequest) -> Result<HttpRequest, http::Error> {
    let uri = request.uri().clone();
    if !request.headers().contains_key(HOST) {
        let host = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        request.headers_mut().insert(HOST, HeaderValue::from_str(host)?);
    }
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    *request.uri_mut() = path.parse::<Uri>()?;
    let (head, body) = request.into_parts();
    Ok(Request::from_parts(head, body))
}
