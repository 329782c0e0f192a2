//! The workflows of a decomposition: the one that follows a plan, and the one that makes it or asks
//! about it first. What users wrote reaches them as inputs, never as text of the definition, so that
//! it is not read as an expression.

use serde_json::{Map, Value, json};

use super::{Breakdown, Dependency, NAME, Subtask, gates, paths, read, words};
use crate::{
    duration::Span,
    plan::{AgentSpec, Approval, Command, Decompose, Plan, PlanSource, Prefers, Verify},
    size::Size,
    workflow::{Limits, Problem, compile_within},
};

/// What a decomposition is given by the task that it belongs to.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    pub how: &'a Decompose,
    /// Whether there is a repository, and a place in it to start at.
    pub has_repo: bool,
    pub has_base: bool,
    pub setup: &'a [Command],
    pub quota: Option<Size>,
    /// The names of variables of the environment.
    pub env: Vec<&'a str>,
    /// What the planner has to offer.
    pub requires: &'a [String],
    /// How long people have to answer.
    pub timeout: Option<Span>,
    /// How the result of each subtask is judged.
    pub verify: Option<&'a Verify>,
    /// Which agents the subtasks prefer.
    pub prefers: Option<&'a Prefers>,
}

/// The definition, which is JSON and so YAML too, that follows a plan; and its compiled form. The
/// input `plan` is the plan itself.
pub fn following(
    breakdown: &Breakdown,
    setting: &Setting<'_>,
) -> Result<(String, Plan), Vec<Problem>> {
    let follower = Follower {
        setting,
        locks: paths::locks(breakdown),
        chains: if setting.has_repo { paths::chains(breakdown) } else { Vec::new() },
    };
    let mut tasks = Map::new();
    let mut shown = Map::new();
    follower.level(&breakdown.subtasks, "inputs.plan", "tasks", &mut tasks, &mut shown);
    let mut outputs = json!({ "plan": "${{ inputs.plan }}", "tasks": shown });
    if setting.has_repo {
        let sinks = follower.sinks(&breakdown.subtasks);
        Follower::merge("result", &sinks, &mut tasks);
        outputs["commit"] = json!("${{ tasks.result.outputs.commit }}");
        outputs["base"] = json!("${{ tasks.result.outputs.base }}");
        outputs["branch"] = json!("${{ tasks.result.outputs.branch }}");
    }
    compiled(setting, "Do the subtasks of a plan.", &["plan"], Value::Object(tasks), outputs)
}

/// The definition that makes a plan, where a planner does, asks about it, where people are asked, and
/// follows it.
pub fn deciding(setting: &Setting<'_>) -> Result<(String, Plan), Vec<Problem>> {
    let mut tasks = json!({});
    let mut inputs = vec![];
    let mut last = None;
    let mut plan = "inputs.plan".to_owned();
    if let (PlanSource::Planner, Some(planner)) = (setting.how.source, &setting.how.planner) {
        tasks["plan"] = json!({
            "title": "Make a plan",
            "requires": setting.requires,
            "agent": agent(planner, "${{ inputs.planner_prompt }}", "planner"),
            "outputs": read::schema(),
        });
        inputs.push("planner_prompt");
        (last, plan) = (Some("plan"), "tasks.plan.outputs".to_owned());
    } else {
        inputs.push("plan");
    }
    if let Some(approval) = &setting.how.approval {
        tasks["approve"] = asking(approval, &plan, setting.timeout);
        if let Some(last) = last {
            tasks["approve"]["needs"] = json!([last]);
        }
        last = Some("approve");
        // Who answers with a plan has edited it.
        plan = format!("tasks.approve.outputs | attr('plan') | default({plan})");
        inputs.push("message");
    }
    let mut work = json!({
        "title": "Follow the plan",
        "decompose": {
            "goal": "${{ inputs.goal }}",
            "plan": format!("${{{{ {plan} }}}}"),
            "max_depth": setting.how.max_depth,
            "agent": agent(&setting.how.agent, "", "agent"),
        },
    });
    // What people approved is what is done: no plan is made behind it.
    if let (Some(planner), None) = (&setting.how.planner, &setting.how.approval) {
        work["decompose"]["planner"] = agent(planner, "", "planner");
    }
    if let Some(last) = last {
        work["needs"] = json!([last]);
    }
    hand_down(setting, &mut work);
    tasks["work"] = work;
    let mut outputs = json!({});
    let known = if setting.has_repo {
        &["plan", "tasks", "commit", "base", "branch"][..]
    } else {
        &["plan", "tasks"]
    };
    for name in known {
        outputs[*name] = json!(format!("${{{{ tasks.work.outputs.{name} }}}}"));
    }
    inputs.push("goal");
    compiled(setting, "Make a plan, ask about it, and follow it.", &inputs, tasks, outputs)
}

/// What people read before they decide.
fn asking(approval: &Approval, plan: &str, timeout: Option<Span>) -> Value {
    let column = |name: &str, usual: &str| {
        format!("({plan}.subtasks | map(attribute='{name}', default={usual}))")
    };
    let joined = |name: &str| format!("({} | map('join', ', '))", column(name, "[]"));
    // A line for each subtask, before all of it.
    let list = format!(
        "{} | zip({}, {}, {}) | map('join', ' | ') | join('\\n')",
        column("id", "''"),
        column("title", "''"),
        joined("paths"),
        joined("needs"),
    );
    let mut asked = json!({ "approval": {
        "from": approval.from,
        "quorum": approval.quorum,
        "no_self_approval": approval.bars_submitter,
        "message": format!(
            "${{{{ inputs.message }}}}\n\nid | title | may change | needs\n${{{{ {list} }}}}\n\nIn full:\n${{{{ {plan}.subtasks }}}}"
        ),
    } });
    asked["title"] = json!("Approve the plan");
    if let Some(timeout) = timeout {
        asked["timeout"] = json!(timeout.to_string());
        asked["approval"]["on_timeout"] = json!(approval.on_timeout);
    }
    asked
}

/// What a planner is asked when nobody says it otherwise.
pub fn planner_words(goal: &str) -> String {
    let known = crate::routing::CAPABILITIES.join(", ");
    let likely = words::capabilities(goal).join(", ");
    format!(
        "Break the goal below down into subtasks that coding agents can do, and put the plan out as a JSON object \
         that matches the schema below. Do not do any of the work yourself.\n\n\
         Each subtask gets an id, a title, and a prompt that says everything its agent has to know: it sees neither \
         this plan nor the other prompts. Say what it is done by. `needs` lists the ids of subtasks that must have \
         finished first. `paths` lists the files and folders it may change; subtasks with the same paths are done \
         one after the other. `requires` lists capabilities, of: {known} (likely here: {likely}). `estimate` is in \
         hours. Set `decompose` where a subtask is too large for one agent.\n\n\
         The schema:\n{schema:#}\n\nThe goal:\n{goal}\n",
        schema = read::schema(),
    )
}

struct Follower<'a> {
    setting: &'a Setting<'a>,
    locks: std::collections::BTreeMap<&'a str, Vec<String>>,
    /// What starts in the result of another, because both may change the same files.
    chains: Vec<(&'a str, &'a str)>,
}

impl Follower<'_> {
    /// The tasks of one level; `place` is where its subtasks stand in the inputs, `names` how
    /// expressions call its tasks.
    fn level(
        &self,
        subtasks: &[Subtask],
        place: &str,
        names: &str,
        tasks: &mut Map<String, Value>,
        shown: &mut Map<String, Value>,
    ) {
        for (index, subtask) in subtasks.iter().enumerate() {
            let place = format!("{place}.subtasks[{index}]");
            let own = format!("{names}['{}']", subtask.id);
            let needs = self.begun_by(subtask, tasks);
            let (mut task, result) = if subtask.is_gated() {
                let work = work_id(&subtask.id);
                let (inner, result) = self.work(subtask, &place, &format!("{own}.tasks['{work}']"));
                (gated(subtask, inner), result)
            } else {
                self.work(subtask, &place, &own)
            };
            if !needs.is_empty() {
                task["needs"] = json!(needs);
            }
            shown.insert(subtask.id.clone(), result);
            tasks.insert(subtask.id.clone(), task);
        }
    }

    /// The task of a subtask, which expressions call `own`, and what is shown of it.
    fn work(&self, subtask: &Subtask, place: &str, own: &str) -> (Value, Value) {
        let mut task = json!({ "title": subtask.title });
        if subtask.is_leaf() {
            self.leaf(subtask, place, &mut task);
            return (task, json!(format!("${{{{ {own}.outputs }}}}")));
        }
        let (mut inner, mut shown) = (Map::new(), Map::new());
        self.level(&subtask.subtasks, place, &format!("{own}.tasks"), &mut inner, &mut shown);
        if self.setting.has_repo {
            let sinks = self.sinks(&subtask.subtasks);
            Self::merge(&format!("{}-result", subtask.id), &sinks, &mut inner);
        }
        task["tasks"] = Value::Object(inner);
        (task, Value::Object(shown))
    }

    /// What a subtask waits for. Of several that each bring a commit it starts in what they make
    /// together.
    fn begun_by(&self, subtask: &Subtask, tasks: &mut Map<String, Value>) -> Vec<String> {
        let needs = self.needs(subtask);
        if !self.setting.has_repo || needs.len() < 2 {
            return needs;
        }
        let base = format!("{}-base", subtask.id);
        Self::merge(&base, &needs, tasks);
        vec![base.clone(), format!("{base}-whole")]
    }

    fn needs(&self, subtask: &Subtask) -> Vec<String> {
        let chained = self.chains.iter().filter(|(_, later)| *later == subtask.id);
        let chained = chained.map(|(first, _)| (*first).to_owned());
        let finished = subtask.needs.iter().filter(|need| need.kind == Dependency::FinishToStart);
        let mut needs: Vec<String> =
            finished.map(|need| need.task.clone()).chain(chained).collect();
        needs.dedup();
        needs
    }

    /// What nothing beside it waits for.
    fn sinks(&self, subtasks: &[Subtask]) -> Vec<String> {
        let needed: Vec<String> = subtasks.iter().flat_map(|subtask| self.needs(subtask)).collect();
        let ids = subtasks.iter().map(|subtask| &subtask.id);
        ids.filter(|id| !needed.contains(id)).cloned().collect()
    }

    /// Brings commits together, and fails where they do not fit: nothing is lost silently.
    fn merge(id: &str, needs: &[String], tasks: &mut Map<String, Value>) {
        let merge = json!({
            "title": "Bring the results together",
            "needs": needs,
            "uses": "builtin/merge",
            "with": { "into": format!("jobshop/${{{{ session.id }}}}/{id}") },
        });
        let conflicts = format!("tasks['{id}'].outputs.conflicts");
        let whole = json!({
            "title": "Nothing is lost",
            "needs": [id],
            "when": format!("{conflicts} | length > 0"),
            "uses": "builtin/fail",
            "with": { "message": format!("these results cannot be merged: ${{{{ {conflicts} }}}}") },
        });
        tasks.insert(id.to_owned(), merge);
        tasks.insert(format!("{id}-whole"), whole);
    }

    fn leaf(&self, subtask: &Subtask, place: &str, task: &mut Value) {
        let how = self.setting.how;
        let mut prompt = format!(
            "${{{{ {place}.prompt }}}}\n\nThis is one part of a larger goal, and others do the other parts. The goal:\n${{{{ inputs.plan.goal }}}}\n"
        );
        if !subtask.paths.is_empty() {
            let paths = format!("{place}.paths | join(', ')");
            prompt = format!("{prompt}\nOnly change files in: ${{{{ {paths} }}}}\n");
        }
        let planner = how.planner.as_ref().filter(|_| subtask.decompose && how.max_depth > 1);
        if let Some(planner) = planner {
            task["decompose"] = json!({
                "goal": prompt,
                "planner": agent(planner, "", "planner"),
                "max_depth": how.max_depth - 1,
                "agent": agent(&how.agent, "", "agent"),
            });
            hand_down(self.setting, task);
        } else {
            task["requires"] = json!(subtask.requires);
            task["agent"] = agent(&how.agent, &prompt, "agent");
            let hours = &subtask.hours;
            task["estimate"] = json!({
                "optimistic": span(hours.optimistic),
                "likely": span(hours.likely),
                "pessimistic": span(hours.pessimistic),
            });
            if !subtask.paths.is_empty() && self.setting.has_repo {
                task["paths"] = json!(subtask.paths);
            }
            hand_down(self.setting, task);
        }
        if let Some(locks) = self.locks.get(subtask.id.as_str()) {
            let name = |lock: &String| format!("paths/${{{{ session.id }}}}/{lock}");
            task["lock"] = json!(locks.iter().map(name).collect::<Vec<_>>());
        }
    }
}

/// The task that does the work of a subtask around which something is waited for.
pub(super) fn work_id(id: &str) -> String {
    format!("{id}-work")
}

/// A group around the work: it begins when others have started, and ends when others have come so far.
fn gated(subtask: &Subtask, mut work: Value) -> Value {
    let id = work_id(&subtask.id);
    let (mut before, mut after) = (Map::new(), Map::new());
    for (need, number) in subtask.needs.iter().zip(1..) {
        let wait = match need.kind {
            Dependency::FinishToStart => continue,
            Dependency::StartToStart | Dependency::StartToFinish => gates::started(&need.task),
            Dependency::FinishToFinish => gates::ended(&need.task),
        };
        let title = format!("{} {}", need.kind, need.task);
        let gate = json!({ "title": title, "wait_for": wait });
        if need.kind == Dependency::StartToStart {
            before.insert(format!("{}-start-{number}", subtask.id), gate);
        } else {
            let mut gate = gate;
            gate["needs"] = json!([id]);
            after.insert(format!("{}-finish-{number}", subtask.id), gate);
        }
    }
    if !before.is_empty() {
        work["needs"] = before.keys().cloned().collect();
    }
    let mut tasks = before;
    tasks.insert(id, work);
    tasks.append(&mut after);
    json!({ "title": subtask.title, "tasks": tasks })
}

/// What holds for each subtask, as it is written on the task that is broken down.
fn hand_down(setting: &Setting<'_>, task: &mut Value) {
    if let Some(verify) = setting.verify {
        task["verify"] = verify.commands.iter().map(command).collect();
        if verify.max_rounds > 0 {
            task["on_verify_fail"] = json!({
                "max_rounds": verify.max_rounds,
                "resume_session": verify.resume_session,
            });
        }
    }
    if let Some(Prefers { kind, agents, technologies, complexity, within }) = setting.prefers {
        let mut prefers = json!({ "agents": agents, "technologies": technologies });
        for (key, value) in
            [("type", json!(kind)), ("complexity", json!(complexity)), ("within", json!(within))]
        {
            if !value.is_null() {
                prefers[key] = value;
            }
        }
        task["prefers"] = prefers;
    }
}

fn command(command: &Command) -> Value {
    match command {
        Command::Script(script) => json!(script),
        Command::Argv(argv) => json!(argv),
    }
}

fn span(hours: f64) -> String {
    format!("{}m", (hours * 60.0).round().max(1.0))
}

/// An agent as it is written; its model and script are inputs.
fn agent(spec: &AgentSpec, prompt: &str, whose: &str) -> Value {
    let mut agent = json!({ "runtime": spec.runtime });
    if !prompt.is_empty() {
        agent["prompt"] = json!(prompt);
    }
    for (key, is_given) in [("model", spec.model.is_some()), ("script", spec.script.is_some())] {
        if is_given {
            agent[key] = json!(format!("${{{{ inputs.{whose}_{key} }}}}"));
        }
    }
    if !spec.fallback.is_empty() {
        agent["fallback"] = json!(spec.fallback);
    }
    if let Some(command) = &spec.command {
        agent["command"] = json!(command);
    }
    for permission in &spec.permissions {
        agent["permissions"][&permission.tool][&permission.pattern] = json!(permission.action);
    }
    if !spec.limits.is_empty() {
        agent["limits"] = json!(spec.limits);
    }
    agent
}

fn compiled(
    setting: &Setting<'_>,
    description: &str,
    inputs: &[&str],
    tasks: Value,
    outputs: Value,
) -> Result<(String, Plan), Vec<Problem>> {
    let mut definition = json!({
        "version": 1,
        "name": "decompose",
        "description": description,
        "inputs": {},
    });
    for name in inputs {
        let kind = if *name == "plan" { "object" } else { "string" };
        definition["inputs"][*name] = json!({ "type": kind, "required": true });
    }
    let how = setting.how;
    let planner = how.planner.as_ref().map(|planner| ("planner", planner));
    for (whose, spec) in planner.into_iter().chain([("agent", &how.agent)]) {
        for (key, is_given) in [("model", spec.model.is_some()), ("script", spec.script.is_some())]
        {
            if is_given {
                definition["inputs"][format!("{whose}_{key}")] =
                    json!({ "type": "string", "required": true });
            }
        }
    }
    if !setting.env.is_empty() {
        definition["inputs"]["env"] = json!({ "type": "object", "required": true });
        let named =
            |name: &&str| ((*name).to_owned(), json!(format!("${{{{ inputs.env['{name}'] }}}}")));
        definition["env"] = Value::Object(setting.env.iter().map(named).collect());
    }
    if setting.has_repo {
        definition["workspace"] = workspace(setting, &mut definition["inputs"]);
    }
    definition["tasks"] = tasks;
    definition["outputs"] = outputs;
    let text = format!("{definition:#}\n");
    // Without a command the worker's JOBSHOP_AGENT_COMMAND is taken.
    let limits = Limits { default_command: true, ..Limits::default() };
    let mut plan = compile_within(&text, &limits)?;
    NAME.clone_into(&mut plan.name);
    Ok((text, plan))
}

fn workspace(setting: &Setting<'_>, inputs: &mut Value) -> Value {
    inputs["repo"] = json!({ "type": "string", "required": true });
    let mut workspace = json!({ "repo": "${{ inputs.repo }}" });
    if setting.has_base {
        inputs["base"] = json!({ "type": "string", "required": true });
        workspace["base"] = json!("${{ inputs.base }}");
    }
    if !setting.setup.is_empty() {
        workspace["setup"] = setting.setup.iter().map(command).collect();
    }
    if let Some(quota) = setting.quota {
        workspace["quota"] = json!(quota.to_string());
    }
    workspace
}
