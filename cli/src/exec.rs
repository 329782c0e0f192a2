//! The hidden sub-command `jobshop __exec`: it turns a fresh child into another program that dies
//! with its parent. It gives up root when told to, asks for a signal at the parent's death, makes
//! sure that the parent still lives, then becomes the program: same process id, no process between.
//!
//! `jobshop __exec --signal KILL --parent PID [--uid UID --gid GID] -- PROGRAM ARGUMENT…`
//!
//! It knows neither Postgres nor tasks, and starts no runtime and no thread. Two things to know: the
//! signal comes at the death of the *thread* that forked, so start children from one that never
//! ends; and what the program forks does not inherit it, so a caller that must be rid of everything
//! ends the process group.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::str::FromStr as _;

use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid};
use thiserror::Error;

/// The name of the sub-command, the first argument of the process.
pub const COMMAND: &str = "__exec";

/// What a child becomes, and on which conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Sent to the program when its parent dies.
    pub signal: Signal,
    /// The process that must still be the parent when the program starts.
    pub parent: u32,
    /// The user and group to become; the groups of root are given up too.
    pub owner: Option<(Uid, Gid)>,
    /// The program, then its arguments.
    pub program: Vec<OsString>,
}

/// Why a child could not become its program.
#[derive(Debug, Error)]
pub enum ExecError {
    #[error("usage: jobshop __exec --signal NAME --parent PID [--uid N --gid N] -- PROGRAM …: {0}")]
    Usage(&'static str),
    #[error("cannot {0}")]
    Refused(&'static str, #[source] nix::Error),
    #[error("the parent process {0} is gone")]
    ParentGone(u32),
    #[error("cannot start {program}")]
    Start { program: PathBuf, source: io::Error },
}

/// Answers the hidden sub-command: `None` when this process was started for anything else.
/// Does not return when the program could be started.
pub fn dispatch() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let Err(error) = Request::parse(arguments).and_then(Request::run);
    let source = std::error::Error::source(&error).map(|it| format!(": {it}")).unwrap_or_default();
    let _ = writeln!(io::stderr(), "jobshop: {error}{source}");
    Some(match error {
        ExecError::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127.into(),
        ExecError::Usage(_) => 2.into(),
        ExecError::Start { .. } | ExecError::Refused(..) | ExecError::ParentGone(_) => 126.into(),
    })
}

/// The path that starts this very binary again, even after an upgrade replaced its file.
pub fn launcher() -> io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    if own.exists() { Ok(own.to_owned()) } else { std::env::current_exe() }
}

impl Request {
    /// The arguments that make [`dispatch`] see this request.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![COMMAND.into()];
        let name = self.signal.as_str().trim_start_matches("SIG");
        arguments.extend(["--signal".into(), name.into()]);
        arguments.extend(["--parent".into(), self.parent.to_string().into()]);
        if let Some((uid, gid)) = self.owner {
            arguments.extend(["--uid".into(), uid.to_string().into()]);
            arguments.extend(["--gid".into(), gid.to_string().into()]);
        }
        arguments.push("--".into());
        arguments.extend(self.program.iter().cloned());
        arguments
    }

    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, ExecError> {
        let (mut signal, mut parent, mut uid, mut gid) = (None, None, None, None);
        loop {
            let flag = arguments.next().ok_or(ExecError::Usage("no -- before the program"))?;
            if flag == "--" {
                break;
            }
            let value = arguments.next().ok_or(ExecError::Usage("a value is missing"))?;
            match flag.to_str() {
                Some("--signal") => signal = Some(signal_named(&value)?),
                Some("--parent") => parent = Some(number(&value)?),
                Some("--uid") => uid = Some(Uid::from_raw(number(&value)?)),
                Some("--gid") => gid = Some(Gid::from_raw(number(&value)?)),
                _ => return Err(ExecError::Usage("unknown argument")),
            }
        }
        let program: Vec<OsString> = arguments.collect();
        match (signal, parent, uid, gid) {
            _ if program.is_empty() => Err(ExecError::Usage("no program")),
            (Some(signal), Some(parent), uid, gid) if uid.is_some() == gid.is_some() => {
                Ok(Self { signal, parent, owner: uid.zip(gid), program })
            }
            (Some(_), Some(_), ..) => Err(ExecError::Usage("--uid and --gid go together")),
            _ => Err(ExecError::Usage("--signal and --parent are needed")),
        }
    }

    fn run(self) -> Result<Infallible, ExecError> {
        if let Some((uid, gid)) = self.owner {
            give_up_root(uid, gid)?;
        }
        // After the change of user, which would clear it again.
        signal_at_parents_death(self.signal)?;
        // The parent may have died before the line above, unseen.
        if Pid::parent().as_raw().cast_unsigned() != self.parent {
            return Err(ExecError::ParentGone(self.parent));
        }
        let source = Command::new(&self.program[0]).args(&self.program[1..]).exec();
        Err(ExecError::Start { program: PathBuf::from(&self.program[0]), source })
    }
}

fn give_up_root(uid: Uid, gid: Gid) -> Result<(), ExecError> {
    #[cfg(not(target_vendor = "apple"))]
    nix::unistd::setgroups(&[]).map_err(|e| ExecError::Refused("give up the groups", e))?;
    nix::unistd::setgid(gid).map_err(|e| ExecError::Refused("change the group", e))?;
    nix::unistd::setuid(uid).map_err(|e| ExecError::Refused("change the user", e))
}

#[cfg(target_os = "linux")]
fn signal_at_parents_death(signal: Signal) -> Result<(), ExecError> {
    nix::sys::prctl::set_pdeathsig(signal)
        .map_err(|e| ExecError::Refused("set the parent-death signal", e))
}

/// Other systems have no such signal; what is left over there is ended at the next start.
#[cfg(not(target_os = "linux"))]
fn signal_at_parents_death(_signal: Signal) -> Result<(), ExecError> {
    Ok(())
}

fn signal_named(name: &OsStr) -> Result<Signal, ExecError> {
    name.to_str()
        .and_then(|name| Signal::from_str(&format!("SIG{name}")).ok())
        .ok_or(ExecError::Usage("unknown signal"))
}

fn number(text: &OsStr) -> Result<u32, ExecError> {
    text.to_str().and_then(|text| text.parse().ok()).ok_or(ExecError::Usage("not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_way_through_arguments() {
        for owner in [None, Some((Uid::from_raw(7), Gid::from_raw(8)))] {
            let program = ["/bin/sh", "-c", "--", "a b"].map(OsString::from).to_vec();
            let request = Request { signal: Signal::SIGINT, parent: 42, owner, program };
            let arguments = request.arguments().into_iter();
            assert_eq!(Request::parse(arguments.skip(1)).unwrap(), request);
        }
    }

    #[test]
    fn half_a_request_is_refused() {
        for line in [
            "",
            "--signal KILL --parent 1",
            "--signal KILL --parent 1 --",
            "--signal KILL --parent 1 --uid 3 -- true",
            "--signal NONSENSE --parent 1 -- true",
            "--signal KILL --parent -1 -- true",
            "--parent 1 -- true",
            "--what 1 -- true",
        ] {
            let arguments = line.split_whitespace().map(OsString::from);
            assert!(matches!(Request::parse(arguments), Err(ExecError::Usage(_))), "{line}");
        }
    }
}
