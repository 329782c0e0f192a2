//! Which user Postgres runs as: it refuses root, and its files belong to one user for good.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::{Gid, Uid, User};

use super::{ClusterError, accident};

/// The user of the cluster's process and files.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    name: String,
    /// We are root and become this user; otherwise we are this user already.
    pub(super) is_other: bool,
}

/// Ourselves; as root, the user that the folder of clusters belongs to, else `postgres`, else
/// `nobody`.
pub(super) fn choose(folder: &Path) -> Result<Owner, ClusterError> {
    let us = Uid::effective();
    let of_files = match folder.metadata() {
        Ok(found) => Some(Uid::from_raw(found.uid())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(accident(format!("read {}", folder.display()))(error)),
    };
    match of_files {
        Some(uid) if uid != us && !us.is_root() => Err(ClusterError::Owner(format!(
            "the cluster in {} belongs to user {}: run Jobshop as that user, or choose another \
             JOBSHOP_DATA_DIR",
            folder.display(),
            user(uid).map_or_else(|_| uid.to_string(), |user| user.name),
        ))),
        Some(uid) if us.is_root() && !uid.is_root() => Ok(Owner::from(user(uid)?, true)),
        _ if us.is_root() => unprivileged().map(|user| Owner::from(user, true)),
        _ => Ok(Owner::from(user(us)?, false)),
    }
}

fn user(uid: Uid) -> Result<User, ClusterError> {
    let unnamed = || {
        ClusterError::Owner(format!(
            "user id {uid} has no name on this system, which Postgres insists on: give it a line \
             in /etc/passwd, run as another user, or set DATABASE_URL to a running server"
        ))
    };
    User::from_uid(uid).ok().flatten().ok_or_else(unnamed)
}

fn unprivileged() -> Result<User, ClusterError> {
    let named = |name| User::from_name(name).ok().flatten();
    named("postgres").or_else(|| named("nobody")).ok_or_else(|| {
        ClusterError::Owner(
            "Postgres does not run as root, and there is neither a user postgres nor nobody: \
             create one, or run as another user"
                .into(),
        )
    })
}

impl Owner {
    fn from(user: User, is_other: bool) -> Self {
        Self { uid: user.uid, gid: user.gid, name: user.name, is_other }
    }

    /// Gives a file or folder to this user.
    pub(super) fn take(&self, path: &Path) -> io::Result<()> {
        if self.is_other {
            std::os::unix::fs::lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))?;
        }
        Ok(())
    }

    /// Checks that this user can pass through every folder on the way.
    pub(super) fn check_way_to(&self, path: &Path) -> Result<(), ClusterError> {
        if !self.is_other {
            return Ok(());
        }
        // Links may lead elsewhere.
        let path =
            path.canonicalize().map_err(accident(format!("find the way to {}", path.display())))?;
        for folder in path.ancestors() {
            let found =
                folder.metadata().map_err(accident(format!("read {}", folder.display())))?;
            let bit = if found.uid() == self.uid.as_raw() {
                0o100
            } else if found.gid() == self.gid.as_raw() {
                0o010
            } else {
                0o001
            };
            if found.mode() & bit == 0 {
                return Err(ClusterError::Owner(format!(
                    "user {}, as whom Postgres runs, cannot enter {}: choose another \
                     JOBSHOP_DATA_DIR",
                    self.name,
                    folder.display()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().canonicalize().unwrap().join("closed");
        let inner = closed.join("data");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o711)).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
        let (uid, gid) = (Uid::from_raw(54_321), Gid::from_raw(54_321));
        let stranger = Owner { uid, gid, name: "stranger".into(), is_other: true };
        let refusal = stranger.check_way_to(&inner).unwrap_err().to_string();
        assert!(refusal.contains(&format!("cannot enter {}:", closed.display())), "{refusal}");

        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o711)).unwrap();
        stranger.check_way_to(&inner).unwrap();
    }

    #[test]
    fn a_user_without_a_name_is_told_so() {
        let refusal = user(Uid::from_raw(54_321)).unwrap_err().to_string();
        assert!(refusal.contains("user id 54321 has no name"), "{refusal}");
    }
}
