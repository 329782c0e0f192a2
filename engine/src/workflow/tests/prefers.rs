//! Which agents tasks prefer.

use super::{accepted, problems};
use crate::routing::{AgentType, Complexity};

#[test]
fn groups_hand_down_what_they_prefer_key_by_key() {
    let plan = accepted(
        "
version: 1
name: preferring
type: review
tasks:
  group:
    prefers: { type: reviewer, technologies: [rust], within: 1m }
    tasks:
      inner: { run: ls, requires: [code_review], prefers: { technologies: [sql], complexity: expert, agents: [ada] } }
  plain: { run: ls }
",
    );
    let node = |id: &str| {
        let at = plan.nodes.iter().position(|node| node.id == id).unwrap();
        crate::plan::NodeIndex(u32::try_from(at).unwrap())
    };
    let wish = plan.wish(node("inner"));
    assert_eq!((wish.kind, wish.complexity), (Some(AgentType::Reviewer), Some(Complexity::Expert)));
    assert_eq!((wish.technologies, wish.agents), (vec!["sql".to_owned()], vec!["ada".to_owned()]));
    assert_eq!(wish.requires, ["code_review"]);
    let within = |id: &str| plan.node(node(id)).prefers.as_ref().map(|it| it.within().to_string());
    assert_eq!(within("inner").as_deref(), Some("1m"));
    assert_eq!(within("plain"), None);
}

#[test]
fn what_cannot_be_preferred_is_refused_with_a_cure() {
    insta::assert_snapshot!(problems("
version: 1
name: preferring
tasks:
  a: { run: ls, prefers: [x] }
  b: { run: ls, prefers: { kind: reviewer, complexity: hard, type: reviewr, within: 0s } }
  nap: { sleep: 1m, prefers: { type: reviewer } }
"), @r"
    4:26 `prefers` must be a map, not a list
         write { type: reviewer, technologies: [rust], complexity: complex }
    5:28 unknown key `kind` in `prefers`
         use `type`
    5:56 `complexity` must be one of simple, medium, complex, expert, not `hard`
    5:68 `type` must be one of architect, implementer, reviewer, debugger, integrator, orchestrator, analyst, optimizer, not `reviewr`
         did you mean `reviewer`?
    5:85 `within` must be longer than nothing
    6:21 `prefers` means nothing beside `sleep`
         a timer runs nowhere and cannot fail: remove it
    ");
}
