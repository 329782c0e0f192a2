//! The `check` of `builtin/merge-train`.

use serde_json::Value;

use crate::{
    plan::Command,
    workflow::{
        definition::{Any, Entries},
        problem::Problems,
        tree::{Node, Scalar, Tree},
    },
};

/// The commands that have to succeed on the stack: a script, or a list of scripts and argument
/// vectors. `None` when there are none that can be read; the problem is kept then.
pub(super) fn check(
    at: usize,
    with: Option<&Entries<Any>>,
    problems: &mut Problems,
) -> Option<Vec<Command>> {
    let entries = with.iter().flat_map(|with| &with.0);
    let Some(check) = entries.filter(|(name, _)| name.value == "check").map(|(_, it)| it).next()
    else {
        problems.hint(
            at,
            "`builtin/merge-train` needs a `check`",
            "write with: { check: cargo test }, or use `builtin/merge`",
        );
        return None;
    };
    let tree = &*check.0;
    match &tree.node {
        Node::List(items) if !items.is_empty() => {
            let commands: Vec<Command> = items
                .iter()
                .filter_map(|item| match &item.node {
                    Node::List(words) if !words.is_empty() => {
                        let words = words.iter().map(|word| text(word, problems));
                        Some(Command::Argv(words.collect::<Option<_>>()?))
                    }
                    Node::List(_) | Node::Scalar(_) | Node::Map(_) => {
                        text(item, problems).map(Command::Script)
                    }
                })
                .collect();
            (commands.len() == items.len()).then_some(commands)
        }
        Node::List(_) | Node::Scalar(_) | Node::Map(_) => {
            text(tree, problems).map(|script| vec![Command::Script(script)])
        }
    }
}

fn text(tree: &Tree, problems: &mut Problems) -> Option<String> {
    let Node::Scalar(Scalar { value: Value::String(_), text, .. }) = &tree.node else {
        let message =
            format!("`check` must be a script or a list of commands, not {}", tree.noun());
        problems.add(tree.at, message);
        return None;
    };
    if text.contains("${{") {
        problems.hint(
            tree.at,
            "`${{ }}` cannot stand in a script",
            "pass the value through the environment: env: { VALUE: … } and \"$VALUE\" in the script",
        );
        return None;
    }
    Some(text.clone())
}
