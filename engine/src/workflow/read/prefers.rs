//! Which agents a task prefers.

use std::rc::Rc;

use super::{Read, fields::Fields, scalars::word, words::PREFERS, workflow::positive};
use crate::{
    routing::{AgentType, Complexity},
    workflow::{definition::Prefers, problem::Problems, tree::Tree},
};

impl Read for Prefers {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(tree, name, &PREFERS, problems)?;
        let prefers = Self {
            kind: fields.optional("type"),
            agents: fields.or_default("agents"),
            technologies: fields.or_default("technologies"),
            complexity: fields.optional("complexity"),
            within: positive(&mut fields, "within"),
        };
        fields.finish();
        Some(prefers)
    }
}

impl Read for AgentType {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let words: Vec<(&str, Self)> = Self::ALL.iter().map(|it| (it.as_str(), *it)).collect();
        word(tree, name, &words, problems)
    }
}

impl Read for Complexity {
    fn read(tree: &Rc<Tree>, name: &str, problems: &mut Problems) -> Option<Self> {
        let words: Vec<(&str, Self)> = Self::ALL.iter().map(|it| (it.as_str(), *it)).collect();
        word(tree, name, &words, problems)
    }
}
