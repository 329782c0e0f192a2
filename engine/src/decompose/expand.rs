//! From a goal and a template to a plan. What a template says can be broken down again is, by the
//! template that fits the goal, each at most once in a plan.

use super::{
    Breakdown, Hours, Need, Subtask, Template,
    templates::{Part, PartNeed, template},
    words,
};

/// What is to be reached.
#[derive(Debug, Clone)]
pub struct Goal<'a> {
    pub text: &'a str,
    /// How long all of it may take, where somebody guessed.
    pub hours: Option<Hours>,
    /// How deep subtasks are broken down: 1 is not at all.
    pub depth_max: u32,
}

/// The plan that a template makes of a goal.
pub fn expand(goal: &Goal<'_>, by: &Template) -> Breakdown {
    let hours = goal.hours.unwrap_or_else(|| Hours::of_text(goal.text));
    let mut taken = vec![by.name.clone()];
    Breakdown {
        goal: goal.text.to_owned(),
        template: Some(by.reference()),
        subtasks: parts(goal, by, hours, "", 1, &mut taken),
    }
}

fn parts(
    goal: &Goal<'_>,
    by: &Template,
    hours: Hours,
    prefix: &str,
    depth: u32,
    taken: &mut Vec<String>,
) -> Vec<Subtask> {
    by.subtasks.iter().map(|part| subtask(goal, part, hours, prefix, depth, taken)).collect()
}

fn subtask(
    goal: &Goal<'_>,
    part: &Part,
    hours: Hours,
    prefix: &str,
    depth: u32,
    taken: &mut Vec<String>,
) -> Subtask {
    let id = format!("{prefix}{}", part.id);
    let hours = part.hours.map_or_else(|| hours.times(part.share.unwrap_or(1.0)), Hours::around);
    let inner = (part.splits && depth < goal.depth_max)
        .then(|| words::fitting_without(goal.text, taken))
        .flatten()
        .and_then(template);
    let subtasks = match inner {
        Some(inner) => {
            taken.push(inner.name.clone());
            parts(goal, inner, hours, &format!("{id}-"), depth + 1, taken)
        }
        None => Vec::new(),
    };
    Subtask {
        title: part.title.clone(),
        prompt: part.prompt.replace("{goal}", goal.text).trim().to_owned(),
        requires: part.requires.clone(),
        needs: part.needs.iter().map(|need| of_part(need, prefix)).collect(),
        paths: part.paths.clone(),
        hours: if subtasks.is_empty() { hours } else { Hours::NONE },
        decompose: false,
        template: inner.map(Template::reference),
        subtasks,
        id,
    }
}

fn of_part(need: &PartNeed, prefix: &str) -> Need {
    match need {
        PartNeed::Finished(task) => {
            Need { task: format!("{prefix}{task}"), kind: super::Dependency::default() }
        }
        PartNeed::Other { task, kind } => Need { task: format!("{prefix}{task}"), kind: *kind },
    }
}
