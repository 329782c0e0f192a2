//! Agents that lay traps in their trees and clones: nothing of them runs in our process, and what
//! is captured is the files. Each trap would create the file `sprung`, and the first test shows
//! that they work on a git that is called carelessly.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use jobshop_engine::{
    attempt::{Attempt, CapturedCommit, MergeWork, Work},
    outcome::ErrorClass,
};
use jobshop_workers::execute::log::Stream;
use serde_json::json;

use crate::{
    agent::command_agent,
    git::Repo,
    support::{Bench, attempt, script},
};

/// Traps by name; each is bash that uses `arm FILE`, which writes a program that springs.
const TRAPS: [(&str, &str); 5] = [
    (
        "hooks",
        "for hook in applypatch-msg pre-commit prepare-commit-msg commit-msg post-commit \
             pre-rebase post-checkout post-merge pre-push pre-receive update post-receive \
             reference-transaction post-index-change fsmonitor-watchman; do\n\
         arm .git/hooks/$hook; done; mkdir evil; cp .git/hooks/* evil\n\
         git config core.hooksPath evil",
    ),
    (
        "fsmonitor",
        "arm .git/monitor; git config core.fsmonitor \"$PWD/.git/monitor\"\n\
         git update-index --fsmonitor",
    ),
    (
        "filters",
        "arm .git/filter; for key in clean smudge process; do\n\
         git config filter.evil.$key \"$PWD/.git/filter\"; done\n\
         git config filter.evil.required true; git config diff.external \"$PWD/.git/filter\"\n\
         git config diff.evil.textconv \"$PWD/.git/filter\"\n\
         git config diff.evil.command \"$PWD/.git/filter\"\n\
         git config merge.evil.driver \"$PWD/.git/filter %A\"\n\
         echo '* filter=evil diff=evil merge=evil' > .gitattributes\n\
         cp .gitattributes .git/info/attributes",
    ),
    (
        "nested repositories",
        "mkdir -p evil plain lib; (cd evil; git init -q; arm .git/m; echo 1 > f\n\
         git add -A; git -c user.name=A -c user.email=a@b commit -qm evil; echo 2 > f\n\
         echo '* filter=evil' > .gitattributes; git config core.fsmonitor \"$PWD/.git/m\"\n\
         git config filter.evil.clean \"$PWD/.git/m\")\n\
         (cd plain; git init -q; echo 1 > f); echo 2 > lib/x; echo 2 > lib/y\n\
         git add -A -- evil 2> /dev/null; cp -r evil/.git lib/.git",
    ),
    (
        "submodules",
        "git -c protocol.file.allow=always submodule --quiet update --init sub\n\
         (cd sub; git_dir=$(git rev-parse --absolute-git-dir); arm $git_dir/m\n\
         git config core.fsmonitor $git_dir/m; echo 2 > l)\n\
         git config submodule.sub.update '!touch SPRUNG'\n\
         printf '[submodule \"sub\"]\\n path = sub\\n url = .\\n update = !touch SPRUNG\\n' \
             > .gitmodules\n\
         rmdir gone; echo 1 > filled/f",
    ),
];

const SUBMODULES: [&str; 3] = ["sub", "gone", "filled"];

/// A repository with something for every trap.
fn victim(bench: &Bench) -> Repo {
    let library = Repo::new(bench.dir.path().join("library"), &[("l", "1\n")]);
    let head = library.head();
    let submodules: String = SUBMODULES
        .map(|it| format!("[submodule \"{it}\"]\n path = {it}\n url = {}\n", library.url()))
        .concat();
    let files = [("a", "1\n"), ("b", "1\n"), ("lib/x", "1\n"), (".gitmodules", &submodules)];
    let repo = Repo::new(bench.dir.path().join("repo"), &files);
    let [sub, gone, filled] = SUBMODULES.map(|it| format!("160000,{head},{it}"));
    let put = ["update-index", "--add", "--cacheinfo", &sub, "--cacheinfo", &gone];
    repo.git(&[&put[..], &["--cacheinfo", &filled]].concat());
    for name in SUBMODULES {
        fs::create_dir(repo.path.join(name)).unwrap();
    }
    repo.git(&["commit", "--quiet", "-m", "submodules"]);
    repo
}

/// An agent that lays a trap in its clone, then does `work`.
fn trapper(bench: &Bench, repo: &Repo, trap: &str, work: &str) -> Attempt {
    let sprung = bench.dir.path().join("sprung").display().to_string();
    let text = format!(
        "arm() {{ printf '#!/bin/sh\\ntouch SPRUNG\\ncat\\n' > \"$1\"; chmod +x \"$1\"; }}\n\
         export GIT_CONFIG_GLOBAL=/dev/null\n\
         git config user.name A; git config user.email a@example.org\n\
         {trap}\nrm -f SPRUNG; {work}"
    );
    let mut attempt = command_agent(&text.replace("SPRUNG", &sprung));
    attempt.workspace = repo.workspace();
    attempt
}

fn is_sprung(bench: &Bench) -> bool {
    fs::exists(bench.dir.path().join("sprung")).unwrap()
}

#[tokio::test]
async fn the_traps_work_on_a_careless_git() {
    for (name, trap) in TRAPS {
        let bench = Bench::with(|config| config.keep_failed = true);
        let repo = victim(&bench);
        let attempt = trapper(&bench, &repo, trap, "echo 2 > a; pwd; exit 1");
        let ended = bench.execute(&attempt).await;
        ended.failure(ErrorClass::Error);
        // Back to where its own configuration says it is.
        let clone = PathBuf::from(ended.stream(Stream::Stdout).trim_end());
        let said = ended.stream(Stream::System);
        let kept = said.lines().find_map(|line| line.strip_prefix("kept in ")).unwrap();
        fs::create_dir_all(clone.parent().unwrap()).unwrap();
        fs::rename(Path::new(kept).join("work"), &clone).unwrap();
        for args in [&["add", "--all"][..], &["commit", "--quiet", "-m", "careless"]] {
            let mut git = std::process::Command::new("git");
            git.args(args).current_dir(&clone).output().unwrap();
        }
        assert!(is_sprung(&bench), "{name} do not spring");
    }
}

#[tokio::test]
async fn nothing_of_an_agents_clone_runs_when_it_is_captured() {
    for (name, trap) in TRAPS {
        let bench = Bench::new();
        let repo = victim(&bench);
        let trapped = trapper(&bench, &repo, trap, "echo 2 > a; echo 3 > c");
        let ended = bench.execute(&trapped).await;
        let commit = ended.outputs()["commit"].as_str().unwrap().to_owned();
        assert!(!is_sprung(&bench), "{name} sprang at capture");
        for (path, text) in [("a", "2"), ("b", "1"), ("c", "3")] {
            assert_eq!(repo.git(&["cat-file", "-p", &format!("{commit}:{path}")]), text, "{name}");
        }

        // A later task in that commit, and a merge of it, are no better chances.
        let mut next = script("cat a");
        next.workspace = repo.at(&commit);
        assert_eq!(bench.execute(&next).await.stream(Stream::Stdout), "2\n");
        repo.commit(&[("b", "other\n")]);
        let commits = vec![CapturedCommit { task: "evil".to_owned(), commit }];
        let into = Some("result".to_owned());
        let mut merge = attempt(Work::Merge(MergeWork { check: Vec::new(), into, commits }));
        merge.workspace = repo.workspace();
        assert_eq!(bench.execute(&merge).await.outputs()["conflicts"], json!([]));
        assert!(!is_sprung(&bench), "{name} sprang later");
    }
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
    let repo = victim(&bench);
    let ended = bench.execute(&trapper(&bench, &repo, TRAPS[3].1, "echo 2 > a")).await;
    let names = repo.tree(ended.outputs()["commit"].as_str().unwrap(), "%(objecttype) %(path)");
    let expected =
        "blob .gitmodules|blob a|blob b|commit filled|commit gone|blob lib/x|blob lib/y|commit sub";
    assert_eq!(names, expected.split('|').collect::<Vec<_>>());
    assert!(ended.stream(Stream::System).contains("not captured: evil/ is a repository"));
}

#[tokio::test]
async fn a_submodule_stays_as_it_was() {
    let bench = Bench::new();
    let repo = victim(&bench);
    let ended = bench.execute(&trapper(&bench, &repo, TRAPS[4].1, "echo 2 > a")).await;
    let commit = ended.outputs()["commit"].as_str().unwrap();
    let names = repo.tree(commit, "%(objecttype) %(path)");
    let expected = "blob .gitmodules|blob a|blob b|blob filled/f|blob lib/x|commit sub";
    assert_eq!(names, expected.split('|').collect::<Vec<_>>());
    assert_eq!(
        repo.git(&["rev-parse", &format!("{commit}:sub")]),
        repo.git(&["rev-parse", "main:sub"])
    );
    let mut next = script("cat a; ls -A sub");
    next.workspace = repo.at(commit);
    assert_eq!(bench.execute(&next).await.stream(Stream::Stdout), "2\n");
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
    let tree = repo.tree(&commit, "%(objectmode) %(path)");
    assert_eq!(
        tree,
        ["120000 chain", "120000 dir", "120000 file", "120000 loop", "120000 up/root"]
    );
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
