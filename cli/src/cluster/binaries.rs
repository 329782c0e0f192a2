//! Finds the programs of Postgres on this machine. It installs and fetches nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ClusterError;
use super::init::Existing;

/// The oldest version whose SQL Jobshop speaks.
const MAJOR_MIN: u32 = 14;

/// A folder with `initdb` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    fn in_folder(folder: &Path) -> Option<Self> {
        let found = Self { folder: folder.to_owned(), major: 0 };
        if !found.initdb().is_file() || !found.postgres().is_file() {
            return None;
        }
        // As the only argument: root may ask for nothing else.
        let answer = Command::new(found.postgres()).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&answer.stdout))?;
        (major >= MAJOR_MIN).then_some(Self { major, ..found })
    }
}

/// The first usable binaries in the order of [`places`]; for an existing cluster, the first of its
/// own major version.
pub(super) fn find(data: &Path, existing: Option<&Existing>) -> Result<Binaries, ClusterError> {
    let named = std::env::var_os("JOBSHOP_PG_BIN").map(PathBuf::from);
    let folders = match &named {
        Some(path) => vec![path.clone()],
        None => places(data),
    };
    let mut found = folders.iter().filter_map(|folder| Binaries::in_folder(folder)).peekable();
    if found.peek().is_none() {
        return Err(match named {
            Some(path) => ClusterError::WrongBinaries { path },
            None => ClusterError::NoBinaries { cure: cure() },
        });
    }
    match existing {
        None => Ok(found.next().expect("peeked above")),
        Some(Existing { path, major }) => found
            .find(|it| it.major == *major)
            .ok_or_else(|| ClusterError::OtherMajor { path: path.clone(), major: *major }),
    }
}

/// Where to look: what came with Jobshop, then what the system says, then where systems put it.
fn places(data: &Path) -> Vec<PathBuf> {
    let beside_us = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("pg-bin")));
    let mut places = Vec::new();
    for bundle in [Some(data.join("pg-bin")), beside_us].into_iter().flatten() {
        places.push(bundle.join("bin"));
        places.extend(newest_first(&bundle, "", "bin"));
        places.extend(newest_first(&bundle, "", "native/bin"));
    }
    places.extend(pg_config());
    places.extend(newest_first(Path::new("/usr/lib/postgresql"), "", "bin"));
    places.extend(newest_first(Path::new("/usr"), "pgsql-", "bin"));
    places.extend(newest_first(Path::new("/opt/homebrew/opt"), "postgresql", "bin"));
    places.extend(newest_first(Path::new("/usr/local/opt"), "postgresql", "bin"));
    places.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    places
}

fn pg_config() -> Option<PathBuf> {
    let answer = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim_end()))
}

/// `parent/<prefix…>/inner` for each folder of the parent, the highest number in the name first.
fn newest_first(parent: &Path, prefix: &str, inner: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = first_number(name.strip_prefix(prefix)?).unwrap_or(0);
            Some((std::cmp::Reverse(number), entry.path().join(inner)))
        })
        .collect();
    folders.sort();
    folders.into_iter().map(|(_, path)| path).collect()
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15; so is `15beta1`.
fn major_of(version: &str) -> Option<u32> {
    first_number(version.strip_prefix("postgres (PostgreSQL) ")?)
}

fn first_number(text: &str) -> Option<u32> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn cure() -> &'static str {
    let cures = [
        ("/usr/bin/apt-get", "run `apt install postgresql`"),
        ("/usr/bin/dnf", "run `dnf install postgresql-server`"),
        ("/sbin/apk", "run `apk add postgresql`"),
        ("/usr/bin/pacman", "run `pacman -S postgresql`"),
        ("/usr/bin/zypper", "run `zypper install postgresql-server`"),
        ("/opt/homebrew/bin/brew", "run `brew install postgresql@17`"),
        ("/usr/local/bin/brew", "run `brew install postgresql@17`"),
    ];
    cures
        .into_iter()
        .find(|(tool, _)| Path::new(tool).exists())
        .map_or("install PostgreSQL", |(_, cure)| cure)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A folder whose `postgres` tells `version`.
    fn install(folder: &Path, version: &str) {
        std::fs::create_dir_all(folder).unwrap();
        for name in ["initdb", "postgres"] {
            let program = folder.join(name);
            let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n");
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn the_version_is_read_from_what_postgres_prints() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major_of("sh: not found"), None);
    }

    #[test]
    fn a_bundle_in_the_data_directory_comes_before_what_is_installed() {
        let data = tempfile::tempdir().unwrap();
        let bundle = data.path().join("pg-bin");
        install(&bundle.join("17.2/bin"), "17.2");
        install(&bundle.join("18.4/native/bin"), "18.4");
        install(&bundle.join("9.6/bin"), "9.6.24");
        assert_eq!(find(data.path(), None).unwrap().major, 17);
    }

    #[test]
    fn an_existing_cluster_gets_its_own_version_or_a_clear_refusal() {
        let data = tempfile::tempdir().unwrap();
        let bundle = data.path().join("pg-bin");
        install(&bundle.join("14.9/bin"), "14.9");
        install(&bundle.join("99.1/bin"), "99.1");
        let existing = |major| Existing { path: data.path().join("pg").join("x"), major };
        assert_eq!(find(data.path(), Some(&existing(99))).unwrap().major, 99);
        assert_eq!(find(data.path(), Some(&existing(14))).unwrap().folder, bundle.join("14.9/bin"));
        let refusal = find(data.path(), Some(&existing(98))).unwrap_err().to_string();
        assert!(refusal.contains("made by Postgres 98, which is not installed"), "{refusal}");
    }
}
