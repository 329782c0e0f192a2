//! Commands, by example: what they find, what becomes of what they print and write.

use std::os::unix::fs::PermissionsExt as _;

use jobshop_engine::{
    attempt::Work,
    outcome::{ErrorClass, Outcome},
};
use jobshop_workers::execute::log::Stream;
use serde_json::json;

use crate::support::{Bench, Ended, argv, attempt, script, span};

#[tokio::test]
async fn noop_succeeds_and_fail_fails_without_touching_the_disk() {
    let bench = Bench::new();
    let ended = bench.execute(&attempt(Work::Noop)).await;
    assert_eq!(ended.outputs(), &json!({}));
    let fail = Work::Fail(ErrorClass::Error, "as told".to_owned());
    assert_eq!(bench.execute(&attempt(fail)).await.failure(ErrorClass::Error), "as told");
    assert_eq!(bench.left_over(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_script_writes_outputs_and_its_streams_are_told_apart() {
    let bench = Bench::new();
    let ended = bench
        .execute(&script(
            "echo hello; echo oops >&2\n\
             echo greeting=hi >> $JOBSHOP_OUTPUT; echo 'n:=[1, 2]' >> $JOBSHOP_OUTPUT",
        ))
        .await;
    assert_eq!(ended.outputs(), &json!({"greeting": "hi", "n": [1, 2], "exit_code": 0}));
    assert_eq!(ended.stream(Stream::Stdout), "hello\n");
    assert_eq!(ended.stream(Stream::Stderr), "oops\n");
    assert_eq!(bench.left_over(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_script_stops_at_its_first_error_unset_variable_and_broken_pipe() {
    let bench = Bench::new();
    for text in ["false; echo on", "echo $NOT_SET; echo on", "false | cat; echo on"] {
        let ended = bench.execute(&script(text)).await;
        assert!(ended.failure(ErrorClass::Error).starts_with("exit code 1"), "{text}");
        assert_eq!(ended.stream(Stream::Stdout), "", "{text}");
    }
}

#[tokio::test]
async fn a_failure_says_how_the_command_ended_and_repeats_its_last_errors() {
    let bench = Bench::new();
    let ended = bench.execute(&script("seq 20 >&2; echo 'the reason' >&2; exit 3")).await;
    assert_eq!(ended.failure(ErrorClass::Error), "exit code 3: 17\n18\n19\n20\nthe reason");
    let ended = bench.execute(&script("kill -SEGV $$")).await;
    assert_eq!(ended.failure(ErrorClass::Error), "killed by SIGSEGV");
    let ended = bench.execute(&argv(["jobshop-no-such-program"])).await;
    assert!(ended.failure(ErrorClass::Error).contains("jobshop-no-such-program"));
    assert!(bench.execute(&argv([])).await.failure(ErrorClass::Error).contains("empty"));
}

#[tokio::test]
async fn what_a_failed_command_put_out_is_kept_where_its_failure_is_allowed() {
    let bench = Bench::new();
    let put_out = |ended: &Ended| match &ended.outcome {
        Outcome::Failed { outputs, .. } => outputs.clone(),
        other @ (Outcome::Succeeded(_)
        | Outcome::Released
        | Outcome::Deferred(_)
        | Outcome::Parked) => {
            panic!("{other:?}")
        }
    };
    let mut failing = script("echo a=1 > $JOBSHOP_OUTPUT; exit 3");
    assert_eq!(put_out(&bench.execute(&failing).await), json!({}));
    failing.is_failure_allowed = true;
    let ended = bench.execute(&failing).await;
    assert_eq!(ended.failure(ErrorClass::Error), "exit code 3");
    assert_eq!(put_out(&ended), json!({"a": "1", "exit_code": 3}));

    let mut invalid = script("echo nonsense > $JOBSHOP_OUTPUT; exit 3");
    invalid.is_failure_allowed = true;
    let ended = bench.execute(&invalid).await;
    assert_eq!(ended.failure(ErrorClass::Error), "exit code 3");
    assert_eq!(put_out(&ended), json!({"exit_code": 3}));

    let mut mismatch = script("echo a=1 > $JOBSHOP_OUTPUT");
    mismatch.is_failure_allowed = true;
    mismatch.schema = Some(json!({"required": ["b"]}));
    let ended = bench.execute(&mismatch).await;
    ended.failure(ErrorClass::Schema);
    assert_eq!(put_out(&ended), json!({"exit_code": 0}));

    let mut late = script("echo a=1 > $JOBSHOP_OUTPUT; exec sleep 600");
    late.is_failure_allowed = true;
    late.timeout = Some(span("500ms"));
    let ended = bench.execute(&late).await;
    ended.failure(ErrorClass::Timeout);
    assert_eq!(put_out(&ended), json!({"a": "1", "exit_code": null}));
}

#[tokio::test]
async fn a_variable_that_no_command_can_be_given_is_named() {
    let bench = Bench::new();
    let mut large = script("echo ${#LARGE}");
    let fitting = 128 * 1024 - "LARGE=".len() - 1;
    large.env = vec![("LARGE".to_owned(), "x".repeat(fitting))];
    assert_eq!(bench.execute(&large).await.stream(Stream::Stdout), format!("{fitting}\n"));
    large.env[0].1.push('x');
    let ended = bench.execute(&large).await;
    assert!(ended.failure(ErrorClass::TooLarge).contains("`LARGE`"));
    large.env = (0..80).map(|n| (format!("V{n}"), "x".repeat(100_000))).collect();
    let ended = bench.execute(&large).await;
    assert!(ended.failure(ErrorClass::TooLarge).contains("environment"));
}

#[tokio::test]
async fn an_argument_vector_meets_no_shell() {
    let bench = Bench::new();
    let ended = bench.execute(&argv(["printf", "%s|", "$HOME", "a b", "*"])).await;
    assert_eq!(ended.stream(Stream::Stdout), "$HOME|a b|*|");
}

#[tokio::test]
async fn a_very_long_script_runs() {
    let bench = Bench::new();
    let text = format!("# {}\necho done", "x".repeat(300 * 1024));
    assert_eq!(bench.execute(&script(&text)).await.stream(Stream::Stdout), "done\n");
}

#[tokio::test]
async fn the_environment_is_the_promised_one_and_nothing_else() {
    let bench = Bench::with(|config| config.pass_env = vec!["CARGO_MANIFEST_DIR".to_owned()]);
    let mut attempt = script("env -0; pwd -P >&2; cat");
    attempt.env = [("A", "1"), ("A", "2"), ("LANG", "xx"), ("JOBSHOP_TASK", "forged")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    attempt.file_dir = Some("/somewhere".to_owned());
    let ended = bench.execute(&attempt).await;
    let text = ended.stream(Stream::Stdout);
    let mut env: Vec<(&str, &str)> =
        text.split_terminator('\0').map(|entry| entry.split_once('=').unwrap()).collect();
    // The shell adds three of its own.
    env.retain(|(name, _)| !["_", "PWD", "SHLVL"].contains(name));
    env.sort_unstable();
    let get = |wanted: &str| env.iter().find(|(name, _)| *name == wanted).unwrap().1;
    let fence = attempt.fence;
    assert_eq!(get("A"), "2");
    assert_eq!(get("LANG"), "xx");
    assert_eq!(get("JOBSHOP_TASK"), "build[api].check");
    assert_eq!(get("JOBSHOP_SESSION"), fence.task.session.to_string());
    assert_eq!(get("JOBSHOP_ATTEMPT"), "1");
    assert_eq!(get("JOBSHOP_FENCE"), fence.to_string());
    assert_eq!(get("JOBSHOP_IDEMPOTENCY_KEY"), format!("{}/3", fence.task.session));
    assert_eq!(get("JOBSHOP_FILE_DIR"), "/somewhere");
    assert_eq!(get("JOBSHOP_WORKSPACE"), ended.stream(Stream::Stderr).trim_end());
    let promised = [
        "A",
        "CARGO_MANIFEST_DIR",
        "HOME",
        "JOBSHOP_ATTEMPT",
        "JOBSHOP_FENCE",
        "JOBSHOP_FILE_DIR",
        "JOBSHOP_IDEMPOTENCY_KEY",
        "JOBSHOP_OUTPUT",
        "JOBSHOP_SESSION",
        "JOBSHOP_TASK",
        "JOBSHOP_WORKSPACE",
        "LANG",
        "PATH",
        "TZ",
    ];
    let unexpected: Vec<_> = env.iter().filter(|(name, _)| !promised.contains(name)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

#[tokio::test]
async fn the_workspace_is_empty_and_private() {
    let bench = Bench::with(|config| config.keep_failed = true);
    let ended = bench.execute(&script("ls -A; stat -c %a .; touch mine; exit 1")).await;
    assert_eq!(ended.stream(Stream::Stdout), "700\n");
    let kept = ended.stream(Stream::System);
    let kept = kept.trim_end().strip_prefix("kept in ").unwrap();
    assert!(std::path::Path::new(kept).join("work/mine").exists());
    assert_eq!(std::fs::metadata(kept).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(bench.execute(&script("touch mine")).await.outputs().is_object());
}

#[tokio::test]
async fn read_only_folders_are_removed_too() {
    let bench = Bench::new();
    bench.execute(&script("mkdir -p a/b; touch a/b/c; chmod 500 a/b a")).await.outputs();
    assert_eq!(bench.left_over(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn wrong_outputs_fail_the_attempt_with_their_class() {
    let bench = Bench::new();
    let text = "echo ok=1 > $JOBSHOP_OUTPUT; echo no >> $JOBSHOP_OUTPUT";
    let ended = bench.execute(&script(text)).await;
    assert!(ended.failure(ErrorClass::Error).starts_with("line 2 of JOBSHOP_OUTPUT"));
    let ended = bench.execute(&script("head -c 300000 /dev/zero > $JOBSHOP_OUTPUT")).await;
    assert!(ended.failure(ErrorClass::TooLarge).contains("256 KiB"));
    let mut typed = script("echo n=text > $JOBSHOP_OUTPUT");
    typed.schema = Some(json!({"properties": {"n": {"type": "integer"}}}));
    assert!(bench.execute(&typed).await.failure(ErrorClass::Schema).contains("`/n`"));
    let mut closed = script("echo n:=1 > $JOBSHOP_OUTPUT");
    closed.schema = Some(json!({"properties": {"n": {}}, "additionalProperties": false}));
    assert_eq!(bench.execute(&closed).await.outputs(), &json!({"n": 1, "exit_code": 0}));
}

#[tokio::test]
async fn output_without_end_is_cut_in_the_middle() {
    let bench = Bench::with(|config| config.log_bytes_max = 256 * 1024);
    let ended = bench
        .execute(&script("echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last"))
        .await;
    let text = ended.text();
    assert!(text.starts_with("first\n") && text.ends_with("last\n"));
    assert!(ended.stream(Stream::System).contains("bytes dropped"));
    assert!(text.len() < 257 * 1024, "{}", text.len());
}

#[tokio::test]
async fn an_invalid_variable_fails_and_a_stopped_attempt_is_handed_back() {
    let bench = Bench::new();
    let mut attempt = script("true");
    attempt.env = vec![("A=B".to_owned(), String::new())];
    assert!(bench.execute(&attempt).await.failure(ErrorClass::Error).contains("A=B"));
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    let ended = bench.execute_until(&script("sleep 100"), stop).await;
    assert_eq!(ended.outcome, Outcome::Released);
}
