//! The command line without a server: files, settings, help and exit codes.

use jobshop_tests::CommandLine;
use jobshop_tests::command_line::shipped;
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_jobshop-cli");
const BROKEN: &str = "version: 1\nname: broken\ntaks:\n  a: { uses: builtin/noop }\n";

fn user() -> CommandLine {
    CommandLine::new(PROGRAM)
}

#[test]
fn help_lists_every_command() {
    let help = user().run(&["--help"]).expect(0).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .collect();
    insta::assert_snapshot!(commands.join(" "), @"up run prompt serve worker validate graph simulate schema session submit workflow schedule agent inbox approve reject key tenant doctor bench completion artifact workspace context budget provider template policy help");
}

#[test]
fn problems_of_a_file_are_listed_with_their_places() {
    let user = user();
    user.write("broken.yaml", BROKEN);
    let answer = user.run(&["validate", "broken.yaml", "--json"]).expect(2);
    let problems = answer.json();
    let problem = problems.as_array().unwrap().iter().find(|it| it["line"] == 3).unwrap();
    assert_eq!(
        *problem,
        json!({
            "file": "broken.yaml",
            "line": 3,
            "column": 1,
            "message": "unknown key `taks` in a workflow",
            "hint": "did you mean `tasks`?",
        })
    );
    let told = user.run(&["validate", "broken.yaml"]).expect(2).stdout;
    assert!(told.contains("broken.yaml:3:1") && told.contains("3 | taks:"), "{told}");
}

#[test]
fn a_valid_file_has_no_problems() {
    let hello = shipped("workflows/hello.yaml").display().to_string();
    assert_eq!(user().run(&["validate", &hello, "--json"]).expect(0).json(), json!([]));
    user().run(&["validate", &hello]).expect(0);
}

#[test]
fn a_file_that_is_not_there_is_a_problem_too() {
    let answer = user().run(&["validate", "nowhere.yaml", "--json"]).expect(2);
    assert_eq!(answer.json()[0]["file"], "nowhere.yaml");
}

#[test]
fn a_workflow_from_standard_input_is_validated() {
    let answer = user().run_with_input(&["validate", "-", "--json"], BROKEN).expect(2);
    assert_eq!(answer.json()[0]["file"], "-");
}

#[test]
fn an_invalid_workflow_is_not_run() {
    let user = user();
    user.write("broken.yaml", BROKEN);
    let answer = user.run(&["run", "broken.yaml", "--json"]).expect(2);
    assert_eq!(answer.stdout, "");
    assert!(answer.stderr.contains("broken.yaml:3:1"), "{}", answer.stderr);
    assert!(!user.path("data").exists(), "nothing was started");
}

#[test]
fn inputs_are_checked_before_anything_starts() {
    let hello = shipped("workflows/hello.yaml").display().to_string();
    let answer = user().run(&["run", &hello, "-i", "nonsense=1"]).expect(2);
    assert!(answer.stderr.contains("nonsense"), "{}", answer.stderr);
    user().run(&["run", &hello, "-i", "nonsense"]).expect(2);
    let twice = user().run(&["run", &hello, "-i", "names=[]", "-i", "names=[]"]).expect(2);
    assert!(twice.stderr.contains("the input `names` is given twice"), "{}", twice.stderr);
    user().run(&["run", &hello, "--priority", "soon"]).expect(2);
}

#[test]
fn the_graph_is_drawn_in_three_ways() {
    let hello = shipped("workflows/hello.yaml").display().to_string();
    let graph = user().run(&["graph", &hello, "--format", "json"]).expect(0).json();
    assert_eq!(graph["name"], "hello");
    assert!(graph["nodes"].as_array().is_some_and(|tasks| !tasks.is_empty()));
    let mermaid = user().run(&["graph", &hello, "--format", "mermaid"]).expect(0).stdout;
    assert!(mermaid.starts_with("flowchart TD\n"), "{mermaid}");
    let dot = user().run(&["graph", &hello, "--format", "dot"]).expect(0).stdout;
    assert!(dot.starts_with("digraph \"hello\" {\n"), "{dot}");
}

#[test]
fn the_schema_and_completions_are_printed() {
    assert!(user().run(&["schema"]).expect(0).json()["$schema"].is_string());
    assert!(user().run(&["completion", "bash"]).expect(0).stdout.contains("jobshop"));
}

#[test]
fn without_a_server_commands_fail_for_the_moment() {
    for arguments in [
        &["session", "list"][..],
        &["session", "show", "@latest"],
        &["workflow", "list", "--json"],
        &["agent", "list"],
    ] {
        let answer = user().run(arguments).expect(75);
        assert_eq!(answer.stdout, "");
        assert!(answer.stderr.contains("jobshop up"), "{}", answer.stderr);
    }
    let far = user().with("JOBSHOP_SERVER", "http://127.0.0.1:9");
    far.run(&["session", "list"]).expect(75);
    let hello = shipped("workflows/hello.yaml").display().to_string();
    far.run(&["run", &hello]).expect(75);
}

#[test]
fn wrong_usage_and_wrong_settings_are_refused_by_name() {
    user().run(&[]).expect(2);
    user().run(&["sing"]).expect(2);
    user().run(&["session", "list", "--status", "lost"]).expect(2);
    for (variable, value) in [
        ("JOBSHOP_LISTEN", "0.0.0.0:7070"),
        ("JOBSHOP_CONCURRENCY", "many"),
        ("JOBSHOP_CONCURRENCY", "0"),
        ("JOBSHOP_LEASE", "1s"),
        ("JOBSHOP_LOG_FORMAT", "xml"),
        ("JOBSHOP_SERVER", "not a url"),
    ] {
        let answer = user().with(variable, value).run(&["session", "list"]).expect(2);
        assert!(answer.stderr.contains(variable), "{}", answer.stderr);
        assert!(answer.stderr.contains(value), "{}", answer.stderr);
    }
}

#[test]
fn settings_that_cannot_be_meant_are_told() {
    let wrong = user().with("DATABASE_URL", "mysql://u:hush@127.0.0.1/d");
    let answer = wrong.run(&["up"]).expect(2);
    assert!(answer.stderr.contains("DATABASE_URL"), "{}", answer.stderr);
    assert!(!answer.stderr.contains("hush"), "{}", answer.stderr);
    let answer = user().run(&["worker", "--capability", ""]).expect(2);
    assert!(answer.stderr.contains("--capability"), "{}", answer.stderr);
    let answer = user().with("JOBSHOP_LISTENS", "127.0.0.1:1").run(&["schema"]).expect(0);
    assert!(answer.stderr.contains("did you mean `JOBSHOP_LISTEN`?"), "{}", answer.stderr);
}

#[test]
fn the_doctor_says_where_every_setting_comes_from() {
    let user = user().with("JOBSHOP_CONCURRENCY", "3");
    user.write("jobshop.toml", "worker_name = \"here\"\nconcurrency = 2\n");
    let found = user.run(&["doctor", "--json"]).expect(0).json();
    let setting = |name: &str| {
        let settings = found["settings"].as_array().unwrap().iter();
        settings.clone().find(|setting| setting["name"] == name).unwrap().clone()
    };
    assert_eq!(setting("concurrency")["value"], "3");
    assert_eq!(setting("concurrency")["from"], "JOBSHOP_CONCURRENCY");
    assert!(setting("worker_name")["from"].as_str().unwrap().ends_with("jobshop.toml"));
    assert_eq!(setting("listen")["from"], "default");
    assert!(found["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true));
}

#[test]
fn a_prompt_needs_an_agent() {
    let answer = user().run(&["prompt", "write a poem"]).expect(2);
    assert!(answer.stderr.contains("JOBSHOP_AGENT_COMMAND"), "{}", answer.stderr);
}
