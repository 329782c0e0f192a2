//! Where the Unix socket of the cluster is, and the URL that leads there.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use super::owner::Owner;
use super::{ClusterError, accident};

/// The kernel's limit for the path of a socket, the end mark included, is 108 bytes.
const PATH_BYTES_MAX: usize = 106;

/// A private folder for the socket: in the data directory, or in a shorter place where that path
/// is too long for a socket.
pub(super) fn create(data: &Path, owner: &Owner) -> Result<PathBuf, ClusterError> {
    let folder = places(data, owner).into_iter().find(|it| fits(it)).ok_or_else(|| {
        ClusterError::Owner(format!("the path {} is too long for a socket", data.display()))
    })?;
    claim(&folder, owner).map_err(accident(format!("use {} for the socket", folder.display())))?;
    Ok(folder)
}

fn places(data: &Path, owner: &Owner) -> Vec<PathBuf> {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let name = format!("jobshop-{}-{:016x}", owner.uid, hasher.finish());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|it| it.is_absolute() && !owner.is_other);
    let mut places = vec![data.join("run")];
    places.extend(runtime.map(|it| it.join(&name)));
    places.push(Path::new("/tmp").join(name));
    places
}

fn fits(folder: &Path) -> bool {
    folder.join(".s.PGSQL.5432").to_str().is_some_and(|path| path.len() <= PATH_BYTES_MAX)
}

fn claim(folder: &Path, owner: &Owner) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return owner.take(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // In a shared place somebody else may have been first.
    let found = folder.symlink_metadata()?;
    if !found.is_dir() || found.uid() != owner.uid.as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to somebody else"));
    }
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700))
}

/// Everything is said in the URL, so that no `PG…` variable of the environment has a word in it.
pub(super) fn url(folder: &Path, database: &str) -> String {
    let mut url = format!("postgres://jobshop@localhost:5432/{database}?sslmode=disable&host=");
    for byte in folder.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(*byte));
            }
            _ => write!(url, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_any_folder() {
        assert_eq!(
            url(Path::new("/home/me/a b&c/run"), "jobshop"),
            "postgres://jobshop@localhost:5432/jobshop?sslmode=disable&host=/home/me/a%20b%26c/run"
        );
    }

    #[test]
    fn a_long_data_directory_gets_a_shorter_place_for_its_socket() {
        let owner = super::super::owner::choose(Path::new("/nowhere")).unwrap();
        let long = Path::new("/").join("x".repeat(100));
        let chosen = places(&long, &owner).into_iter().find(|it| fits(it)).unwrap();
        assert!(!chosen.starts_with(&long));
        let short = Path::new("/srv/jobshop");
        assert!(fits(&places(short, &owner)[0]));
        assert_ne!(places(short, &owner)[1], places(&long, &owner)[1]);
    }
}
