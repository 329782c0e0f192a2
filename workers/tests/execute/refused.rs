//! Agents whose model's provider refuses them, by example: what programs of any kind say, and how it
//! is understood.

use jobshop_engine::{
    attempt::{AgentWork, Attempt, Work},
    duration::Span,
    outcome::{ErrorClass, Outcome},
    plan::AgentRuntime,
};

use crate::{
    agent::command_agent,
    support::{Bench, Ended, attempt},
};

/// Speaks as much of the Agent Client Protocol as a refused turn needs.
const SPEAKER: &str = r#"
answer() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }
while read -r line; do
    id=${line#*\"id\":}; id=${id%%[,\}]*}
    case $line in
    *'"initialize"'*) answer '"result":{"protocolVersion":1}' ;;
    *'"session/new"'*) answer '"result":{"sessionId":"s"}' ;;
    *'"session/prompt"'*) answer "\"error\":$ERROR" ;;
    esac
done"#;

fn speaker(error: &str) -> Attempt {
    let work = AgentWork {
        command: Some(["bash", "-c", SPEAKER].map(str::to_owned).into()),
        ..AgentWork::new(AgentRuntime::Acp, "do it")
    };
    let mut attempt = attempt(Work::Agent(work));
    attempt.env.push(("ERROR".to_owned(), error.to_owned()));
    attempt
}

fn refusal(ended: &Ended) -> (Option<Span>, &str) {
    let Outcome::Deferred(deferral) = &ended.outcome else {
        panic!("{:?}\n{}", ended.outcome, ended.text())
    };
    (deferral.wait, &deferral.why)
}

#[tokio::test]
async fn a_program_says_by_its_exit_code_that_its_provider_refuses_and_for_how_long() {
    let bench = Bench::new();
    let busy = "echo 'the provider is busy' >&2; exit 75";
    let ended = bench.execute(&command_agent(busy)).await;
    assert_eq!(refusal(&ended), (None, "exit code 75: the provider is busy"));
    for (output, wait) in [
        ("retry_after=20s", Some(Span::from_secs(20))),
        ("retry_after=7", Some(Span::from_secs(7))),
        ("retry_after:=1.5", Some(Span { ms: 1_500 })),
        ("retry_after=soon", None),
        ("nothing like an output", None),
    ] {
        let text = format!("echo '{output}' > $JOBSHOP_OUTPUT; {busy}");
        let ended = bench.execute(&command_agent(&text)).await;
        assert_eq!(refusal(&ended).0, wait, "{output}");
    }
    let ended = bench.execute(&command_agent("exit 76")).await;
    assert_eq!(ended.failure(ErrorClass::Error), "exit code 76");
}

#[tokio::test]
async fn an_agent_that_speaks_the_protocol_tells_a_refusal_by_its_error() {
    let bench = Bench::new();
    let told =
        |data: &str| format!(r#"{{"code":-32603,"message":"Internal error","data":{data}}}"#);
    for (error, wait) in [
        (told(r#"{"message":"exceeded retry limit, last status: 429 Too Many Requests"}"#), None),
        (told(r#"{"statusCode":529,"retryAfter":20}"#), Some(Span::from_secs(20))),
    ] {
        let ended = bench.execute(&speaker(&error)).await;
        let (found, why) = refusal(&ended);
        assert_eq!(found, wait, "{error}");
        assert!(why.starts_with("the agent failed: Internal error {"), "{why}");
    }
    let ended = bench.execute(&speaker(&told("null"))).await;
    assert_eq!(ended.failure(ErrorClass::Error), "the agent failed: Internal error");
}
