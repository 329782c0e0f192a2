//! The walls around what agents start: bubblewrap, in which a process sees no other process, a root it
//! cannot write to, and of this machine's private places nothing. Only its workspace, its outputs, a
//! home and a place for temporary files are its own. It does not know who is put behind them.
//!
//! The network is shared unless the operator says otherwise: agents have to reach their models.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use anyhow::Context as _;

/// Whether processes are put into a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody is.
    #[default]
    Off,
    /// Agents are, with what verifies them; where there is no sandbox they are refused.
    Auto,
    /// Every command is.
    Require,
}

/// What the operator says about sandboxes.
#[derive(Debug, Clone, Default)]
pub struct SandboxConfig {
    pub mode: Mode,
    /// No network but a loopback of its own.
    pub is_offline: bool,
    /// Files and folders that stay visible in hidden places, to be read.
    pub read: Vec<PathBuf>,
    /// Files and folders that are hidden besides the usual ones.
    pub hide: Vec<PathBuf>,
}

/// What one attempt may see and change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    /// To be read as a whole.
    pub(crate) directory: PathBuf,
    /// In it, to be changed.
    pub(crate) own: Vec<PathBuf>,
    /// Outside of it, to be read.
    pub(crate) read: Vec<PathBuf>,
    pub(crate) home: PathBuf,
}

/// The sandboxes of one executor; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    config: Arc<SandboxConfig>,
    data_dir: PathBuf,
    /// The home of the user that the worker runs as.
    home: Option<PathBuf>,
    /// By workspace.
    cells: Arc<Mutex<HashMap<String, Cell>>>,
    /// Why there is none.
    fault: Arc<OnceLock<Option<String>>>,
}

/// Places that hold what others must not read, whoever the worker runs as.
const HIDDEN_DIRS: [&str; 10] = [
    "/var/tmp",
    "/root",
    "/home",
    "/run",
    "/var/run",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/postgresql",
    "/var/lib/jobshop",
];
const HIDDEN_FILES: [&str; 7] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
];
/// In hidden places, but harmless and needed: how names are resolved.
const RESOLVERS: [&str; 3] =
    ["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf"];
/// Below the home: where tools are installed.
const TOOLS: [&str; 16] = [
    ".cargo/bin",
    ".rustup",
    ".local/bin",
    ".local/lib",
    ".local/share/claude",
    ".local/share/pnpm",
    ".local/share/uv",
    ".local/share/mise",
    ".opencode/bin",
    ".nvm",
    ".volta",
    ".bun/bin",
    ".deno/bin",
    ".pyenv",
    ".asdf",
    "go/bin",
];
/// What programs may keep in `/tmp`, in memory; `$TMPDIR` is on disk.
const TMP_BYTES: &str = "1073741824";

impl Sandbox {
    pub(crate) fn new(config: SandboxConfig, data_dir: &Path) -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let home = home.and_then(|home| home.canonicalize().ok());
        Self {
            config: Arc::new(config),
            data_dir: data_dir.to_owned(),
            home: home.filter(|home| home.parent().is_some()),
            cells: Arc::default(),
            fault: Arc::default(),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.config.mode
    }

    /// Why nothing can be put into a sandbox here. Tried once; it takes a moment.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.get_or_init(try_out).as_deref()
    }

    /// From now on whatever starts in this workspace is put into this cell.
    pub(crate) fn confine(&self, workspace: &Path, cell: Cell) {
        self.cells().insert(workspace.display().to_string(), cell);
    }

    /// No cell lies in this directory any longer.
    pub(crate) fn forget(&self, directory: &Path) {
        self.cells().retain(|_, cell| cell.directory != directory);
    }

    /// The arguments that execute `argv` in the cell of its workspace; `None` where it has none.
    pub(crate) fn wrap(
        &self,
        workspace: Option<&str>,
        argv: &[String],
        dir: &Path,
    ) -> anyhow::Result<Option<Vec<OsString>>> {
        let cell = workspace.and_then(|workspace| self.cells().get(workspace).cloned());
        let Some(cell) = cell else {
            anyhow::ensure!(self.config.mode != Mode::Require, "it would run without a sandbox");
            return Ok(None);
        };
        let mut wall = Wall::new(self.config.is_offline);
        let home = self.home.as_deref();
        for place in HIDDEN_DIRS.iter().map(Path::new).filter(|place| Some(*place) != home) {
            wall.hide(place);
        }
        for file in HIDDEN_FILES {
            wall.hide(Path::new(file));
        }
        for place in RESOLVERS {
            wall.read(Path::new(place));
        }
        self.furnish(&mut wall, &cell)?;
        self.show(&mut wall, argv.first());
        wall.hide(&self.data_dir);
        for place in &self.config.hide {
            wall.hide(place);
        }
        // Installed there, as `make setup-agents` does where this is the usual data directory.
        wall.read(&self.data_dir.join("agents"));
        for place in cell.read.iter().filter(|place| !self.is_around_secrets(place)) {
            wall.read(place);
        }
        wall.read(&cell.directory);
        for place in cell.own.iter().chain([&cell.home]) {
            wall.own(place, place);
        }
        Ok(Some(wall.around(dir, argv)))
    }

    /// The cell's home in the place of the user's, with the tools that are installed there.
    fn furnish(&self, wall: &mut Wall, cell: &Cell) -> anyhow::Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        fs::create_dir_all(&cell.home).context("making a home")?;
        wall.own(&cell.home, home);
        for tool in TOOLS {
            wall.read(&home.join(tool));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        for place in std::env::split_paths(&path).filter(|place| place.starts_with(home)) {
            if place != *home {
                wall.read(&place);
            }
        }
        Ok(())
    }

    /// What the operator shows, and a program that was named by its path.
    fn show(&self, wall: &mut Wall, program: Option<&String>) {
        for place in &self.config.read {
            wall.read(place);
        }
        if let Some(program) = program.map(Path::new).filter(|it| it.is_absolute() && it.is_file())
        {
            wall.read(program);
        }
    }

    /// Whether showing this place would show the home or the data directory.
    fn is_around_secrets(&self, place: &Path) -> bool {
        self.data_dir.starts_with(place)
            || self.home.as_ref().is_some_and(|home| home.starts_with(place))
    }

    fn cells(&self) -> MutexGuard<'_, HashMap<String, Cell>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The arguments of bubblewrap as they grow; later ones lie over earlier ones.
struct Wall {
    args: Vec<OsString>,
    /// Empty folders in the place of others; nothing may be left in them.
    hidden: Vec<PathBuf>,
}

impl Wall {
    fn new(is_offline: bool) -> Self {
        let mut wall = Self { args: vec!["bwrap".into()], hidden: Vec::new() };
        wall.say(["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
        wall.say(["--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
        if is_offline {
            wall.say(["--unshare-net"]);
        }
        wall.say(["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]);
        // Its own processes, but the settings of a kernel that is everybody's: they ask who owns a
        // file and not what it may do.
        wall.say(["--ro-bind", "/proc/sys", "/proc/sys"]);
        wall.say(["--ro-bind-try", "/proc/sysrq-trigger", "/proc/sysrq-trigger"]);
        wall.say(["--size", TMP_BYTES, "--tmpfs", "/tmp"]);
        wall
    }

    fn say<const N: usize>(&mut self, args: [&str; N]) {
        self.args.extend(args.map(OsString::from));
    }

    fn place(&mut self, how: &str, from: &Path, to: &Path) {
        self.args.extend([OsStr::new(how), from.as_os_str(), to.as_os_str()].map(OsString::from));
    }

    /// Nothing of it can be seen. What is not there needs no hiding; what is a link is hidden where it
    /// leads.
    fn hide(&mut self, place: &Path) {
        match fs::symlink_metadata(place) {
            Ok(found) if found.is_dir() => {
                self.args.extend([OsStr::new("--tmpfs"), place.as_os_str()].map(OsString::from));
                self.hidden.push(place.to_owned());
            }
            Ok(found) if found.is_file() => self.place("--ro-bind", Path::new("/dev/null"), place),
            Ok(_) | Err(_) => {}
        }
    }

    fn read(&mut self, place: &Path) {
        self.place("--ro-bind-try", place, place);
    }

    fn own(&mut self, from: &Path, to: &Path) {
        self.place("--bind", from, to);
    }

    fn around(mut self, dir: &Path, argv: &[String]) -> Vec<OsString> {
        for place in &self.hidden {
            let place = [OsStr::new("--remount-ro"), place.as_os_str()];
            self.args.extend(place.map(OsString::from));
        }
        self.args.extend([OsStr::new("--chdir"), dir.as_os_str()].map(OsString::from));
        self.say(["--"]);
        self.args.extend(argv.iter().map(OsString::from));
        self.args
    }
}

/// Why nothing can be put into a sandbox on this machine; `None` where it can.
pub fn try_out() -> Option<String> {
    let mut wall = Wall::new(false).around(Path::new("/"), &["true".to_owned()]);
    let program = wall.remove(0);
    let tried = Command::new(program).args(wall).stdin(Stdio::null()).output();
    match tried {
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(format!(
            "bubblewrap does not work here: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        )),
        Err(error) => Some(format!("bubblewrap (`bwrap`) cannot be started: {error}")),
    }
}
