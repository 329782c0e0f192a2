//! `server.json`: how the command line finds the server that runs on a data directory. Written by
//! the server, read by everybody who may read the token; it knows nothing of HTTP.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::DataDir;

const FILE: &str = "server.json";

/// A running server: where it listens, the token it accepts and its process.
#[derive(Debug, Clone)]
pub struct ServerFile {
    pub url: String,
    pub token: SecretString,
    pub pid: u32,
}

#[derive(Serialize, Deserialize)]
struct Text<T> {
    url: T,
    token: T,
    pid: u32,
}

impl ServerFile {
    /// The server of this data directory; `None` when there is no file or its process is gone. A
    /// reader must still expect that nothing answers there.
    pub fn read(dir: &DataDir) -> io::Result<Option<Self>> {
        let text = match std::fs::read(dir.path().join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Text::<String> { url, token, pid } = serde_json::from_slice(&text)?;
        let server = Self { url, token: token.into(), pid };
        Ok(crate::process::is_alive(pid).then_some(server))
    }

    /// Replaces the file in one step, readable by this user only.
    pub fn write(&self, dir: &DataDir) -> io::Result<()> {
        let text = Text { url: &*self.url, token: self.token.expose_secret(), pid: self.pid };
        let new = dir.path().join(format!("{FILE}.{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&text)?)?;
        std::fs::rename(&new, dir.path().join(FILE))
    }

    /// Takes the file away; none there is fine.
    pub fn remove(dir: &DataDir) -> io::Result<()> {
        match std::fs::remove_file(dir.path().join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_server_is_found_while_its_process_lives() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        assert!(ServerFile::read(&dir).unwrap().is_none());

        let live = std::process::id();
        let server =
            |pid| ServerFile { url: "http://127.0.0.1:7070".into(), token: "secret".into(), pid };
        server(live).write(&dir).unwrap();
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let found = ServerFile::read(&dir).unwrap().unwrap();
        assert_eq!(
            (found.url.as_str(), found.token.expose_secret(), found.pid),
            ("http://127.0.0.1:7070", "secret", live)
        );
        assert!(!format!("{found:?}").contains("secret"));

        server(u32::MAX >> 1).write(&dir).unwrap();
        assert!(ServerFile::read(&dir).unwrap().is_none());
        ServerFile::remove(&dir).unwrap();
        ServerFile::remove(&dir).unwrap();
    }
}
