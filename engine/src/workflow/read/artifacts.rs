//! Which files of its workspace a task keeps: `artifacts`.

use std::rc::Rc;

use super::Read;
use crate::{
    artifact::Pattern,
    expression::template::has_expression,
    workflow::{
        definition::{Artifacts, Text},
        problem::Problems,
        tree::{Node, Tree},
    },
};

impl Read for Artifacts {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        const PATTERNS_MAX: usize = 100;
        let Node::List(items) = &tree.node else {
            return pattern(tree, name, problems).map(|one| Self(vec![one]));
        };
        if items.is_empty() || items.len() > PATTERNS_MAX {
            let message = format!("{name} must hold 1 to {PATTERNS_MAX} files or patterns");
            problems.add(tree.at, message);
            return None;
        }
        let one = format!("each of {name}");
        let patterns: Vec<Text> =
            items.iter().filter_map(|item| pattern(item, &one, problems)).collect();
        (patterns.len() == items.len()).then_some(Self(patterns))
    }
}

fn pattern(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Text> {
    let text = Text::read(tree, name, problems)?;
    if has_expression(&text.text) {
        return Some(text);
    }
    match text.text.parse::<Pattern>() {
        Ok(_) => Some(text),
        Err(error) => {
            problems.add(tree.at, error.to_string());
            None
        }
    }
}
