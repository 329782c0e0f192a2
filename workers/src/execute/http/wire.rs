//! One exchange over a connection that stands: TLS where the URL asks for it, the request, the whole
//! answer within a limit. It does not know which addresses may be reached.

use http::{HeaderMap, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use jobshop_engine::{outcome::ErrorClass, store::trust};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::Request;
use crate::execute::halt::{Done, Halt};

/// What a server answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Sends the request and reads the answer, which may have so many bytes.
pub(super) async fn exchange(
    stream: TcpStream,
    request: &Request,
    bytes_max: usize,
) -> Done<Answer> {
    if request.url.scheme() == "http" {
        return over(stream, request, bytes_max).await;
    }
    let origin = request.url.origin().ascii_serialization();
    let failed = |error: &dyn std::fmt::Display| Halt::error(format!("{origin}: {error}"));
    let trust = trust::config().map_err(|error| failed(&error))?;
    let host = request.url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|error| failed(&error))?;
    let secured = TlsConnector::from(trust).connect(name, stream).await;
    over(secured.map_err(|error| failed(&error))?, request, bytes_max).await
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &Request,
    bytes_max: usize,
) -> Done<Answer> {
    let origin = request.url.origin().ascii_serialization();
    let failed = |error: hyper::Error| {
        // Its text says what happened on the wire, and nothing of what was sent.
        Halt::error(format!("{origin}: {error}"))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let exchange = async {
        let response = sender.send_request(message(request)?).await.map_err(failed)?;
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(failed)?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > bytes_max {
                let why = format!("the answer is larger than {bytes_max} bytes");
                return Err(Halt::failed(ErrorClass::TooLarge, why));
            }
            bytes.extend_from_slice(data);
        }
        Ok(Answer { status: head.status, headers: head.headers, body: bytes })
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

/// The request as it goes over the wire.
fn message(request: &Request) -> Done<http::Request<Full<Bytes>>> {
    let url = &request.url;
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let body = Full::new(Bytes::from(request.body.clone().unwrap_or_default()));
    let mut message = http::Request::builder()
        .method(request.method.clone())
        .uri(target)
        .header(HOST, host)
        .body(body)
        .map_err(|_| Halt::error("the URL cannot be requested"))?;
    message.headers_mut().extend(request.headers.clone());
    Ok(message)
}
