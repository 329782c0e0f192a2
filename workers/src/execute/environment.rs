//! What a command finds in its environment: of the worker's own only what every program needs and
//! what the configuration passes on, then the task's, then what Jobshop says about the attempt.

use std::path::Path;

use jobshop_engine::{attempt::Attempt, outcome::ErrorClass};

use super::halt::{Done, Halt};

/// Names and values; later entries win.
pub(crate) type Environment = Vec<(String, String)>;

const PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// What Linux allows for one entry, name, `=` and the NUL at its end included.
const VARIABLE_BYTES_MAX: usize = 128 * 1024;
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// The variable by which every process of an attempt is recognised.
pub(crate) const FENCE: &str = "JOBSHOP_FENCE";
/// The variable by which every process below a data directory is recognised.
pub(crate) const WORKSPACE: &str = "JOBSHOP_WORKSPACE";

/// The environment of an attempt's commands, `own` being what a look-up in the worker's gives.
pub(crate) fn of(
    attempt: &Attempt,
    workspace: &Path,
    output: &Path,
    pass_env: &[String],
    own: impl Fn(&str) -> Option<String>,
) -> Done<Environment> {
    let mut env = Environment::new();
    env.push(("PATH".to_owned(), PATH_DEFAULT.to_owned()));
    for name in PASSED.into_iter().chain(pass_env.iter().map(String::as_str)) {
        if let Some(value) = own(name) {
            env.push((name.to_owned(), value));
        }
    }
    for (name, value) in &attempt.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(Halt::error(format!("`{name}` cannot be an environment variable")));
        }
        env.push((name.clone(), value.clone()));
    }
    let mut say = |name: &str, value: String| env.push((name.to_owned(), value));
    say("JOBSHOP_OUTPUT", output.display().to_string());
    say("JOBSHOP_SESSION", attempt.fence.task.session.to_string());
    say("JOBSHOP_TASK", attempt.task.clone());
    say("JOBSHOP_ATTEMPT", attempt.fence.attempt.to_string());
    say("JOBSHOP_IDEMPOTENCY_KEY", attempt.idempotency_key.clone());
    say(FENCE, attempt.fence.to_string());
    say(WORKSPACE, workspace.display().to_string());
    if let Some(dir) = &attempt.file_dir {
        say("JOBSHOP_FILE_DIR", dir.clone());
    }
    check_size(&env)?;
    Ok(env)
}

fn check_size(env: &Environment) -> Done<()> {
    let large = env.iter().find(|(name, value)| name.len() + value.len() + 2 > VARIABLE_BYTES_MAX);
    let Some((name, value)) = large else { return Ok(()) };
    let why = format!(
        "the variable `{name}` would hold {} bytes; the system allows {} KiB for one",
        value.len(),
        VARIABLE_BYTES_MAX / 1024
    );
    Err(Halt::failed(ErrorClass::TooLarge, why))
}

/// The value a command sees under `name`.
pub(crate) fn look_up<'a>(env: &'a Environment, name: &str) -> Option<&'a str> {
    env.iter().rev().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}
