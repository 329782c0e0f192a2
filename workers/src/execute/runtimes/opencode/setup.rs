//! What an opencode server finds in its environment: a home of its own, none of its habits that
//! reach out of the attempt, and the operator's providers.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::execute::{
    environment::{Environment, look_up},
    halt::{Done, Halt},
};

/// An opencode on this machine.
#[derive(Debug, Clone)]
pub struct Installed {
    pub program: PathBuf,
    /// The operator's configuration: providers, models.
    pub config: Option<PathBuf>,
    /// The operator's logins, as opencode keeps them.
    pub auth: Option<PathBuf>,
}

const CONFIG: &str = "OPENCODE_CONFIG_CONTENT";
pub(super) const PASSWORD: &str = "OPENCODE_SERVER_PASSWORD";

/// Switches off what an unattended agent has no use for, or must not do, and on what it may need.
const SWITCHES: [&str; 10] = [
    "OPENCODE_DISABLE_AUTOUPDATE",
    "OPENCODE_DISABLE_MODELS_FETCH",
    "OPENCODE_DISABLE_SHARE",
    "OPENCODE_DISABLE_LSP_DOWNLOAD",
    "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    "OPENCODE_DISABLE_CLAUDE_CODE",
    "OPENCODE_PURE",
    // Else a repository brings its own permissions and plugins.
    "OPENCODE_DISABLE_PROJECT_CONFIG",
    "OPENCODE_DISABLE_EMBEDDED_WEB_UI",
    // Without it nobody can be asked; whether anybody may is for the permissions to say.
    "OPENCODE_ENABLE_QUESTION_TOOL",
];

/// The environment of a server, which only whoever knows the password may talk to.
pub(super) fn environment(
    attempt: &Environment,
    home: &Path,
    password: &str,
    installed: &Installed,
) -> Done<Environment> {
    let mut env = private_environment(attempt, home, installed)?;
    env.push((PASSWORD.to_owned(), password.to_owned()));
    Ok(env)
}

/// The attempt's own environment, with a private home and without a say in what is safe.
pub(in crate::execute::runtimes) fn private_environment(
    attempt: &Environment,
    home: &Path,
    installed: &Installed,
) -> Done<Environment> {
    let mut env = attempt.clone();
    let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
    for name in SWITCHES {
        set(name, "1".to_owned());
    }
    for (name, folder) in [
        ("HOME", ""),
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_STATE_HOME", ".local/state"),
    ] {
        set(name, home.join(folder).display().to_string());
    }
    if let Some(config) = &installed.config {
        set("OPENCODE_CONFIG", config.display().to_string());
    }
    if let Some(auth) = installed.auth.as_ref().and_then(|path| std::fs::read_to_string(path).ok())
    {
        set("OPENCODE_AUTH_CONTENT", auth);
    }
    let config = config(look_up(attempt, CONFIG))?;
    set(CONFIG, config.to_string());
    Ok(env)
}

/// What the task's environment configures, with our settings on top.
fn config(own: Option<&str>) -> Done<Value> {
    let mut config: Map<String, Value> = match own {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Halt::error(format!("{CONFIG} is not a JSON object: {error}")))?,
        None => Map::new(),
    };
    for (key, value) in [
        ("autoupdate", json!(false)),
        ("share", json!("disabled")),
        ("lsp", json!(false)),
        ("formatter", json!(false)),
    ] {
        config.insert(key.to_owned(), value);
    }
    Ok(Value::Object(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_configures_providers_but_not_what_reaches_out() {
        let own = r#"{"share": "auto", "provider": {"a": {}}}"#;
        let config = config(Some(own)).unwrap();
        assert_eq!(config["share"], "disabled");
        assert_eq!(config["provider"], json!({ "a": {} }));
        assert!(super::config(Some("[]")).is_err());
    }

    #[test]
    fn the_home_is_private_whatever_the_task_says() {
        let attempt = vec![("HOME".to_owned(), "/root".to_owned())];
        let installed = Installed { program: "opencode".into(), config: None, auth: None };
        let env = environment(&attempt, Path::new("/x/home"), "secret", &installed).unwrap();
        assert_eq!(look_up(&env, "HOME"), Some("/x/home/"));
        assert_eq!(look_up(&env, "XDG_DATA_HOME"), Some("/x/home/.local/share"));
        assert_eq!(look_up(&env, PASSWORD), Some("secret"));
    }
}
