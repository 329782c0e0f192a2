//! The templates that come with Jobshop, each a file with a version of its own.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::Dependency;
use crate::workflow;

/// A way to break down goals of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    pub name: String,
    /// It grows with each change of what is made by it.
    pub version: u32,
    pub title: String,
    /// When to use it.
    pub description: String,
    pub subtasks: Vec<Part>,
}

/// A subtask as a template has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    pub id: String,
    pub title: String,
    pub requires: Vec<String>,
    #[serde(default)]
    pub needs: Vec<PartNeed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How many hours are likely, whatever the goal is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<f64>,
    /// Or which part of the hours that are likely for the goal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Whether it is broken down again where another template fits the goal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub splits: bool,
    pub prompt: String,
}

/// What a part waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PartNeed {
    Finished(String),
    Other {
        task: String,
        #[serde(rename = "type")]
        kind: Dependency,
    },
}

impl Template {
    /// How it is called in plans, `crud@1`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let files = [
        include_str!("templates/crud.yaml"),
        include_str!("templates/microservice.yaml"),
        include_str!("templates/refactoring.yaml"),
        include_str!("templates/security.yaml"),
        include_str!("templates/ui_component.yaml"),
        include_str!("templates/web_service.yaml"),
    ];
    files.into_iter().map(parse).collect()
});

fn parse(file: &str) -> Template {
    let value = workflow::value(file).expect("a shipped template is YAML: a test reads them all");
    serde_json::from_value(value).expect("a shipped template is one: a test reads them all")
}

/// All of them, by name.
pub fn templates() -> &'static [Template] {
    &TEMPLATES
}

/// The template of that name, `crud` or `crud@1`; `None` when there is none of that version.
pub fn template(reference: &str) -> Option<&'static Template> {
    let (name, version) = match reference.split_once('@') {
        Some((name, version)) => (name, Some(version.parse::<u32>().ok()?)),
        None => (reference, None),
    };
    templates()
        .iter()
        .find(|template| template.name == name && version.is_none_or(|it| it == template.version))
}
