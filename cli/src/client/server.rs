//! Which server commands talk to: the one that the variables name, else the one that runs on the
//! data directory. It does not talk to it.

use std::net::IpAddr;

use reqwest::Url;
use secrecy::SecretString;

use crate::config::Config;
use crate::data_dir::{DataDir, ServerFile};
use crate::exit::{Exit, Failure};

/// A server and the token it wants.
#[derive(Debug, Clone)]
pub struct Server {
    pub url: Url,
    pub token: Option<SecretString>,
    named_by: NamedBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    Setting,
    /// `server.json` of the data directory.
    File,
    /// This very process runs it.
    Own,
}

impl Server {
    /// `None` when no server is named and none runs on the data directory.
    pub fn find(config: &Config, dir: &DataDir) -> Result<Option<Self>, Failure> {
        let values = &config.values;
        let running = ServerFile::read(dir);
        if let Some(text) = &values.server {
            let url = parse(text)?;
            // A token from the file is for the server of the file only.
            let of_file = || {
                let running = running.ok().flatten()?;
                (running.url.parse::<Url>().ok()? == url).then_some(running.token)
            };
            let token = values.token.clone().or_else(of_file);
            return Ok(Some(Self { url, token, named_by: NamedBy::Setting }));
        }
        let running = running.map_err(|error| {
            let file = dir.path().join("server.json");
            Failure::new(Exit::Auth, format!("cannot read {}: {error}", file.display()))
                .hint("set JOBSHOP_SERVER and JOBSHOP_TOKEN, or JOBSHOP_DATA_DIR")
        })?;
        let Some(running) = running else { return Ok(None) };
        let token = values.token.clone().unwrap_or(running.token);
        let url = parse(&running.url)?;
        Ok(Some(Self { url, token: Some(token), named_by: NamedBy::File }))
    }

    /// The server that this process runs itself.
    pub fn own(url: &str, token: SecretString) -> Result<Self, Failure> {
        Ok(Self { url: parse(url)?, token: Some(token), named_by: NamedBy::Own })
    }

    /// Whether a person named it: nothing else will do then.
    pub fn is_named(&self) -> bool {
        self.named_by == NamedBy::Setting
    }

    /// Whether it runs on this machine and so sees the same files.
    pub fn is_here(&self) -> bool {
        match self.url.host_str() {
            Some("localhost") => true,
            Some(host) => {
                let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
                address.is_ok_and(|address| address.is_loopback())
            }
            None => false,
        }
    }

    /// The failure of a command that needs a server.
    pub fn missing() -> Failure {
        Failure::temporary("no server is running")
            .hint("start one with `jobshop up`, or set JOBSHOP_SERVER and JOBSHOP_TOKEN")
    }

    pub(super) fn api(&self, path: &[&str]) -> Url {
        super::with_path(&self.url, ["api", "v1"].into_iter().chain(path.iter().copied()))
    }

    pub(super) fn socket(&self, session: &str, after: i64) -> Url {
        let mut url = super::with_path(&self.url, ["ws", "sessions", session]);
        url.query_pairs_mut().append_pair("after", &after.to_string());
        // From one special scheme to another one: never refused.
        let _ = url.set_scheme("ws");
        url
    }

    /// What to do when it cannot be reached.
    pub(super) fn advice(&self) -> &'static str {
        match self.named_by {
            NamedBy::Setting => "check JOBSHOP_SERVER, or unset it and run `jobshop up`",
            NamedBy::File => "start it with `jobshop up`",
            NamedBy::Own => "try again with JOBSHOP_LOG=debug",
        }
    }

    /// What to do when it refuses the token.
    pub(super) fn token_advice(&self) -> &'static str {
        match (self.named_by, &self.token) {
            (NamedBy::Setting, None) => "set JOBSHOP_TOKEN",
            (NamedBy::Setting, Some(_)) => "check JOBSHOP_TOKEN",
            (NamedBy::File | NamedBy::Own, _) => {
                "unset JOBSHOP_TOKEN: the server's own file has one"
            }
        }
    }
}

fn parse(text: &str) -> Result<Url, Failure> {
    let refuse = |why: &str| {
        Failure::usage(format!("JOBSHOP_SERVER: `{text}` {why}")).hint("write http://HOST:PORT")
    };
    let url: Url = text.parse().map_err(|_| refuse("is not a URL"))?;
    match url.scheme() {
        "http" if url.has_host() => Ok(url),
        "https" => Err(refuse("cannot be used: this client speaks plain http only")),
        _ => Err(refuse("is not an http URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_here() {
        for (url, is_here) in [
            ("http://127.0.0.1:7070", true),
            ("http://[::1]:7070", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://example.org", false),
        ] {
            assert_eq!(Server::own(url, "t".into()).unwrap().is_here(), is_here, "{url}");
        }
    }

    #[test]
    fn only_plain_http_is_spoken() {
        for url in ["https://example.org", "ftp://example.org", "example.org", "http:"] {
            let refusal = Server::own(url, "t".into()).unwrap_err();
            assert!(refusal.message.starts_with("JOBSHOP_SERVER"), "{refusal}");
        }
    }
}
