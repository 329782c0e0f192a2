//! An opencode server of one attempt: started and found ready, asked and listened to over HTTP. It
//! does not know what is said.

use std::time::Duration;

use anyhow::Context as _;
use jobshop_engine::outcome::ErrorClass;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::ChildStdin,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::setup::{Installed, environment};
use crate::execute::{
    agent::Setting,
    command::{Program, Programs},
    halt::{Done, Halt},
    log::{LogWriter, Stream},
    running::Running,
    runtimes::sse::Events,
    still::Still,
};

/// A machine that is busy with other things may take its time.
const START_LIMIT: Duration = Duration::from_mins(3);
/// A request that is sent too early is never answered, so none is waited for long.
const PROBE: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(8);
const ANSWER: Duration = Duration::from_mins(2);
const USER: &str = "opencode";
const LISTENING: &str = "opencode server listening on ";
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A server that runs; dropped, it is killed.
#[derive(Debug)]
pub(super) struct Server {
    running: Running,
    asking: Asking,
    events: Receiver<Heard>,
    /// Reading its pipes and its events.
    readers: JoinSet<()>,
    _stdin: ChildStdin,
}

/// How it is asked.
#[derive(Debug, Clone)]
struct Asking {
    http: Client,
    url: String,
    password: String,
    directory: String,
}

/// What comes from the event stream.
#[derive(Debug)]
pub(super) enum Heard {
    Event(Value),
    /// Events may have been missed.
    Reconnected,
}

impl Server {
    pub(super) async fn start(
        setting: Setting<'_>,
        programs: &Programs,
        installed: &Installed,
    ) -> Done<Self> {
        let home = setting.directory.create_home().context("creating the agent's home")?;
        let password = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let env = environment(setting.env, &home, &password, installed)?;
        let workspace = setting.directory.workspace();
        let program = installed.program.display().to_string();
        let argv = [&program, "serve", "--hostname", "127.0.0.1", "--port", "0"].map(str::to_owned);
        let program = Program { argv: &argv, dir: &workspace, env: &env, stdin: None };
        let (mut running, pipes) = programs.start(&program).await?;
        let mut readers = JoinSet::new();
        let (lines, mut said) = mpsc::channel(64);
        readers.spawn(copy(pipes.stdout, setting.log.clone(), Some(lines)));
        readers.spawn(copy(pipes.stderr, setting.log.clone(), None));
        let url = tokio::select! {
            url = listening(&mut said) => url,
            _ = running.ended() => Err(Halt::error("opencode ended before it listened")),
            () = sleep(START_LIMIT) => Err(Halt::error("opencode does not listen")),
        }?;
        let http = Client::builder().no_proxy().build().context("an HTTP client")?;
        let directory = workspace.display().to_string();
        let asking = Asking { http, url, password, directory };
        asking.probe().await?;
        let (sender, events) = mpsc::channel(1024);
        readers.spawn(listen(asking.clone(), sender));
        let mut server = Self { running, asking, events, readers, _stdin: pipes.stdin };
        // Whatever is asked from now on is heard.
        match timeout(START_LIMIT, server.next()).await {
            Ok(heard) => heard.map(drop)?,
            Err(_) => return Err(Halt::error("opencode sends no events")),
        }
        Ok(server)
    }

    /// The workspace it works in.
    pub(super) fn directory(&self) -> &str {
        &self.asking.directory
    }

    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Done<Heard> {
        tokio::select! {
            biased;
            heard = self.events.recv() => match heard {
                Some(heard) => Ok(heard),
                None => Err(died("its events ended")),
            },
            ended = self.running.ended() => Err(died(&match ended {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            })),
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Done<Value> {
        let request = self.asking.request(Method::GET, path);
        self.answer(path, request).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> Done<Value> {
        let request = self.asking.request(Method::POST, path).json(body);
        self.answer(path, request).await
    }

    pub(super) async fn hold_still(&self) -> Done<Still> {
        self.running.hold_still().await
    }

    pub(super) async fn end(mut self, grace: Duration, log: &LogWriter) {
        self.running.end(grace, log).await;
        self.readers.shutdown().await;
    }

    async fn answer(&mut self, path: &str, request: RequestBuilder) -> Done<Value> {
        let answered = request.timeout(ANSWER).send().await;
        let answer = answered.map_err(|error| died(&format!("{path}: {error}")))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| died(&format!("{path}: {error}")))?;
        if !status.is_success() {
            let said: String = text.chars().take(500).collect();
            return Err(Halt::error(format!("opencode answered {status} to {path}: {said}")));
        }
        if status == StatusCode::NO_CONTENT || text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| {
            Halt::error(format!("opencode's answer to {path} is no JSON: {error}"))
        })
    }
}

impl Asking {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .query(&[("directory", &self.directory)])
            .basic_auth(USER, Some(&self.password))
    }

    /// Waits until it answers, each time over a new connection.
    async fn probe(&self) -> Done<()> {
        let deadline = Instant::now() + START_LIMIT;
        let mut patience = PROBE;
        loop {
            let request = self.request(Method::GET, "/global/health");
            let answered = request.header("connection", "close").timeout(patience).send().await;
            match answered {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    let status = answer.status();
                    return Err(Halt::error(format!("opencode is not well: {status}")));
                }
                Err(_) if Instant::now() < deadline => {
                    patience = (patience * 2).min(PROBE_MAX);
                    sleep(RECONNECT_PAUSE).await;
                }
                Err(error) => {
                    return Err(Halt::error(format!("opencode does not answer: {error}")));
                }
            }
        }
    }
}

/// The server is gone in the middle of its work.
fn died(how: &str) -> Halt {
    Halt::failed(ErrorClass::Crash, format!("opencode died: {how}"))
}

async fn listening(lines: &mut Receiver<String>) -> Done<String> {
    while let Some(line) = lines.recv().await {
        if let Some((_, url)) = line.split_once(LISTENING) {
            return Ok(url.trim().to_owned());
        }
    }
    Err(Halt::error("opencode ended before it listened"))
}

/// What a server prints goes to the log; lines go to whoever waits for one.
async fn copy(pipe: impl AsyncRead + Unpin, log: LogWriter, lines: Option<Sender<String>>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line).into_owned();
        let is_heard = lines.as_ref().is_some_and(|lines| lines.try_send(text).is_ok());
        if !is_heard {
            log.bytes(Stream::Stderr, &line);
        }
        line.clear();
    }
}

/// Reads the event stream for as long as the server lives; a lost connection is made again.
async fn listen(asking: Asking, events: Sender<Heard>) {
    loop {
        let answered = asking.request(Method::GET, "/event").send().await;
        if let Ok(mut answer) = answered {
            if events.send(Heard::Reconnected).await.is_err() {
                return;
            }
            let mut pending = Events::default();
            while let Ok(Some(bytes)) = answer.chunk().await {
                for event in pending.push(&bytes) {
                    if events.send(Heard::Event(event)).await.is_err() {
                        return;
                    }
                }
            }
        }
        sleep(RECONNECT_PAUSE).await;
    }
}
