//! The start of child processes, with the real binary and real deaths.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Output, Stdio};

use nix::unistd::Uid;

const JOBSHOP: &str = env!("CARGO_BIN_EXE_jobshop");

fn exec(arguments: &[&str]) -> Output {
    Command::new(JOBSHOP).arg("__exec").args(arguments).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text").trim_end()
}

#[test]
fn the_program_replaces_the_launcher() {
    let parent = std::process::id().to_string();
    let script = "echo $$ $PPID; exit 7";
    let child = Command::new(JOBSHOP)
        .args(["__exec", "--signal", "KILL", "--parent", &parent, "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), format!("{id} {parent}"));
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn the_program_dies_with_its_parent() {
    // The shell is the parent; the program holds our pipe open for as long as it lives.
    let script = r#"exec 3<&0; "$0" __exec --signal KILL --parent $$ -- sh -c 'echo up; exec cat' <&3 & wait"#;
    let mut shell = Command::new("sh")
        .args(["-c", script, JOBSHOP])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");

    // `cat` would go on, its input is still open; the end of its output says that it is gone.
    let input = shell.stdin.take();
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    drop(input);
}

#[test]
fn nothing_starts_for_a_parent_that_is_gone() {
    let output = exec(&["--signal", "KILL", "--parent", "1", "--", "echo", "started"]);
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr), "jobshop: the parent process 1 is gone");
}

#[test]
fn a_missing_program_is_named() {
    let parent = std::process::id().to_string();
    let output = exec(&["--signal", "KILL", "--parent", &parent, "--", "/no/such/program"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(text(&output.stderr).starts_with("jobshop: cannot start /no/such/program: "));
}

#[test]
fn another_user_is_taken_on_by_root_and_refused_to_everybody_else() {
    let parent = std::process::id().to_string();
    let user = ["--uid", "65534", "--gid", "65534"];
    let program = ["--", "sh", "-c", "id -u; id -g; id -G"];
    let arguments = [&["--signal", "KILL", "--parent", &parent][..], &user, &program].concat();
    let output = exec(&arguments);
    if Uid::effective().is_root() {
        assert_eq!(text(&output.stdout), "65534\n65534\n65534");
    } else {
        assert_eq!(output.status.code(), Some(126));
        assert_eq!(text(&output.stdout), "");
    }
}
