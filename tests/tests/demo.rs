//! `make demo`: the script itself, with the scripted agent, on a small project that is laid out like this
//! one. It fails by itself where a station of the way does not come about.

#![expect(clippy::unwrap_used, reason = "what cannot be set up is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use jobshop_tests::{command_line::shipped, git};

/// A workspace of one package with three modules.
fn project(folder: &Path) {
    let write = |path: &str, text: &str| {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"workers\"]\n");
    write("Cargo.lock", "version = 4\n\n[[package]]\nname = \"workers\"\nversion = \"0.1.0\"\n");
    let manifest = "[package]\nname = \"workers\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    write("workers/Cargo.toml", manifest);
    write("workers/src/lib.rs", "//! Package.\n\npub mod long;\npub mod middle;\npub mod short;\n");
    write(
        "workers/src/long.rs",
        "//! Long.\n\npub struct One;\n\npub struct Two;\n\npub enum Three {}\n",
    );
    write("workers/src/middle.rs", "//! Middle.\n\npub struct One;\n\npub trait Two {}\n");
    write("workers/src/short.rs", "//! Short.\n\npub fn one() {}\n");
    write("docs/components/README.md", "# Components\n\nStart reading with: nothing yet.\n");
    git(folder, &["init", "--quiet", "--initial-branch", "main"]);
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--message", "Begin"]);
}

#[test]
fn the_demo_goes_all_the_way_from_a_goal_to_a_branch_that_builds() {
    // The user that root's Postgres runs as must be able to pass through.
    let mode = fs::Permissions::from_mode(0o711);
    let folder = tempfile::Builder::new().permissions(mode).tempdir().unwrap();
    let repo = folder.path().join("repo");
    project(&repo);
    let mut demo = Command::new("timeout");
    demo.args(["--kill-after=10", "110", "bash"]).arg(shipped("scripts/demo.sh"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JOBSHOP_")) {
        if name != "JOBSHOP_PG_BIN" {
            demo.env_remove(name);
        }
    }
    demo.env("DEMO_BIN", env!("CARGO_BIN_EXE_jobshop-cli"))
        .env("DEMO_REPO", &repo)
        .env("OPENCODE_BIN", "")
        .env("TMPDIR", folder.path())
        .env("XDG_CONFIG_HOME", folder.path())
        .env("CARGO_TARGET_DIR", folder.path().join("target"));
    let ended = demo.output().unwrap();
    let (said, told) =
        (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{said}\n{told}");
    let stations = [
        "page-long | The page of workers/src/long.rs",
        "page-middle       agent  blocked",
        "ada: score",
        "it needs 99000 tokens",
        "With which page shall readers start?",
        "index is answered: workers-",
        "check-pag: exit code 1",
        "Start reading with: [workers-",
    ];
    for station in stations {
        assert!(said.contains(station), "nothing of `{station}`:\n{said}\n{told}");
    }
}
