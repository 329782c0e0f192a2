//! Escapes from the sandbox: each attempt is one an agent could make, in a table, and every one of
//! them comes to nothing. What is attempted prints `escaped` where it works.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use jobshop_engine::{
    attempt::{Attempt, Work},
    plan::{Command as Run, Verify},
};
use jobshop_workers::execute::{Mode, SandboxConfig, log::Stream};
use nix::unistd::Pid;

use crate::{
    agent::command_agent,
    git::Repo,
    support::{Bench, runs, script, span},
};

const SECRET: &str = "the-secret-of-the-worker";
/// The seconds of a sleep that nothing else sleeps.
const MARK: &str = "86399.25";

/// Bash that prints `escaped` when it got out. `$OUT` is a folder outside, `$DATA` the data directory,
/// `$REPO` the repository, `$OTHER` the workspace of another attempt, `$VICTIM` a process outside,
/// `$WORKER` the worker.
const ESCAPES: [(&str, &str); 32] = [
    ("write a file outside", "echo x > $OUT/new && echo escaped"),
    ("change a file outside", "echo x >> $OUT/canary && echo escaped"),
    ("remove a file outside", "rm $OUT/canary && echo escaped"),
    ("rename a folder outside", "mv $OUT $OUT.gone && echo escaped"),
    ("write to the system", "touch /usr/x || touch /etc/x || touch /x && echo escaped"),
    ("write a hook of the repository", "echo x > $REPO/.git/hooks/post-commit && echo escaped"),
    (
        "move a branch of the repository",
        "git push -q origin HEAD:refs/heads/stolen && echo escaped",
    ),
    ("change the cache of clones", "touch $(cat .git/objects/info/alternates)/x && echo escaped"),
    ("read the token of the server", "cat $DATA/server.json && echo escaped"),
    (
        "write to the data directory",
        "mkdir -p $DATA/groups && echo x > $DATA/groups/1 && echo escaped",
    ),
    ("read the workspace of another attempt", "cat $OTHER/secret && echo escaped"),
    ("write to the workspace of another attempt", "echo x > $OTHER/new && echo escaped"),
    (
        "borrow objects of another repository",
        "echo $DATA/clones/other/objects >> .git/objects/info/alternates; git cat-file -p \"$OTHER_COMMIT\" && echo escaped",
    ),
    ("kill a process", "kill -9 $VICTIM && echo escaped"),
    ("kill the worker", "kill -9 $WORKER && echo escaped"),
    ("kill everything", "kill -9 -1; echo still here"),
    ("read the environment of the worker", "cat /proc/$WORKER/environ && echo escaped"),
    ("look into another process", "cat /proc/$VICTIM/maps /proc/$VICTIM/cmdline && echo escaped"),
    (
        "go around by the root of a process",
        "for p in /proc/[0-9]*; do cat $p/root$DATA/server.json && echo escaped; done",
    ),
    ("leave a daemon", "setsid -f sleep 86399.25 > /dev/null 2>&1"),
    (
        "leave a daemon without a trace",
        "(cd /; env -i setsid bash -c 'trap \"\" TERM HUP; sleep 86399.25 &' > /dev/null 2>&1 &)",
    ),
    ("follow a link outside", "ln -s $DATA/server.json link; cat link && echo escaped; rm link"),
    ("write through a link", "ln -s $OUT/canary link; echo x >> link && echo escaped; rm link"),
    ("make the root writable", "mount -o remount,rw / && touch /x && echo escaped"),
    (
        "mount what is hidden",
        "mount --bind / /tmp && echo escaped; unshare -Urm mount -o remount,rw,bind / && echo escaped",
    ),
    ("unmount what hides", "umount $DATA && cat $DATA/server.json && echo escaped"),
    (
        "change the kernel",
        "echo x > /proc/sys/kernel/hostname && echo escaped; echo h > /proc/sysrq-trigger && echo escaped",
    ),
    (
        "reach a device",
        "mknod disk b 8 0 && head -c1 disk && echo escaped; head -c1 /dev/mem && echo escaped; head -c1 /dev/sda && echo escaped",
    ),
    (
        "gain rights",
        "grep -q '^NoNewPrivs:.*1' /proc/self/status || echo escaped; grep -q '^CapEff:.*[1-9a-f]' /proc/self/status && echo escaped",
    ),
    ("read the passwords", "test -s /etc/shadow && cat /etc/shadow && echo escaped"),
    ("find the sockets of other programs", "find /run /var/run/ -type s | grep . && echo escaped"),
    (
        "leave something at home",
        "echo x > $HOME/.jobshop-was-here && ls -A $HOME | grep -q ssh && echo escaped",
    ),
];

/// A worker with a sandbox, and what there is to steal around it.
struct Prison {
    bench: Bench,
    repo: Repo,
    out: PathBuf,
    victim: Child,
    other_commit: String,
}

impl Prison {
    /// Not in `/tmp`: that is hidden anyway.
    fn new(change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (data, out) = (root.path().join("data"), root.path().join("out"));
        let repo = Repo::new(root.path().join("repo"), &[("a", "1")]);
        let other = Repo::new(data.join("clones/taken"), &[("secret", SECRET)]);
        let other_commit = other.head();
        fs::rename(data.join("clones/taken/.git"), data.join("clones/other")).unwrap();
        let mut sandbox = SandboxConfig { mode: Mode::Auto, ..SandboxConfig::default() };
        change(&mut sandbox);
        let bench = Bench::at(root, |config| config.sandbox = sandbox);
        fs::write(data.join("server.json"), SECRET).unwrap();
        fs::create_dir_all(data.join("workspaces/other/1/1/work")).unwrap();
        fs::write(data.join("workspaces/other/1/1/work/secret"), SECRET).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(out.join("canary"), "alive\n").unwrap();
        let victim = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        Self { bench, repo, out, victim, other_commit }
    }

    fn prisoner(&self, escape: &str) -> Attempt {
        let mut attempt = command_agent(&format!("set +e\n{escape}\necho over >> done\nexit 0"));
        attempt.workspace = self.repo.workspace();
        let data = self.bench.dir.path().join("data");
        let other = data.join("workspaces/other/1/1/work");
        let (victim, worker) = (self.victim.id(), std::process::id());
        attempt.env = [
            ("OUT", self.out.display().to_string()),
            ("DATA", data.display().to_string()),
            ("REPO", self.repo.url()),
            ("OTHER", other.display().to_string()),
            ("OTHER_COMMIT", self.other_commit.clone()),
            ("VICTIM", victim.to_string()),
            ("WORKER", worker.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        attempt
    }

    /// What is outside is as it was.
    fn is_whole(&mut self, name: &str) {
        assert_eq!(fs::read_to_string(self.out.join("canary")).unwrap(), "alive\n", "{name}");
        assert_eq!(fs::read_dir(&self.out).unwrap().count(), 1, "{name}");
        assert!(self.victim.try_wait().unwrap().is_none(), "{name}");
        assert!(!self.repo.path.join(".git/hooks/post-commit").exists(), "{name}");
        assert!(!self.repo.git(&["branch", "--list"]).contains("stolen"), "{name}");
        let data = self.bench.dir.path().join("data");
        let other = data.join("workspaces/other/1/1/work");
        assert_eq!(fs::read_dir(other).unwrap().count(), 1, "{name}");
        assert!(!data.join("groups/1").exists(), "{name}");
        for place in ["/x", "/usr/x", "/etc/x"] {
            assert!(!Path::new(place).exists(), "{name}");
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        assert!(!home.join(".jobshop-was-here").exists(), "{name}");
        assert_eq!(marked(), Vec::<Pid>::new(), "{name}");
    }
}

impl Drop for Prison {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// Processes that sleep as long as nobody else.
fn marked() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_marked = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == MARK.as_bytes()))
    };
    pids.filter(is_marked).map(Pid::from_raw).filter(|pid| runs(*pid)).collect()
}

#[tokio::test]
async fn no_escape_comes_to_anything() {
    let mut prison = Prison::new(|_| {});
    for (name, escape) in ESCAPES {
        let ended = prison.bench.execute(&prison.prisoner(escape)).await;
        let printed = ended.stream(Stream::Stdout);
        assert!(!printed.contains("escaped"), "{name}: {}", ended.text());
        assert!(!ended.text().contains(SECRET), "{name}: {}", ended.text());
        if name != "kill everything" {
            let commit = ended.outputs()["commit"].as_str().unwrap();
            assert_eq!(prison.repo.names(commit), ["a", "done"], "{name}: {}", ended.text());
        }
        prison.is_whole(name);
    }
}

#[tokio::test]
async fn outputs_that_are_a_link_give_nothing_away() {
    let mut prison = Prison::new(|_| {});
    for link in ["ln -sf $DATA/server.json $JOBSHOP_OUTPUT", "cd ..; rm -r out; ln -s $DATA out"] {
        let ended = prison.bench.execute(&prison.prisoner(link)).await;
        assert!(!format!("{:?}", ended.outcome).contains(SECRET), "{link}");
        prison.is_whole(link);
    }
}

#[tokio::test]
async fn traps_in_the_clone_spring_nowhere_but_inside() {
    let mut prison = Prison::new(|_| {});
    let trap = "printf '#!/bin/bash\\necho x > %s/sprung\\n' $OUT > .git/trap; chmod +x .git/trap\n\
        git config core.fsmonitor $PWD/.git/trap; git config core.hooksPath $PWD/.git/hooks\n\
        mkdir -p .git/hooks; for h in pre-commit post-checkout reference-transaction; do cp .git/trap .git/hooks/$h; done\n\
        git status > /dev/null";
    let ended = prison.bench.execute(&prison.prisoner(trap)).await;
    assert!(ended.outputs()["commit"].is_string());
    prison.is_whole("traps");
}

#[tokio::test]
async fn without_a_network_nothing_is_reached() {
    let mut prison = Prison::new(|sandbox| sandbox.is_offline = true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for (name, place) in
        [("metadata", "169.254.169.254/80".to_owned()), ("worker", format!("127.0.0.1/{port}"))]
    {
        let escape = format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{place}' && echo escaped");
        let ended = prison.bench.execute(&prison.prisoner(&escape)).await;
        assert!(!ended.stream(Stream::Stdout).contains("escaped"), "{name}");
        prison.is_whole(name);
    }
}

#[tokio::test]
async fn what_is_verified_is_confined_like_the_agent() {
    let mut prison = Prison::new(|_| {});
    let mut attempt = prison.prisoner("true");
    let check = "if cat $DATA/server.json || echo x > $OUT/new; then echo escaped; fi; touch built";
    let commands = vec![Run::Script(check.to_owned())];
    attempt.expected.verify = Some(Verify { commands, max_rounds: 0, resume_session: false });
    let ended = prison.bench.execute(&attempt).await;
    assert!(ended.outputs()["commit"].is_string());
    assert!(!ended.text().contains("escaped") && !ended.text().contains(SECRET));
    prison.is_whole("verify");
}

#[tokio::test]
async fn a_prisoner_has_what_it_needs_and_is_told_to_stop() {
    let prison = Prison::new(|_| {});
    let needs = "test $(id -u) = $UID && echo x > $TMPDIR/t && echo x > /tmp/t && echo x > $HOME/h\n\
        git status > /dev/null && git log -1 --format=%s && git add -A\n\
        git -c user.name=A -c user.email=a@b commit -qm own --allow-empty && cat $JOBSHOP_PROMPT_FILE\n\
        echo n=1 > t.tmp; mv t.tmp $JOBSHOP_OUTPUT; test $(ls -d /proc/[0-9]* | wc -l) -lt 10 && echo alone";
    let ended = prison.bench.execute(&prison.prisoner(needs)).await;
    assert_eq!(ended.outputs()["n"], "1", "{}", ended.text());
    assert_eq!(ended.stream(Stream::Stdout), "by hand\ndo italone\n");
    let mut slow =
        prison.prisoner("trap 'echo told; exit 0' TERM; echo ready; sleep 86399.25 & wait");
    slow.timeout = Some(span("1s"));
    let ended = prison.bench.execute(&slow).await;
    assert!(ended.text().contains("told"), "{}", ended.text());
    assert_eq!(marked(), Vec::<Pid>::new());
}

#[tokio::test]
async fn who_is_confined_is_the_operators_to_say() {
    let look = "echo x > $OUT/new 2> /dev/null && echo outside";
    for (mode, agent, command) in
        [(Mode::Off, true, true), (Mode::Auto, false, true), (Mode::Require, false, false)]
    {
        let prison = Prison::new(|sandbox| sandbox.mode = mode);
        let ended = prison.bench.execute(&prison.prisoner(look)).await;
        assert_eq!(ended.text().contains("outside"), agent, "{mode:?}");
        let mut attempt = script(&format!("{look} || true"));
        attempt.env = prison.prisoner("").env;
        let ended = prison.bench.execute(&attempt).await;
        assert_eq!(ended.text().contains("outside"), command, "{mode:?}");
    }
}

#[tokio::test]
async fn an_agent_that_is_installed_in_the_data_directory_starts() {
    let prison = Prison::new(|_| {});
    let folder = prison.bench.dir.path().join("data/agents/bin");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("agent");
    fs::write(&program, "#!/bin/sh\necho started; cat $DATA/server.json\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut attempt = prison.prisoner("");
    let Work::Agent(agent) = &mut attempt.work else { panic!("it is an agent") };
    agent.command = Some([program.display().to_string()].into());
    let ended = prison.bench.execute(&attempt).await;
    assert!(ended.text().contains("started"), "{}", ended.text());
    assert!(!ended.text().contains(SECRET), "{}", ended.text());
}
