//! The real git, for tests that have repositories of their own.

use std::{path::Path, process::Command};

/// What git prints, without the last line break. Panics where it fails.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let done = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=T", "-c", "user.email=t@example.org"])
        .args(arguments)
        .output()
        .expect("git is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("git prints UTF-8").trim().to_owned()
}
