//! The settings of this process: flags, then variables, then `jobshop.toml`, then defaults, each
//! with where it came from. It does not know what the settings do.

mod checks;
mod settings;
mod sources;

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use jobshop_engine::duration::Span;
use jobshop_engine::plan::SessionType;
use jobshop_engine::routing::{AgentType, Complexity};
use jobshop_engine::size::Size;
use secrecy::SecretString;
use serde::Deserialize;

use crate::exit::Failure;

pub use settings::{SETTINGS, Setting};
pub use sources::Flags;

/// The name of the file with settings, in the current folder and in the user's.
const FILE: &str = "jobshop.toml";

/// Every setting with its value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    pub data_dir: Option<PathBuf>,
    pub listen: SocketAddr,
    pub server: Option<String>,
    pub token: Option<SecretString>,
    pub database_url: Option<SecretString>,
    pub database_direct_url: Option<SecretString>,
    pub database_connections: u32,
    pub statement_cache: u32,
    pub concurrency: Option<u32>,
    pub capabilities: Option<Vec<String>>,
    pub worker_name: Option<String>,
    pub agent_type: Option<AgentType>,
    pub agent_technologies: Vec<String>,
    pub agent_avoids: Vec<String>,
    pub agent_complexity: Complexity,
    pub agent_session_types: Vec<SessionType>,
    pub agent_labels: Vec<String>,
    pub routing_weights: Vec<String>,
    pub agent_command: Option<String>,
    pub agent_script: Option<PathBuf>,
    pub opencode_bin: Option<PathBuf>,
    pub provider_account: String,
    pub opencode_config: Option<PathBuf>,
    pub pass_env: Vec<String>,
    pub http_allow: Vec<String>,
    pub sandbox: Sandbox,
    pub sandbox_network: SandboxNetwork,
    pub sandbox_read: Vec<PathBuf>,
    pub sandbox_hide: Vec<PathBuf>,
    pub lease: Span,
    pub grace: Span,
    pub question_hold: Span,
    pub retention: Option<Span>,
    pub archive: Option<String>,
    pub artifacts: Option<String>,
    pub artifacts_max: Size,
    pub keep_workspaces: KeepWorkspaces,
    pub workspace_quota: Option<Size>,
    pub log: Option<String>,
    pub log_format: LogFormat,
}

/// Which workspaces stay when their attempts end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepWorkspaces {
    None,
    Failed,
}

/// Who is put into a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    Off,
    Auto,
    Require,
}

/// What is reached from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxNetwork {
    Host,
    None,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// A setting as a person may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub setting: &'static Setting,
    pub value: Option<String>,
    /// The flag, variable or file that said so, or `default`.
    pub origin: Option<String>,
}

/// The settings and where each came from.
#[derive(Debug, Clone)]
pub struct Config {
    pub values: Values,
    pub shown: Vec<Shown>,
    /// Variables that look like settings and are none.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads everything once. The error names the variable, flag or file that is wrong.
    pub fn load(flags: Flags) -> Result<Self, Failure> {
        let folder = user_folder(|name| std::env::var_os(name).map(PathBuf::from));
        let files = Files { user: folder.map(|folder| folder.join(FILE)), own: FILE.into() };
        let config = Self::from_sources(&files, |name| std::env::var(name).ok(), flags)?;
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Ok(Self { warnings: checks::unknown_variables(names), ..config })
    }

    fn from_sources(
        files: &Files,
        variable: impl Fn(&str) -> Option<String>,
        flags: Flags,
    ) -> Result<Self, Failure> {
        files.refuse_server_of_a_project()?;
        let mut figment = Figment::new().merge(sources::Defaults);
        for file in files.user.iter().chain([&files.own]).filter(|file| file.is_file()) {
            figment = figment.merge(Toml::file_exact(file));
        }
        let figment = sources::merge_flags(sources::merge_variables(figment, variable), flags);
        let values: Values = figment.extract().map_err(|error| refusal(&figment, &error))?;
        checks::check(&figment, &values)?;
        let shown = SETTINGS.iter().map(|setting| sources::show(&figment, setting)).collect();
        Ok(Self { values, shown, warnings: Vec::new() })
    }
}

/// Where files with settings may be.
struct Files {
    user: Option<PathBuf>,
    own: PathBuf,
}

impl Files {
    /// A project's file must not be able to send the user's token to a server of its choice.
    fn refuse_server_of_a_project(&self) -> Result<(), Failure> {
        if !self.own.is_file() {
            return Ok(());
        }
        let project = Figment::from(Toml::file_exact(&self.own));
        let theirs = [
            "server",
            "token",
            "http_allow",
            "archive",
            "artifacts",
            "sandbox",
            "sandbox_network",
            "sandbox_read",
        ];
        match theirs.into_iter().find(|key| project.contains(key)) {
            None => Ok(()),
            Some(key) => {
                Err(Failure::usage(format!("`{key}` may not stand in a project's {FILE}"))
                    .hint(format!("set JOBSHOP_{} or your own file", key.to_uppercase())))
            }
        }
    }
}

fn user_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("jobshop"))
}

/// What is wrong, beginning with the name of the place that says so.
fn refusal(figment: &Figment, error: &figment::Error) -> Failure {
    let key = error.path.join(".");
    let place = match &error.metadata {
        // A variable or flag carries one setting, so its name says enough.
        Some(metadata) if metadata.source.is_none() || key.is_empty() => {
            sources::describe(metadata)
        }
        Some(metadata) => format!("{}: {key}", sources::describe(metadata)),
        None => key.clone(),
    };
    let setting = SETTINGS.iter().find(|setting| setting.key == key);
    let value = setting.and_then(|setting| sources::show(figment, setting).value);
    let value = value.map_or_else(String::new, |value| format!(" `{value}`"));
    Failure::usage(format!("{place}:{value} is wrong: {}", error.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn load(&self, variables: &[(&str, &str)], flags: Flags) -> Result<Config, Failure> {
            let files = Files {
                user: Some(self.folder.path().join("user.toml")),
                own: self.folder.path().join("own.toml"),
            };
            let variable = |name: &str| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            Config::from_sources(&files, variable, flags)
        }
    }

    fn origin<'a>(config: &'a Config, key: &str) -> &'a str {
        let shown = config.shown.iter().find(|shown| shown.setting.key == key).unwrap();
        shown.origin.as_deref().unwrap_or("not set")
    }

    #[test]
    fn the_closest_source_has_the_last_word_and_is_named() {
        let place = Place::new();
        place.write(
            "user.toml",
            "concurrency = 2\nlease = \"5s\"\nworker_name = \"u\"\nlog = \"warn\"",
        );
        place.write("own.toml", "concurrency = 3\nlease = \"6s\"\nworker_name = \"p\"");
        let variables = [("JOBSHOP_CONCURRENCY", "4"), ("JOBSHOP_LEASE", "7s")];
        let flags = Flags::default().with("concurrency", "--concurrency", Some(5_u32));
        let config = place.load(&variables, flags).unwrap();

        assert_eq!(
            (config.values.concurrency, origin(&config, "concurrency")),
            (Some(5), "--concurrency")
        );
        assert_eq!((config.values.lease.ms, origin(&config, "lease")), (7_000, "JOBSHOP_LEASE"));
        assert_eq!(config.values.worker_name.as_deref(), Some("p"));
        assert!(origin(&config, "worker_name").ends_with("own.toml"));
        assert!(origin(&config, "log").ends_with("user.toml"));
        assert_eq!((config.values.listen.port(), origin(&config, "listen")), (7070, "default"));
        assert_eq!(origin(&config, "token"), "not set");
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_name_of_its_place() {
        let place = Place::new();
        for (variable, text) in [
            ("JOBSHOP_LISTEN", "nowhere"),
            ("JOBSHOP_LISTEN", "0.0.0.0:80"),
            ("JOBSHOP_CONCURRENCY", "many"),
            ("JOBSHOP_CONCURRENCY", "-1"),
            ("JOBSHOP_LEASE", "5 seconds"),
            ("JOBSHOP_LEASE", "2s"),
            ("JOBSHOP_LEASE", "4500ms"),
            ("JOBSHOP_CONCURRENCY", "0"),
            ("JOBSHOP_DATABASE_CONNECTIONS", "0"),
            ("JOBSHOP_CAPABILITIES", "rust,code generation"),
            ("JOBSHOP_LOG_FORMAT", "xml"),
            ("JOBSHOP_RETENTION", "long"),
            ("JOBSHOP_RETENTION", "0s"),
            ("JOBSHOP_ARCHIVE", "ftp://host/folder"),
        ] {
            let refusal = place.load(&[(variable, text)], Flags::default()).unwrap_err();
            assert!(refusal.message.starts_with(variable), "{refusal}");
            let shown = text.rsplit(',').next().unwrap();
            assert!(refusal.message.contains(shown), "{refusal}");
        }
        for url in ["mysql://u:hush@h/d", "hush", "http://hush"] {
            let refusal = place.load(&[("DATABASE_URL", url)], Flags::default()).unwrap_err();
            assert!(refusal.message.starts_with("DATABASE_URL: "), "{refusal}");
            assert!(!refusal.message.contains("hush"), "{refusal}");
        }
        let empty =
            Flags::default().with("capabilities", "--capability", Some(vec![String::new()]));
        let refusal = place.load(&[], empty).unwrap_err();
        assert!(refusal.message.starts_with("--capability: ``"), "{refusal}");
        place.write("own.toml", "concurency = 3");
        let refusal = place.load(&[], Flags::default()).unwrap_err();
        assert!(
            refusal.message.contains("own.toml") && refusal.message.contains("concurency"),
            "{refusal}"
        );
    }

    #[test]
    fn a_projects_file_cannot_send_the_token_elsewhere() {
        let place = Place::new();
        place.write("own.toml", "server = \"http://127.0.0.1:9\"");
        assert!(place.load(&[("JOBSHOP_TOKEN", "secret")], Flags::default()).is_err());
        place.write("own.toml", "");
        place.write("user.toml", "server = \"http://127.0.0.1:9\"");
        assert!(place.load(&[], Flags::default()).is_ok());
    }

    #[test]
    fn secrets_are_never_shown() {
        let variables = [("JOBSHOP_TOKEN", "hush"), ("DATABASE_URL", "postgres://u:hush@h/d")];
        let config = Place::new().load(&variables, Flags::default()).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
