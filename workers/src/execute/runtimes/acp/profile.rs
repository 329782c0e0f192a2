//! What differs between agents that speak the same protocol: how each is started, and what keeps it
//! inside its attempt.

use std::path::Path;

use jobshop_engine::{attempt::AgentWork, outcome::ErrorClass};

use crate::execute::{
    environment::Environment,
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
    Codex,
    /// Claude, Gemini and whatever else: told by their own variables.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
struct InstalledAs {
    config: Option<std::path::PathBuf>,
    auth: Option<std::path::PathBuf>,
}

impl Profile {
    /// By the name of the program; without a command it is opencode.
    pub(super) fn of(work: &AgentWork, opencode: Option<&Installed>) -> Done<Self> {
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
                Kind::Other
            }
            "codex-acp" => Kind::Codex,
            _ => Kind::Other,
        };
        if let (Kind::Opencode(_), "opencode", Some(found)) = (&kind, argv[0].as_str(), opencode) {
            argv[0] = found.program.display().to_string();
        }
        Ok(Self { argv, kind })
    }

    /// The attempt's environment, with a home of the agent's own.
    pub(super) fn environment(&self, attempt: &Environment, home: &Path) -> Done<Environment> {
        let mut env = match &self.kind {
            Kind::Opencode(found) => {
                let found = found.as_ref();
                let installed = Installed {
                    program: self.argv[0].clone().into(),
                    config: found.and_then(|it| it.config.clone()),
                    auth: found.and_then(|it| it.auth.clone()),
                };
                private_environment(attempt, home, &installed)?
            }
            Kind::Codex | Kind::Other => {
                let mut env = attempt.clone();
                env.push(("HOME".to_owned(), home.display().to_string()));
                env
            }
        };
        if self.kind == Kind::Codex {
            env.push(("CODEX_HOME".to_owned(), home.join(".codex").display().to_string()));
        }
        Ok(env)
    }
}

#[cfg(test)]
mod tests {
    use jobshop_engine::plan::AgentRuntime;

    use super::*;

    #[test]
    fn the_name_of_a_program_says_how_it_is_started() {
        let found = Installed { program: "/opt/opencode".into(), config: None, auth: None };
        let of = |command: Option<&[&str]>, opencode| {
            let work = AgentWork {
                command: command.map(|argv| argv.iter().map(ToString::to_string).collect()),
                ..AgentWork::new(AgentRuntime::Acp, "x")
            };
            Profile::of(&work, opencode).map(|profile| profile.argv)
        };
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
        ] {
            assert_eq!(of(command, opencode).unwrap(), argv);
        }
        assert!(of(None, None).is_err());
    }
}
