//! Archiving to a bucket, over the wire: a small server that speaks as much of S3 as an upload needs,
//! and that fails now and then.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use flate2::read::GzDecoder;
use jobshop_tests::{CommandLine, wait};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A request as it came.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Bucket {
    requests: Vec<Request>,
    parts: BTreeMap<String, Vec<u8>>,
    objects: HashMap<String, Vec<u8>>,
}

impl Bucket {
    /// The answer: status, headers, body.
    fn answer(&mut self, request: &Request) -> (u16, String, String) {
        self.requests.push(request.clone());
        let refused = (400, String::new(), "<Error><Code>Unknown</Code></Error>".to_owned());
        match (request.method.as_str(), request.query.as_str()) {
            ("POST", "uploads" | "uploads=") => {
                let body = "<InitiateMultipartUploadResult><UploadId>one</UploadId>\
                            </InitiateMultipartUploadResult>";
                (200, String::new(), body.to_owned())
            }
            ("PUT", query) if query.contains("uploadId=one") => {
                // The first try of a part fails.
                let puts = self.requests.iter().filter(|it| it.method == "PUT").count();
                if puts == 1 {
                    return (503, String::new(), "<Error><Code>SlowDown</Code></Error>".to_owned());
                }
                self.parts.insert(query.to_owned(), request.body.clone());
                (200, format!("ETag: \"{puts}\"\r\n"), String::new())
            }
            ("POST", "uploadId=one") => {
                let parts = std::mem::take(&mut self.parts);
                self.objects.insert(request.path.clone(), parts.into_values().flatten().collect());
                let body = "<CompleteMultipartUploadResult><Location>l</Location><Bucket>b</Bucket>\
                            <Key>k</Key><ETag>\"whole\"</ETag></CompleteMultipartUploadResult>";
                (200, String::new(), body.to_owned())
            }
            _ => refused,
        }
    }
}

/// Reads one request of a connection and answers it.
async fn serve(mut stream: TcpStream, bucket: Arc<Mutex<Bucket>>) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
    let mut body = bytes.split_off(end);
    while body.len() < length {
        stream.read_buf(&mut body).await.ok()?;
    }
    let (path, query) = (path.to_owned(), query.to_owned());
    let request = Request { method, path, query, headers, body };
    let (status, headers, body) = bucket.lock().unwrap().answer(&request);
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_uploaded_signed_in_parts_and_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    let shared = Arc::clone(&bucket);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    let user = CommandLine::new(env!("CARGO_BIN_EXE_jobshop-cli"))
        .with("JOBSHOP_RETENTION", "1s")
        .with("JOBSHOP_ARCHIVE", "s3://attic/of/jobshop")
        .with("AWS_ENDPOINT", &format!("http://{address}"))
        .with("AWS_ALLOW_HTTP", "true")
        .with("AWS_REGION", "eu-west-1")
        .with("AWS_ACCESS_KEY_ID", "an-id")
        .with("AWS_SECRET_ACCESS_KEY", "a-secret");
    user.write("kept.yaml", "{ version: 1, name: kept, tasks: { a: { run: echo hello } } }");
    let _up = user.up().await;
    let session = user.run(&["run", "kept.yaml", "--json"]).expect(0).json();
    let id = session["id"].as_str().unwrap().to_owned();
    wait::until("the session is archived", Duration::from_mins(1), async || {
        (user.run(&["session", "show", &id]).code == Some(4)).then_some(())
    })
    .await;
    let archived = user.run(&["session", "list", "--archived", "--json"]).expect(0).json();
    let location = archived[0]["archived"]["location"].as_str().unwrap().to_owned();

    let bucket = bucket.lock().unwrap();
    let (path, object) = bucket.objects.iter().next().expect("an object");
    assert_eq!(bucket.objects.len(), 1);
    assert!(path.starts_with("/attic/of/jobshop/") && path.ends_with(&format!("/{id}.ndjson.gz")));
    assert_eq!(format!("s3:/{path}"), location);
    let mut text = String::new();
    GzDecoder::new(object.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains(r#""text":"hello\n""#), "{text}");
    assert!(text.lines().last().unwrap().starts_with(r#"{"end":"#), "{text}");
    let methods: Vec<&str> = bucket.requests.iter().map(|it| it.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PUT", "PUT", "POST"]);
    for request in &bucket.requests {
        assert_eq!(request.path, *path);
        let authorization = &request.headers["authorization"];
        let credential = "AWS4-HMAC-SHA256 Credential=an-id/";
        assert!(authorization.starts_with(credential), "{authorization}");
        assert!(authorization.contains("/eu-west-1/s3/aws4_request"), "{authorization}");
        assert!(authorization.contains("Signature="), "{authorization}");
        assert_eq!(request.headers["x-amz-content-sha256"].len(), 64);
        assert_eq!(request.headers["host"], address.to_string());
        let told = format!("{:?}", request.headers);
        assert!(!told.contains("a-secret"), "{told}");
    }
}
