//! `builtin/http` against servers of the test's own.

use std::{net::SocketAddr, sync::Arc};

use jobshop_engine::{
    attempt::{HttpWork, Work},
    outcome::ErrorClass,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use super::support::{Bench, Ended, attempt};

/// Answers every request with what `answer` makes of it.
struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn new(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        #[expect(clippy::disallowed_methods, reason = "aborted when the server is dropped")]
        let task = tokio::spawn(async move {
            loop {
                let Ok((mut socket, _)) = listener.accept().await else { return };
                let mut request = Vec::new();
                let mut part = [0; 4096];
                while let Ok(read) = socket.read(&mut part).await {
                    request.extend_from_slice(&part[..read]);
                    let text = String::from_utf8_lossy(&request);
                    let length = text
                        .lines()
                        .find_map(|line| {
                            line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
                        })
                        .unwrap_or(0);
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                    if read == 0 || body.is_some_and(|body| body >= length) {
                        break;
                    }
                }
                let text = answer(&String::from_utf8_lossy(&request));
                let _ = socket.write_all(text.as_bytes()).await;
                let _ = socket.shutdown().await;
            }
        });
        Self { address, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn get(url: String) -> HttpWork {
    HttpWork {
        url,
        method: "GET".to_owned(),
        headers: Vec::new(),
        body: None,
        expect: Vec::new(),
        timeout: None,
    }
}

async fn ask(allow: &[&str], work: HttpWork) -> Ended {
    let bench = Bench::with(|config| {
        config.http_allow = allow.iter().map(|allow| allow.parse().unwrap()).collect();
        config.output_bytes_max = 10_000;
    });
    bench.execute(&attempt(Work::Http(work))).await
}

const HERE: &str = "127.0.0.1";

#[tokio::test]
async fn a_request_is_sent_and_its_answer_becomes_the_outputs() {
    let server = Server::new(|request| {
        let text = request.to_lowercase();
        assert!(text.starts_with("post /v1?x=1 http/1.1\r\n"), "{request}");
        assert!(text.contains("authorization: bearer hush") && text.contains("idempotency-key: "));
        assert!(text.contains("content-type: application/json") && text.ends_with("{\"a\":1}"));
        answer(
            "201 Created",
            "content-type: application/json\r\nset-cookie: s=1\r\nx-a: b\r\n",
            "{\"id\": 7}",
        )
    })
    .await;
    let work = HttpWork {
        method: "post".to_owned(),
        headers: vec![("Authorization".to_owned(), "Bearer hush".to_owned())],
        body: Some(json!({ "a": 1 })),
        expect: vec![200, 201],
        ..get(server.url("/v1?x=1"))
    };
    assert!(!format!("{work:?}").contains("hush"));
    let ended = ask(&[HERE], work).await;
    let outputs = ended.outputs();
    assert_eq!(outputs["status"], 201);
    assert_eq!((&outputs["json"]["id"], &outputs["body"]), (&json!(7), &json!("{\"id\": 7}")));
    assert_eq!(
        (&outputs["headers"]["x-a"], outputs["headers"].get("set-cookie")),
        (&json!("b"), None)
    );
    assert!(!ended.text().contains("hush") && !ended.text().contains("v1"), "{}", ended.text());
}

#[tokio::test]
async fn another_status_than_expected_fails_and_says_no_secret() {
    let server = Server::new(|_| answer("503 Busy", "", "secret")).await;
    let ended = ask(&[HERE], get(server.url("/token"))).await;
    let message = ended.failure(ErrorClass::Error);
    assert!(message.contains("503") && !message.contains("token"), "{message}");
    assert!(!message.contains("secret"));
    let ended = ask(&[HERE], HttpWork { expect: vec![503], ..get(server.url("/")) }).await;
    assert_eq!(ended.outputs()["body"], "secret");
}

#[tokio::test]
async fn nothing_but_the_public_internet_is_reached_unless_it_is_allowed() {
    let server = Server::new(|_| answer("200 OK", "", "inside")).await;
    let port = server.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0.0.0.0"]
    {
        let ended = ask(&[], get(format!("http://{host}:{port}/"))).await;
        let message = ended.failure(ErrorClass::Error);
        assert!(message.contains("refused"), "{host}: {message}");
    }
    let other_port = format!("127.0.0.1:{}", port.wrapping_add(1));
    ask(&[&other_port], get(server.url("/"))).await.failure(ErrorClass::Error);
    for url in ["ftp://127.0.0.1/", "file:///etc/passwd", "http://u:p@127.0.0.1/"] {
        ask(&[HERE], get(url.to_owned())).await.failure(ErrorClass::Error);
    }
    let ended = ask(&["localhost"], get(format!("http://localhost:{port}/"))).await;
    assert_eq!(ended.outputs()["body"], "inside");
}

#[tokio::test]
async fn redirects_are_checked_and_do_not_carry_secrets_to_others() {
    let other = Server::new(|request| {
        assert!(!request.to_lowercase().contains("hush"), "{request}");
        answer("200 OK", "", "other")
    })
    .await;
    let (there, inside) = (other.url("/"), format!("http://[::1]:{}/", other.address.port()));
    let server = Server::new(move |request| {
        let to = match request.split(' ').nth(1).unwrap() {
            "/there" => there.clone(),
            "/inside" => inside.clone(),
            "/file" => "file:///etc/passwd".to_owned(),
            "/again" => "/again".to_owned(),
            "/post" => "/got".to_owned(),
            "/got" => {
                assert!(request.starts_with("GET") && request.contains("hush"), "{request}");
                return answer("200 OK", "", "got");
            }
            other => panic!("{other}"),
        };
        answer("302 Found", &format!("location: {to}\r\n"), "")
    })
    .await;
    let secret = |path: &str| HttpWork {
        headers: vec![("X-Api-Key".to_owned(), "hush".to_owned())],
        ..get(server.url(path))
    };
    assert_eq!(ask(&[HERE], secret("/there")).await.outputs()["body"], "other");
    assert!(ask(&[HERE], secret("/inside")).await.failure(ErrorClass::Error).contains("refused"));
    ask(&[HERE], secret("/file")).await.failure(ErrorClass::Error);
    assert!(ask(&[HERE], secret("/again")).await.failure(ErrorClass::Error).contains("redirects"));
    let post = HttpWork { method: "POST".to_owned(), body: Some(json!("x")), ..secret("/post") };
    assert_eq!(ask(&[HERE], post).await.outputs()["body"], "got");
}

#[tokio::test]
async fn an_answer_is_bounded_in_size_and_time() {
    let server = Server::new(|_| answer("200 OK", "", &"x".repeat(20_000))).await;
    ask(&[HERE], get(server.url("/"))).await.failure(ErrorClass::TooLarge);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let work = HttpWork { timeout: Some("100ms".parse().unwrap()), ..get(url) };
    ask(&[HERE], work).await.failure(ErrorClass::Timeout);
}
