//! The bearer token of a data directory's server: made once, kept in a file that only this user
//! can read. It does not check tokens.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use secrecy::SecretString;
use uuid::Uuid;

use crate::data_dir::DataDir;

const FILE: &str = "token";

/// Where the token of a data directory is kept.
pub fn path(dir: &DataDir) -> PathBuf {
    dir.path().join(FILE)
}

/// The token of the directory, which this process holds; made when there is none.
pub fn read_or_create(dir: &DataDir) -> io::Result<SecretString> {
    let path = path(dir);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned().into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let token = random();
    // Written aside first: a crash leaves no half of a token.
    let new = dir.path().join(format!("{FILE}.{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new();
    let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    Ok(token.into())
}

/// A token that nobody can guess: 244 random bits.
pub fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::at(folder.path()).unwrap();
        let first = read_or_create(&dir).unwrap();
        let second = read_or_create(&dir).unwrap();
        assert_eq!(first.expose_secret(), second.expose_secret());
        assert_eq!(first.expose_secret().len(), 64);
        let mode = std::fs::metadata(path(&dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
