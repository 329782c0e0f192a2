//! Agents that lay traps in their trees and clones: nothing of them runs in our process, and what
//! is captured is the files. Each trap would create the file `sprung`, and the first test shows
//! that they work on a git that is called carelessly.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use jobshop_engine::{
    attempt::{CapturedCommit, MergeWork, Work},
    outcome::ErrorClass,
};
use jobshop_workers::execute::log::Stream;

use crate::{
    agent::command_agent,
    git::Repo,
    support::{Bench, attempt, script},
};

/// Bash that defines `trap FILE`, which writes a program that springs.
fn armed(bench: &Bench, text: &str) -> String {
    let sprung = bench.dir.path().join("sprung");
    format!(
        "arm() {{ printf '#!/bin/sh\\ntouch {}\\ncat\\n' > \"$1\"; chmod +x \"$1\"; }}\n\
         export GIT_CONFIG_GLOBAL=/dev/null\n\
         git config user.name A; git config user.email a@example.org\n{text}",
        sprung.display()
    )
}

fn is_sprung(bench: &Bench) -> bool {
    fs::exists(bench.dir.path().join("sprung")).unwrap()
}

const HOOKS: &str = "for hook in applypatch-msg pre-commit prepare-commit-msg commit-msg \
        post-commit pre-rebase post-checkout post-merge pre-push pre-receive update \
        post-receive reference-transaction post-index-change fsmonitor-watchman; do\n\
        arm .git/hooks/$hook; done; mkdir -p evil; cp .git/hooks/* evil\n\
        git config core.hooksPath evil";
const FSMONITOR: &str = "arm .git/monitor; git config core.fsmonitor \"$PWD/.git/monitor\"\n\
        git update-index --fsmonitor || true";
const FILTERS: &str = "arm .git/filter; for key in clean smudge process; do\n\
        git config filter.evil.$key \"$PWD/.git/filter\"; done\n\
        git config filter.evil.required true; git config diff.evil.textconv \"$PWD/.git/filter\"\n\
        git config diff.evil.command \"$PWD/.git/filter\"\n\
        git config merge.evil.driver \"$PWD/.git/filter %A\"\n\
        git config diff.external \"$PWD/.git/filter\"\n\
        echo '* filter=evil diff=evil merge=evil' > .gitattributes\n\
        cp .gitattributes .git/info/attributes";

fn traps() -> [(&'static str, &'static str); 3] {
    [("hooks", HOOKS), ("fsmonitor", FSMONITOR), ("filters", FILTERS)]
}

#[tokio::test]
async fn the_traps_work_on_a_careless_git() {
    for (name, trap) in traps() {
        let bench = Bench::with(|config| config.keep_failed = true);
        let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
        let mut attempt = command_agent(&armed(
            &bench,
            &format!(
                "mkdir -p .git/hooks; {trap}\nrm -f {}/sprung; echo 2 > a; exit 1",
                bench.dir.path().display()
            ),
        ));
        attempt.workspace = repo.workspace();
        let ended = bench.execute(&attempt).await;
        ended.failure(ErrorClass::Error);
        let said = ended.stream(Stream::System);
        let kept = said.lines().find_map(|line| line.strip_prefix("kept in ")).unwrap();
        let clone = Path::new(kept).join("work");
        let relocated = fs::read_to_string(clone.join(".git/config")).unwrap().replace(
            &bench.dir.path().join("data/workspaces").display().to_string(),
            &bench.dir.path().join("data/kept").display().to_string(),
        );
        fs::write(clone.join(".git/config"), relocated).unwrap();
        for args in [&["add", "--all"][..], &["commit", "--quiet", "-m", "careless"]] {
            let mut git = std::process::Command::new("git");
            git.args(args).current_dir(&clone).output().unwrap();
        }
        assert!(is_sprung(&bench), "{name} does not spring");
    }
}

#[tokio::test]
async fn nothing_of_an_agents_clone_runs_when_it_is_captured() {
    for (name, trap) in traps() {
        let bench = Bench::new();
        let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n"), ("b", "1\n")]);
        let mut attempt = command_agent(&armed(
            &bench,
            &format!(
                "mkdir -p .git/hooks; {trap}\nrm -f {}/sprung; echo 2 > a; echo 3 > c",
                bench.dir.path().display()
            ),
        ));
        attempt.workspace = repo.workspace();
        let ended = bench.execute(&attempt).await;
        let commit = ended.outputs()["commit"].as_str().unwrap().to_owned();
        assert!(!is_sprung(&bench), "{name} sprang at capture");
        let files = repo.files(&commit);
        for file in [("a", "2"), ("b", "1"), ("c", "3")] {
            assert!(files.contains(&(file.0.to_owned(), file.1.to_owned())), "{name}: {files:?}");
        }

        // A later task in that commit, and a merge of it, are no better chances.
        let mut next = script("cat a");
        next.workspace = repo.at(&commit);
        assert_eq!(bench.execute(&next).await.stream(Stream::Stdout), "2\n");
        repo.commit(&[("b", "other\n")]);
        let commits = vec![CapturedCommit { task: "evil".to_owned(), commit }];
        let mut merge = attempt_to_merge(commits);
        merge.workspace = repo.workspace();
        assert_eq!(bench.execute(&merge).await.outputs()["conflicts"], serde_json::json!([]));
        assert!(!is_sprung(&bench), "{name} sprang later");
    }
}

fn attempt_to_merge(commits: Vec<CapturedCommit>) -> jobshop_engine::attempt::Attempt {
    attempt(Work::Merge(MergeWork { into: Some("result".to_owned()), commits }))
}

#[tokio::test]
async fn attributes_change_no_byte() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    let mut attempt = command_agent(
        "printf '* text eol=crlf ident export-subst working-tree-encoding=UTF-16\\n' \
            > .gitattributes; printf 'x\\r\\ny $Id$\\n' > b",
    );
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    let commit = ended.outputs()["commit"].as_str().unwrap().to_owned();
    assert_eq!(repo.git(&["cat-file", "-p", &format!("{commit}:b")]), "x\r\ny $Id$");
    let mut next = script("cat a b");
    next.workspace = repo.at(&commit);
    assert_eq!(bench.execute(&next).await.stream(Stream::Stdout), "1\nx\r\ny $Id$\n");
}

#[tokio::test]
async fn nested_repositories_are_left_alone() {
    let bench = Bench::new();
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n"), ("lib/x", "1\n")]);
    let nested = "mkdir -p evil plain lib/.git; (cd evil; git init -q; arm .git/m\n\
         git config core.fsmonitor \"$PWD/.git/m\"; echo '* filter=evil' > .gitattributes\n\
         git config filter.evil.clean \"$PWD/.git/m\"; echo 1 > f; git add -A\n\
         git -c user.name=A -c user.email=a@b commit -qm evil; echo 2 > f)\n\
         (cd plain; git init -q; echo 1 > f)\n\
         cp -r evil/.git/. lib/.git/; echo 2 > lib/x; echo new > lib/y\n\
         git add evil 2>/dev/null || true";
    let mut attempt = command_agent(&armed(
        &bench,
        &format!("{nested}\nrm -f {}/sprung; echo 2 > a", bench.dir.path().display()),
    ));
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    let commit = ended.outputs()["commit"].as_str().unwrap();
    assert!(!is_sprung(&bench));
    let names = repo.names(commit);
    assert!(names.contains(&"lib/x".to_owned()) && names.contains(&"a".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("evil") || name.starts_with("plain")));
    assert!(ended.stream(Stream::System).contains("not captured: evil/"));
}

#[tokio::test]
async fn a_submodule_stays_as_it_was_and_never_runs() {
    let bench = Bench::new();
    let library = Repo::new(bench.dir.path().join("library"), &[("l", "1\n")]);
    let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
    for name in ["sub", "gone", "filled"] {
        repo.git(&["submodule", "--quiet", "add", &library.url(), name]);
    }
    repo.commit(&[]);
    let mut attempt = command_agent(&armed(
        &bench,
        &format!(
            "git -c protocol.file.allow=always submodule --quiet update --init sub\n\
             cd sub; arm \"$(git rev-parse --absolute-git-dir)/m\"\n\
             git config core.fsmonitor \"$(git rev-parse --absolute-git-dir)/m\"; echo 2 > l; cd ..\n\
             rmdir gone; echo 1 > filled/f; git config submodule.sub.update '!touch sprung'\n\
             printf '[submodule \"sub\"]\\n path = sub\\n url = {}\\n update = !touch {}/sprung\\n' \
                > .gitmodules\n\
             rm -f {}/sprung; echo 2 > a",
            library.url(),
            bench.dir.path().display(),
            bench.dir.path().display(),
        ),
    ));
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    let commit = ended.outputs()["commit"].as_str().unwrap();
    assert!(!is_sprung(&bench));
    let tree = repo.git(&["ls-tree", "-r", "--format=%(objecttype) %(path)", commit]);
    assert_eq!(tree, "blob .gitmodules\nblob a\nblob filled/f\ncommit sub");
    assert_eq!(repo.git(&["rev-parse", &format!("{commit}:sub")]), library.head());
    let mut next = script("cat a; ls -A sub");
    next.workspace = repo.at(commit);
    assert_eq!(bench.execute(&next).await.stream(Stream::Stdout), "2\n");
    assert!(!is_sprung(&bench));
}

#[tokio::test]
async fn links_are_captured_as_links_and_lead_nowhere() {
    let bench = Bench::new();
    let outside = bench.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let files = [("dir/a", "1\n"), ("dir/b", "1\n"), ("file", "1\n")];
    let repo = Repo::new(bench.dir.path().join("repo"), &files);
    let mut attempt = command_agent(&format!(
        "rm -r dir file; ln -s {0} dir; ln -s {0}/secret file; ln -s dir/secret chain\n\
         ln -s . loop; mkdir up; ln -s ../.. up/root",
        outside.display()
    ));
    attempt.workspace = repo.workspace();
    let ended = bench.execute(&attempt).await;
    let commit = ended.outputs()["commit"].as_str().unwrap().to_owned();
    let tree = repo.git(&["ls-tree", "-r", "--format=%(objectmode) %(path)", &commit]);
    assert_eq!(tree, "120000 chain\n120000 dir\n120000 file\n120000 loop\n120000 up/root");
    assert_eq!(
        repo.git(&["cat-file", "-p", &format!("{commit}:dir")]),
        outside.display().to_string()
    );
    // The next agent writes where the link was; removing the workspace removes the link only.
    let mut next = command_agent("rm dir; mkdir dir; echo 3 > dir/secret");
    next.workspace = repo.at(&commit);
    let ended = bench.execute(&next).await;
    assert!(repo.names(ended.outputs()["commit"].as_str().unwrap()).contains(&"dir/secret".into()));
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}

#[tokio::test]
async fn a_clone_without_a_trustworthy_git_folder_is_captured_all_the_same() {
    for vandalism in [
        "rm -rf .git",
        "rm -rf .git; echo 'gitdir: /nonexistent' > .git",
        "rm -rf .git; ln -s /etc .git",
        "echo garbage > .git/config; echo garbage > .git/index; echo /x > .git/objects/info/alternates",
        "git config core.worktree /etc; git config core.bare true; git config core.sparseCheckout true",
        "git update-index --assume-unchanged a; git update-index --skip-worktree a; echo a > .git/info/exclude",
        "mkdir ../git; cp -r .git/. ../git; git --git-dir=../git config core.worktree /etc",
    ] {
        let bench = Bench::new();
        let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
        let mut attempt = command_agent(&format!("{vandalism}\necho 2 > a; echo 3 > b"));
        attempt.workspace = repo.workspace();
        let ended = bench.execute(&attempt).await;
        let commit = ended.outputs()["commit"].as_str().unwrap();
        let files = [("a", "2"), ("b", "3")].map(|(name, text)| (name.into(), text.into()));
        assert_eq!(repo.files(commit), files, "{vandalism}");
    }
}

#[tokio::test]
async fn a_workspace_that_became_something_else_is_not_captured() {
    for vandalism in ["cd ..; rm -rf work; ln -s /etc work", "cd ..; rm -rf work; echo > work"] {
        let bench = Bench::new();
        let repo = Repo::new(bench.dir.path().join("repo"), &[("a", "1\n")]);
        let mut attempt = command_agent(vandalism);
        attempt.workspace = repo.workspace();
        let ended = bench.execute(&attempt).await;
        assert!(ended.failure(ErrorClass::Error).contains("no longer a directory"));
    }
    assert!(fs::metadata("/etc").unwrap().permissions().mode() & 0o777 >= 0o755);
}
