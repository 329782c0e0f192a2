//! What differs between agents that speak the same protocol: how each is started, what keeps it inside
//! its attempt, how it logs in, and how it is told its model.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jobshop_engine::{attempt::AgentWork, outcome::ErrorClass};
use serde_json::{Value, json};

use crate::execute::{
    environment::{Environment, look_up},
    halt::{Done, Halt},
    runtimes::opencode::{Installed, private_environment},
};

/// How an agent is started.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) argv: Vec<String>,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Opencode(Option<Box<InstalledAs>>),
    Claude,
    Codex,
    Gemini,
    /// Any other: told by its own variables.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
struct InstalledAs {
    config: Option<PathBuf>,
    auth: Option<PathBuf>,
}

/// What keeps Claude from doing more than it is asked to.
const CLAUDE: [&str; 3] =
    ["DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"];
/// How Gemini calls its ways to log in, by the variable that each needs.
const GEMINI: [(&str, &str); 2] =
    [("GEMINI_API_KEY", "gemini-api-key"), ("GOOGLE_API_KEY", "vertex-ai")];

impl Profile {
    /// By the name of the program; without a command it is opencode.
    pub(super) fn of(work: &AgentWork, opencode: Option<&Installed>, agents: &Path) -> Done<Self> {
        let installed = || {
            let found = opencode?;
            let (config, auth) = (found.config.clone(), found.auth.clone());
            Some(Box::new(InstalledAs { config, auth }))
        };
        let own = |found: &Installed| vec![found.program.display().to_string()];
        let mut argv = match (&work.command, opencode) {
            (Some(argv), _) if !argv.is_empty() => argv.clone(),
            (_, Some(found)) => own(found),
            (_, None) => {
                return Err(Halt::failed(
                    ErrorClass::NoAgent,
                    "no agent to start: give the task a `command`, or install opencode",
                ));
            }
        };
        let name = Path::new(&argv[0]).file_name().and_then(|name| name.to_str());
        let is_bare = argv.len() == 1;
        let kind = match name.unwrap_or_default() {
            "opencode" => {
                argv.extend(is_bare.then(|| "acp".to_owned()));
                Kind::Opencode(installed())
            }
            "gemini" => {
                argv.extend(is_bare.then(|| "--acp".to_owned()));
                Kind::Gemini
            }
            "claude-agent-acp" => Kind::Claude,
            "codex-acp" => Kind::Codex,
            _ => Kind::Other,
        };
        if let (Kind::Opencode(_), "opencode", Some(found)) = (&kind, argv[0].as_str(), opencode) {
            argv[0] = found.program.display().to_string();
        }
        // As `make setup-acp-agents` installs them.
        let ours = agents.join("bin").join(&argv[0]);
        if matches!(kind, Kind::Claude | Kind::Codex) && !argv[0].contains('/') && ours.is_file() {
            argv[0] = ours.display().to_string();
        }
        Ok(Self { argv, kind })
    }

    /// The attempt's environment, with a home of the agent's own.
    pub(super) fn environment(&self, attempt: &Environment, home: &Path) -> Done<Environment> {
        if let Kind::Opencode(found) = &self.kind {
            let found = found.as_ref();
            let installed = Installed {
                program: self.argv[0].clone().into(),
                config: found.and_then(|it| it.config.clone()),
                auth: found.and_then(|it| it.auth.clone()),
            };
            return private_environment(attempt, home, &installed);
        }
        let mut env = attempt.clone();
        let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
        set("HOME", home.display().to_string());
        match &self.kind {
            Kind::Claude => {
                set("CLAUDE_CONFIG_DIR", home.join(".claude").display().to_string());
                for name in CLAUDE {
                    set(name, "1".to_owned());
                }
            }
            Kind::Codex => {
                let own = home.join(".codex");
                // It does not make it.
                std::fs::create_dir_all(&own).context("making a home for Codex")?;
                set("CODEX_HOME", own.display().to_string());
            }
            Kind::Opencode(_) | Kind::Gemini | Kind::Other => {}
        }
        Ok(env)
    }

    /// By what the agent is to log in, where that is for us to say: it offers ways which need nothing
    /// but variables, and these are set. Others know by themselves.
    pub(super) fn login(&self, welcome: &Value, env: &Environment) -> Option<String> {
        let offered = welcome["authMethods"].as_array()?;
        let has = |name: &str| look_up(env, name).is_some_and(|value| !value.is_empty());
        let offers = |id: &str| offered.iter().any(|method| method["id"] == id);
        if self.kind == Kind::Gemini {
            let (_, id) = GEMINI.iter().find(|(name, id)| has(name) && offers(id))?;
            return Some((*id).to_owned());
        }
        // Who brings a provider of his own has no key of Codex's.
        let is_own = self.argv.iter().any(|argument| argument.starts_with("model_provider="));
        let with_variables = offered.iter().filter(|method| method["type"] == "env_var" && !is_own);
        let found = with_variables.into_iter().find(|method| {
            let vars = method["vars"].as_array().into_iter().flatten();
            let mut names = vars.filter_map(|it| it["name"].as_str()).peekable();
            names.peek().is_some() && names.all(has)
        });
        found?["id"].as_str().map(str::to_owned)
    }

    /// How the agent is told its model: the method and what to say. Newer ones have it among their
    /// options; what they list without the provider's name is said without it.
    pub(super) fn choice(&self, created: &Value, id: &str, model: &str) -> (&'static str, Value) {
        let options = created["configOptions"].as_array().into_iter().flatten();
        let is_model = |it: &&Value| it["category"] == "model" || it["id"] == "model";
        let Some(option) = options.into_iter().find(is_model) else {
            return ("session/set_model", json!({ "sessionId": id, "modelId": model }));
        };
        let listed = |name: &str| is_listed(&option["options"], name);
        let value = match model.split_once('/') {
            Some((_, name)) if !listed(model) => match self.kind {
                Kind::Claude | Kind::Codex | Kind::Gemini => name,
                Kind::Opencode(_) | Kind::Other => {
                    if listed(name) {
                        name
                    } else {
                        model
                    }
                }
            },
            _ => model,
        };
        let wish = json!({ "sessionId": id, "configId": option["id"], "value": value });
        ("session/set_config_option", wish)
    }
}

/// Options may stand in groups.
fn is_listed(options: &Value, name: &str) -> bool {
    let options = options.as_array().into_iter().flatten();
    options.into_iter().any(|it| it["value"] == name || is_listed(&it["options"], name))
}

#[cfg(test)]
mod tests {
    use jobshop_engine::plan::AgentRuntime;

    use super::*;

    fn profile(command: Option<&[&str]>, opencode: Option<&Installed>) -> Done<Profile> {
        let work = AgentWork {
            command: command.map(|argv| argv.iter().map(ToString::to_string).collect()),
            ..AgentWork::new(AgentRuntime::Acp, "x")
        };
        Profile::of(&work, opencode, Path::new("/none"))
    }

    #[test]
    fn the_name_of_a_program_says_how_it_is_started() {
        let found = Installed { program: "/opt/opencode".into(), config: None, auth: None };
        for (command, opencode, argv) in [
            (None, Some(&found), vec!["/opt/opencode", "acp"]),
            (Some(&["opencode"][..]), Some(&found), vec!["/opt/opencode", "acp"]),
            (
                Some(&["/usr/bin/opencode", "acp", "--x"][..]),
                None,
                vec!["/usr/bin/opencode", "acp", "--x"],
            ),
            (Some(&["gemini"][..]), None, vec!["gemini", "--acp"]),
            (Some(&["claude-agent-acp"][..]), None, vec!["claude-agent-acp"]),
            (Some(&["codex-acp", "-c", "a=1"][..]), None, vec!["codex-acp", "-c", "a=1"]),
        ] {
            assert_eq!(profile(command, opencode).unwrap().argv, argv);
        }
        assert!(profile(None, None).is_err());
    }

    #[test]
    fn a_model_is_chosen_as_the_agent_lists_it() {
        let listing = |names: &[&str]| {
            let options: Vec<Value> = names.iter().map(|it| json!({ "value": it })).collect();
            json!({ "configOptions": [{ "id": "mode", "options": [] },
                { "id": "m", "category": "model", "options": [{ "options": options }] }] })
        };
        for (program, created, model, method, value) in [
            ("opencode", listing(&["a/b"]), "a/b", "session/set_config_option", "a/b"),
            (
                "codex-acp",
                listing(&["gpt-5"]),
                "openai/gpt-5",
                "session/set_config_option",
                "gpt-5",
            ),
            ("claude-agent-acp", listing(&[]), "anthropic/x", "session/set_config_option", "x"),
            ("any", listing(&["x"]), "a/x", "session/set_config_option", "x"),
            ("any", listing(&["y"]), "a/x", "session/set_config_option", "a/x"),
            ("any", json!({}), "a/x", "session/set_model", "a/x"),
        ] {
            let profile = profile(Some(&[program]), None).unwrap();
            let (found, wish) = profile.choice(&created, "s", model);
            let said = if wish["value"].is_null() { &wish["modelId"] } else { &wish["value"] };
            assert_eq!((found, said.as_str()), (method, Some(value)), "{program} {model}");
        }
    }

    #[test]
    fn agents_log_in_by_variables_that_are_set() {
        let codex = json!({ "authMethods": [
            { "id": "chatgpt" },
            { "id": "one", "type": "env_var", "vars": [{ "name": "ONE_KEY" }] },
            { "id": "key", "type": "env_var", "vars": [{ "name": "OPENAI_API_KEY" }] }] });
        let env = vec![("OPENAI_API_KEY".to_owned(), "k".to_owned())];
        let login = |command: &[&str], welcome: &Value, env: &Environment| {
            profile(Some(command), None).unwrap().login(welcome, env)
        };
        assert_eq!(login(&["codex-acp"], &codex, &env).as_deref(), Some("key"));
        assert_eq!(login(&["codex-acp", "-c", "model_provider=x"], &codex, &env), None);
        assert_eq!(login(&["codex-acp"], &codex, &Vec::new()), None);
        let gemini = json!({ "authMethods": [{ "id": "gemini-api-key" }] });
        let env = vec![("GEMINI_API_KEY".to_owned(), "k".to_owned())];
        assert_eq!(login(&["gemini"], &gemini, &env).as_deref(), Some("gemini-api-key"));
    }
}
