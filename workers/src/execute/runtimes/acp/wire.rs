//! JSON-RPC over the pipes of a program, a message a line: calls both ways, and notes. It does not
//! know what they mean.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _,
        BufReader,
    },
    process::ChildStdin,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
    time::timeout,
};

use super::{died, profile::Profile, refused};
use crate::execute::{
    agent::Setting,
    command::{Program, Programs},
    halt::{Done, Halt},
    log::{LogWriter, Stream},
    running::Running,
    still::Still,
};

/// What an agent gets to answer anything but a prompt: its start is part of it.
const ANSWER: Duration = Duration::from_mins(3);
/// No message is longer.
const LINE_BYTES_MAX: u64 = 32 * 1024 * 1024;
const COPIED_BYTES_MAX: u64 = 64 * 1024;

/// A program that is spoken to; dropped, it is killed.
#[derive(Debug)]
pub(super) struct Wire {
    running: Running,
    stdin: ChildStdin,
    heard: Receiver<Value>,
    readers: JoinSet<()>,
    last_id: u64,
    /// Heard while an answer was awaited.
    pending: Vec<Heard>,
}

/// What comes from the agent.
#[derive(Debug)]
pub(super) enum Heard {
    Told { method: String, content: Value },
    Asked { id: Value, method: String, content: Value },
    Answered { id: u64, answer: Result<Value, Value> },
}

impl Wire {
    pub(super) async fn start(
        setting: Setting<'_>,
        programs: &Programs,
        profile: &Profile,
    ) -> Done<Self> {
        let home = setting.directory.create_home().context("creating the agent's home")?;
        let env = profile.environment(setting.env, &home)?;
        let workspace = setting.directory.workspace();
        let program = Program { argv: &profile.argv, dir: &workspace, env: &env, stdin: None };
        let (running, pipes) = programs.start(&program).await?;
        let (sender, heard) = mpsc::channel(1024);
        let mut readers = JoinSet::new();
        readers.spawn(read(pipes.stdout, sender, setting.log.clone()));
        readers.spawn(copy(pipes.stderr, setting.log.clone()));
        Ok(Self { running, stdin: pipes.stdin, heard, readers, last_id: 0, pending: Vec::new() })
    }

    /// Asks and awaits the answer.
    pub(super) async fn call(&mut self, method: &str, params: &Value) -> Done<Value> {
        let asked = self.ask(method, params).await?;
        let answered = async {
            loop {
                match self.receive().await? {
                    Heard::Answered { id, answer } if id == asked => return Ok::<_, Halt>(answer),
                    other @ (Heard::Told { .. } | Heard::Asked { .. } | Heard::Answered { .. }) => {
                        self.pending.push(other);
                    }
                }
            }
        };
        match timeout(ANSWER, answered).await {
            Ok(answer) => answer?.map_err(|error| refused(method, &error)),
            Err(_) => Err(died(&format!("it does not answer {method}"))),
        }
    }

    /// Asks, and leaves the answer to [`Self::hear`].
    pub(super) async fn ask(&mut self, method: &str, params: &Value) -> Done<u64> {
        self.last_id += 1;
        let id = self.last_id;
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.write(&message).await?;
        Ok(id)
    }

    pub(super) async fn tell(&mut self, method: &str, params: &Value) -> Done<()> {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await
    }

    pub(super) async fn answer(&mut self, id: &Value, result: &Value) -> Done<()> {
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "result": result })).await
    }

    /// What it asks for is nothing that we offer.
    pub(super) async fn refuse(&mut self, id: &Value, method: &str) -> Done<()> {
        let error = json!({ "code": -32601, "message": format!("{method} is not offered") });
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "error": error })).await
    }

    /// The next message. Cancel-safe.
    pub(super) async fn hear(&mut self) -> Done<Heard> {
        if !self.pending.is_empty() {
            return Ok(self.pending.remove(0));
        }
        self.receive().await
    }

    pub(super) async fn hold_still(&self) -> Done<Still> {
        self.running.hold_still().await
    }

    pub(super) async fn end(mut self, grace: Duration, log: &LogWriter) {
        drop(self.stdin);
        self.running.end(grace, log).await;
        self.readers.shutdown().await;
    }

    async fn receive(&mut self) -> Done<Heard> {
        loop {
            let message = tokio::select! {
                biased;
                message = self.heard.recv() => match message {
                    Some(message) => message,
                    None => return Err(died("it closed its output")),
                },
                ended = self.running.ended() => {
                    return Err(died(&match ended {
                        Ok(status) => status.to_string(),
                        Err(error) => error.to_string(),
                    }));
                }
            };
            if let Some(heard) = understood(message) {
                return Ok(heard);
            }
        }
    }

    async fn write(&mut self, message: &Value) -> Done<()> {
        let line = format!("{message}\n");
        let written = async {
            self.stdin.write_all(line.as_bytes()).await?;
            self.stdin.flush().await
        };
        match timeout(ANSWER, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(died(&error.to_string())),
            Err(_) => Err(died("it does not read")),
        }
    }
}

fn understood(mut message: Value) -> Option<Heard> {
    let method = message["method"].as_str().map(str::to_owned);
    let id = message["id"].clone();
    match (method, id) {
        (Some(method), Value::Null) => {
            Some(Heard::Told { method, content: message["params"].take() })
        }
        (Some(method), id) => Some(Heard::Asked { id, method, content: message["params"].take() }),
        (None, id) => {
            let error = message["error"].take();
            let answer = if error.is_null() { Ok(message["result"].take()) } else { Err(error) };
            Some(Heard::Answered { id: id.as_u64()?, answer })
        }
    }
}

/// What is no message is output like any other. A message that is too long is not heard out: it would
/// take our memory.
async fn read(pipe: impl AsyncRead + Unpin, heard: Sender<Value>, log: LogWriter) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while read_line(&mut pipe, &mut line, LINE_BYTES_MAX).await {
        match serde_json::from_slice::<Value>(&line) {
            Ok(message) if message.is_object() => {
                if heard.send(message).await.is_err() {
                    return;
                }
            }
            _ => log.bytes(Stream::Stdout, &line),
        }
    }
}

async fn copy(pipe: impl AsyncRead + Unpin, log: LogWriter) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while read_line(&mut pipe, &mut line, COPIED_BYTES_MAX).await {
        log.bytes(Stream::Stderr, &line);
    }
}

/// The next line, or as much of it as may be held at once. False at the end.
async fn read_line(
    pipe: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    bytes_max: u64,
) -> bool {
    line.clear();
    pipe.take(bytes_max).read_until(b'\n', line).await.is_ok_and(|count| count > 0)
}
