//! The coding agents on this machine: where their programs are, and whose settings they get. It starts
//! none of them.

use std::path::{Path, PathBuf};

use jobshop_workers::execute::Opencode;

use crate::app::App;
use crate::data_dir::DataDir;

/// The folder below a data directory into which `make setup-agents` puts agents.
const FOLDER: &str = "agents";

/// The opencode of this machine, with the settings and logins of whoever runs this process.
pub fn opencode(app: &App) -> Option<Opencode> {
    let values = &app.config.values;
    let program = program("opencode", values.opencode_bin.as_deref(), &folders(app))?;
    let user = |variable: &str, default: &str| {
        let named = std::env::var_os(variable).map(PathBuf::from).filter(|it| it.is_absolute());
        named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(default)))
    };
    let own = user("XDG_CONFIG_HOME", ".config").and_then(|folder| {
        let names =
            ["opencode.json", "opencode.jsonc"].map(|name| folder.join("opencode").join(name));
        names.into_iter().find(|path| path.is_file())
    });
    let auth = user("XDG_DATA_HOME", ".local/share").map(|it| it.join("opencode/auth.json"));
    Some(Opencode {
        program,
        config: values.opencode_config.clone().or(own),
        auth: auth.filter(|path| path.is_file()),
    })
}

/// Where agents may have been installed for Jobshop: this data directory, and the usual one.
fn folders(app: &App) -> Vec<PathBuf> {
    let usual = DataDir::resolve().ok();
    let all = [app.data_dir().ok(), usual].into_iter().flatten();
    all.map(|dir| dir.path().join(FOLDER).join("bin")).collect()
}

/// The named program, else the one on the path, else one that was installed for Jobshop.
fn program(name: &str, named: Option<&Path>, folders: &[PathBuf]) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    path.iter().chain(folders).map(|folder| folder.join(name)).find(|it| it.is_file())
}

/// The folder in which agents were installed for Jobshop, if they were anywhere.
pub fn folder(app: &App) -> Option<PathBuf> {
    let found = folders(app).into_iter().find(|folder| folder.is_dir())?;
    found.parent().map(Path::to_owned)
}

/// Whether an agent is on the path, or installed for Jobshop.
pub fn is_there(app: &App, name: &str) -> bool {
    program(name, None, &folders(app)).is_some()
}
