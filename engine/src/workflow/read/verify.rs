//! How the result of a task is judged: `verify`, and what happens when it fails.

use std::rc::Rc;

use super::{Read, fields::Fields, words::ON_VERIFY_FAIL};
use crate::workflow::{
    definition::{At, OnVerifyFail, Run, Setup, Verify},
    problem::Problems,
    tree::{Node, Tree},
};

impl Read for Verify {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        const COMMANDS_MAX: usize = 100;
        let Node::List(items) = &tree.node else {
            return Run::read(tree, name, problems).map(|script| Self(vec![script]));
        };
        if items.is_empty() || items.len() > COMMANDS_MAX {
            let message = format!("{name} must hold 1 to {COMMANDS_MAX} commands");
            problems.add(tree.at, message);
            return None;
        }
        let one = format!("each of {name}");
        let commands: Vec<Run> =
            items.iter().filter_map(|item| Run::read(item, &one, problems)).collect();
        (commands.len() == items.len()).then_some(Self(commands))
    }
}

impl Read for Setup {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        Verify::read(tree, name, problems).map(|commands| Self(commands.0))
    }
}

impl Read for OnVerifyFail {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        const ROUNDS_MAX: u32 = 20;
        let mut fields = Fields::of(tree, name, &ON_VERIFY_FAIL, problems)?;
        let rounds: Option<At<u32>> = fields.required("max_rounds");
        let resume_session = fields.optional("resume_session");
        if let Some(rounds) = rounds.as_ref().filter(|it| !(1..=ROUNDS_MAX).contains(&it.value)) {
            let message = format!("`max_rounds` must be 1 to {ROUNDS_MAX}, not {}", rounds.value);
            fields.problems.add(rounds.at, message);
        }
        fields.finish();
        Some(Self { max_rounds: rounds?, resume_session })
    }
}
