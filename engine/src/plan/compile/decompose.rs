//! A goal that is broken down: what is rendered when it begins, and what is settled before.

use std::rc::Rc;

use super::{kinds, people, templates::Templates};
use crate::{
    decompose::{self, DEPTH_MAX},
    expression::template,
    plan::{AgentLimits, AgentRuntime, AgentSpec, Child, Decompose, PlanSource},
    workflow::{
        Limits,
        definition::{self, Agent, Any, At, Conversation, Task, Text},
        problem::Problems,
        suggest,
        tree::{Node, Scalar, Tree},
    },
};

/// The kind of such a task.
pub(super) fn kind(
    written: &At<definition::Decompose>,
    task: &Task,
    source: &str,
    limits: &Limits,
    problems: &mut Problems,
) -> Child {
    let it = &written.value;
    if let Some(name) = &it.template {
        check_template(name, problems);
    }
    let mut agent = |agent: &At<Agent>| spec(agent, source, limits, problems);
    let planner = it.planner.as_ref().map(&mut agent);
    let doer = it.agent.as_ref().map(&mut agent);
    let agent = doer.or_else(|| planner.clone().map(without_words)).unwrap_or_else(usual);
    let approval = it.approve.as_ref().and_then(|approve| approve.value.asked.as_ref());
    let approval = approval.map(|approval| people::approval(approval, task, problems));
    let made = Decompose {
        source: match (&it.plan, &planner) {
            (Some(_), _) => PlanSource::Given,
            (None, Some(_)) => PlanSource::Planner,
            (None, None) => PlanSource::Template,
        },
        planner,
        max_depth: it.max_depth.as_ref().map_or(DEPTH_MAX, |depth| depth.value),
        approval,
        agent,
    };
    let with = rendered(it).into_iter().map(|(name, tree)| (name.to_owned(), tree.json()));
    Child {
        name: decompose::NAME.to_owned(),
        version: None,
        with: with.collect(),
        decompose: Some(Box::new(made)),
    }
}

/// Checks the templates in it.
pub(super) fn check(
    it: &definition::Decompose,
    templates: &mut Templates<'_, '_>,
    problems: &mut Problems,
) {
    for (_, tree) in rendered(it) {
        templates.tree(&tree, problems);
    }
}

/// What is rendered when the task begins, by the name under which it is kept.
fn rendered(it: &definition::Decompose) -> Vec<(&'static str, Rc<Tree>)> {
    let text = |name, text: &Text| (name, Rc::new(as_tree(text)));
    let mut all = vec![text("goal", &it.goal)];
    all.extend(it.template.as_ref().map(|template| text("template", template)));
    if let Some(Any(plan)) = &it.plan {
        all.push(("plan", Rc::clone(plan)));
    }
    let mut agent = |agent: &Agent, names: [&'static str; 3]| {
        let texts = [&agent.prompt, &agent.model, &agent.script];
        let given = names.into_iter().zip(texts);
        all.extend(given.filter_map(|(name, given)| Some(text(name, given.as_ref()?))));
    };
    if let Some(planner) = &it.planner {
        agent(&planner.value, ["planner_prompt", "planner_model", "planner_script"]);
    }
    match (&it.agent, &it.planner) {
        (Some(doer), _) => agent(&doer.value, ["agent_prompt", "agent_model", "agent_script"]),
        (None, Some(planner)) if planner.value.runtime != AgentRuntime::Scripted => {
            all.extend(planner.value.model.as_ref().map(|model| text("agent_model", model)));
        }
        (None, _) => {}
    }
    let asked = it.approve.as_ref().and_then(|approve| approve.value.asked.as_ref());
    let message = asked.and_then(|asked| asked.value.message.as_ref());
    all.extend(message.map(|message| text("message", message)));
    all
}

fn as_tree(text: &Text) -> Tree {
    let value = serde_json::Value::String(text.text.clone());
    let scalar = Scalar { value, text: text.text.clone(), raw: text.raw.clone() };
    Tree::leaf(text.raw.start, Node::Scalar(scalar))
}

fn check_template(name: &Text, problems: &mut Problems) {
    if template::has_expression(&name.text) || decompose::template(&name.text).is_some() {
        return;
    }
    let known = decompose::templates().iter().map(|template| template.name.as_str());
    let hint = suggest::or_list(&name.text, known);
    problems.hint(name.raw.start, format!("there is no template `{}`", name.text), hint);
}

fn spec(agent: &At<Agent>, source: &str, limits: &Limits, problems: &mut Problems) -> AgentSpec {
    if let Some(Conversation::Continue(task)) = &agent.value.session {
        problems.hint(
            task.at,
            "`session` means nothing here",
            "an agent that plans or follows a plan begins a conversation of its own",
        );
    }
    for model in agent.value.fallback.iter().filter(|model| model.text.contains("${{")) {
        problems.add(model.raw.start, "an expression cannot stand in `fallback` here");
    }
    kinds::check_command(agent, limits, problems);
    kinds::agent_spec(&agent.value, source, problems)
}

/// The same agent for another purpose: what it is asked is another matter, and a file that is played
/// makes one thing only.
fn without_words(agent: AgentSpec) -> AgentSpec {
    if agent.runtime == AgentRuntime::Scripted {
        return usual();
    }
    AgentSpec { prompt: None, script: None, ..agent }
}

fn usual() -> AgentSpec {
    AgentSpec {
        runtime: AgentRuntime::Usual,
        prompt: None,
        model: None,
        fallback: Vec::new(),
        command: None,
        script: None,
        continues: None,
        permissions: Vec::new(),
        limits: AgentLimits::default(),
    }
}
