//! From a value to a plan: every problem is found, each with its place. What a plan means as a whole,
//! such as that nothing waits for itself, is judged in the end.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    Breakdown, Dependency, Faults, Hours, Need, SUBTASKS_MAX, Subtask,
    estimate::{HOURS_MAX, round},
    order, paths, words,
};
use crate::{
    plan::names::{RESERVED, is_task_id},
    workflow::suggest,
};

const PROMPT_CHARS_MAX: usize = 20_000;
const TITLE_CHARS_MAX: usize = 200;
const LIST_MAX: usize = 100;

/// Reads a plan for this goal, which may be nested so deep.
pub fn read(value: &Value, goal: &str, depth_max: u32) -> Result<Breakdown, Faults> {
    let mut reader = Reader { faults: Faults::default(), ids: HashSet::new(), depth_max };
    let breakdown = reader.breakdown(value, goal);
    if let (Some(breakdown), true) = (&breakdown, reader.faults.is_empty()) {
        order::check(breakdown, &mut reader.faults);
    }
    match breakdown {
        Some(breakdown) if reader.faults.is_empty() => Ok(breakdown),
        _ => Err(reader.faults),
    }
}

struct Reader {
    faults: Faults,
    /// Ids are told apart in the whole plan.
    ids: HashSet<String>,
    depth_max: u32,
}

impl Reader {
    fn breakdown(&mut self, value: &Value, goal: &str) -> Option<Breakdown> {
        let map = self.map(value, "")?;
        self.known(map, "", &["goal", "template", "subtasks", "estimate", "locks"]);
        let template = self.text(map, "template", "", TITLE_CHARS_MAX);
        let subtasks = self.subtasks(map.get("subtasks"), "", 0)?;
        let own = self.text(map, "goal", "", PROMPT_CHARS_MAX);
        if self.ids.len() > SUBTASKS_MAX {
            let why = format!("has {}, at most {SUBTASKS_MAX} are taken", self.ids.len());
            self.faults.add("subtasks", why);
        }
        Some(Breakdown { goal: own.unwrap_or_else(|| goal.to_owned()), template, subtasks })
    }

    fn subtasks(&mut self, value: Option<&Value>, place: &str, depth: u32) -> Option<Vec<Subtask>> {
        let place = join(place, "subtasks");
        let Some(value) = value else {
            self.faults.add(&place, "is missing: a plan lists them");
            return None;
        };
        let Some(list) = value.as_array() else {
            self.faults.add(&place, format!("must be a list, not {}", noun(value)));
            return None;
        };
        if list.is_empty() {
            self.faults.add(&place, "is an empty list: a plan needs at least one");
            return None;
        }
        if depth >= self.depth_max.max(1) {
            let why = format!("is nested deeper than `max_depth`, {}", self.depth_max);
            self.faults.add(&place, why);
            return None;
        }
        let ids: Vec<&str> = list.iter().filter_map(|one| one.get("id")?.as_str()).collect();
        let read = list.iter().enumerate();
        let read =
            read.map(|(index, one)| self.subtask(one, &format!("{place}[{index}]"), &ids, depth));
        // Every one is read, whatever is wrong with the others.
        let read: Vec<Option<Subtask>> = read.collect();
        read.into_iter().collect()
    }

    fn subtask(
        &mut self,
        value: &Value,
        place: &str,
        beside: &[&str],
        depth: u32,
    ) -> Option<Subtask> {
        const KEYS: [&str; 11] = [
            "id",
            "title",
            "prompt",
            "requires",
            "needs",
            "paths",
            "estimate",
            "complexity",
            "decompose",
            "template",
            "subtasks",
        ];
        let map = self.map(value, place)?;
        self.known(map, place, &KEYS);
        let id = self.id(map, place);
        let title = self.text(map, "title", place, TITLE_CHARS_MAX);
        let prompt = self.text(map, "prompt", place, PROMPT_CHARS_MAX);
        let requires = self.texts(map, "requires", place);
        let paths = self.paths(map, place);
        let needs = self.needs(map, place, id.as_deref(), beside);
        let hours = self.hours(map, place);
        let decompose = self.flag(map, "decompose", place);
        let template = self.text(map, "template", place, TITLE_CHARS_MAX);
        let parts = match map.get("subtasks") {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(list)) if list.is_empty() => Some(Vec::new()),
            some => self.subtasks(some, place, depth + 1),
        };
        let is_leaf = parts.as_ref().is_some_and(Vec::is_empty);
        if is_leaf && prompt.is_none() && !self.has_fault(&join(place, "prompt")) {
            self.faults.add(&join(place, "prompt"), "is missing: it says what is to be done");
        }
        let (id, parts) = (id?, parts?);
        let title = title.unwrap_or_else(|| id.clone());
        let prompt = prompt.unwrap_or_default();
        let requires = if map.contains_key("requires") || !parts.is_empty() {
            requires
        } else {
            words::capabilities(&format!("{title} {prompt}")).into_iter().take(1).collect()
        };
        let hours = match hours {
            _ if !parts.is_empty() => Hours::NONE,
            Some(hours) => hours,
            None => Hours::of_text(&format!("{title} {prompt}")),
        };
        let subtasks = parts;
        Some(Subtask {
            id,
            title,
            prompt,
            requires,
            needs,
            paths,
            hours,
            decompose,
            template,
            subtasks,
        })
    }

    fn id(&mut self, map: &Map<String, Value>, place: &str) -> Option<String> {
        let place = join(place, "id");
        let Some(value) = map.get("id") else {
            self.faults.add(&place, "is missing");
            return None;
        };
        let id = value.as_str().filter(|id| is_id(id));
        let Some(id) = id else {
            let why = format!(
                "{value} cannot be the id of a subtask: use 1 to 48 of a-z, 0-9, - and _, a letter first"
            );
            self.faults.add(&place, why);
            return None;
        };
        if !self.ids.insert(id.to_owned()) {
            self.faults.add(&place, format!("`{id}` is taken: another subtask has it"));
            return None;
        }
        Some(id.to_owned())
    }

    fn needs(
        &mut self,
        map: &Map<String, Value>,
        place: &str,
        own: Option<&str>,
        beside: &[&str],
    ) -> Vec<Need> {
        let place = join(place, "needs");
        let mut needs: Vec<Need> = Vec::new();
        for (index, value) in self.list(map, "needs", &place).iter().enumerate() {
            let place = format!("{place}[{index}]");
            let Some(need) = self.need(value, &place) else { continue };
            if own == Some(need.task.as_str()) {
                self.faults.add(&place, "names the subtask itself");
            } else if !beside.contains(&need.task.as_str()) {
                let task = &need.task;
                let hint = suggest::did_you_mean(task, beside.iter().copied());
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                self.faults.add(&place, format!("there is no subtask `{task}` beside it{hint}"));
            } else if needs.contains(&need) {
                self.faults.add(&place, format!("names `{}` a second time", need.task));
            } else {
                needs.push(need);
            }
        }
        needs
    }

    /// `a`, or `{ task: a, type: start_to_start }`.
    fn need(&mut self, value: &Value, place: &str) -> Option<Need> {
        if let Some(task) = value.as_str() {
            return Some(Need { task: task.to_owned(), kind: Dependency::default() });
        }
        let map = self.map(value, place)?;
        self.known(map, place, &["task", "type"]);
        let task = self.text(map, "task", place, TITLE_CHARS_MAX);
        if task.is_none() && !self.has_fault(&join(place, "task")) {
            self.faults.add(&join(place, "task"), "is missing");
        }
        let kind = match self.text(map, "type", place, TITLE_CHARS_MAX) {
            None => Dependency::default(),
            Some(word) => {
                let Some(kind) = Dependency::ALL.into_iter().find(|kind| kind.as_str() == word)
                else {
                    let all: Vec<&str> = Dependency::ALL.iter().map(|kind| kind.as_str()).collect();
                    let why = format!("`{word}` is none of {}", all.join(", "));
                    self.faults.add(&join(place, "type"), why);
                    return None;
                };
                kind
            }
        };
        Some(Need { task: task?, kind })
    }

    fn paths(&mut self, map: &Map<String, Value>, place: &str) -> Vec<String> {
        let paths = self.texts(map, "paths", place);
        for (index, path) in paths.iter().enumerate() {
            if let Err(why) = paths::check(path) {
                self.faults.add(&format!("{}[{index}]", join(place, "paths")), why);
            }
        }
        paths
    }

    /// A number of hours, or three.
    fn hours(&mut self, map: &Map<String, Value>, place: &str) -> Option<Hours> {
        let place = join(place, "estimate");
        let value = map.get("estimate").filter(|value| !value.is_null())?;
        if let Some(hours) = value.as_f64() {
            return self.amount(hours, &place).map(Hours::around);
        }
        let map = self.map(value, &place)?;
        self.known(map, &place, &["optimistic", "likely", "pessimistic", "expected"]);
        let mut one = |key: &str| {
            let place = join(&place, key);
            match map.get(key).map(Value::as_f64) {
                Some(Some(hours)) => self.amount(hours, &place),
                Some(None) => {
                    self.faults.add(&place, "must be a number of hours");
                    None
                }
                None => {
                    self.faults.add(&place, "is missing");
                    None
                }
            }
        };
        let (optimistic, likely, pessimistic) =
            (one("optimistic"), one("likely"), one("pessimistic"));
        let hours = Hours { optimistic: optimistic?, likely: likely?, pessimistic: pessimistic? };
        if hours.likely < hours.optimistic || hours.pessimistic < hours.likely {
            let why = "is not in order: `optimistic` is the shortest, `pessimistic` the longest";
            self.faults.add(&place, why);
            return None;
        }
        Some(hours)
    }

    fn amount(&mut self, hours: f64, place: &str) -> Option<f64> {
        if hours.is_finite() && (0.0..=HOURS_MAX).contains(&hours) {
            return Some(round(hours));
        }
        self.faults.add(place, format!("must be 0 to {HOURS_MAX} hours, not {hours}"));
        None
    }

    fn flag(&mut self, map: &Map<String, Value>, key: &str, place: &str) -> bool {
        match map.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                let why = format!("must be true or false, not {}", noun(other));
                self.faults.add(&join(place, key), why);
                false
            }
        }
    }

    fn text(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        place: &str,
        chars_max: usize,
    ) -> Option<String> {
        let place = join(place, key);
        match map.get(key)? {
            Value::Null => None,
            Value::String(text) if text.trim().is_empty() => {
                self.faults.add(&place, "is empty");
                None
            }
            Value::String(text) if text.contains('\0') => {
                self.faults.add(&place, "holds a NUL");
                None
            }
            Value::String(text) if text.chars().nth(chars_max).is_some() => {
                self.faults.add(&place, format!("has more than {chars_max} characters"));
                None
            }
            Value::String(text) => Some(text.clone()),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                self.faults.add(&place, format!("must be text, not {}", noun(other)));
                None
            }
        }
    }

    fn texts(&mut self, map: &Map<String, Value>, key: &str, place: &str) -> Vec<String> {
        let place = join(place, key);
        let mut texts: Vec<String> = Vec::new();
        for (index, value) in self.list(map, key, &place).iter().enumerate() {
            let place = format!("{place}[{index}]");
            match value.as_str().map(str::trim) {
                Some("") => self.faults.add(&place, "is empty"),
                Some(text)
                    if text.contains('\0') || text.chars().nth(TITLE_CHARS_MAX).is_some() =>
                {
                    let why = format!("holds a NUL or more than {TITLE_CHARS_MAX} characters");
                    self.faults.add(&place, why);
                }
                Some(text) if texts.iter().any(|known| known == text) => {}
                Some(text) => texts.push(text.to_owned()),
                None => self.faults.add(&place, format!("must be text, not {}", noun(value))),
            }
        }
        texts
    }

    fn list<'v>(&mut self, map: &'v Map<String, Value>, key: &str, place: &str) -> &'v [Value] {
        match map.get(key) {
            None | Some(Value::Null) => &[],
            Some(Value::Array(list)) if list.len() > LIST_MAX => {
                self.faults.add(place, format!("has {}, at most {LIST_MAX} are taken", list.len()));
                &[]
            }
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.faults.add(place, format!("must be a list, not {}", noun(other)));
                &[]
            }
        }
    }

    fn map<'v>(&mut self, value: &'v Value, place: &str) -> Option<&'v Map<String, Value>> {
        if value.as_object().is_none() {
            self.faults.add(place, format!("must be a map, not {}", noun(value)));
        }
        value.as_object()
    }

    fn known(&mut self, map: &Map<String, Value>, place: &str, known: &[&str]) {
        for key in map.keys().filter(|key| !key.starts_with("x-")) {
            if !known.contains(&key.as_str()) {
                let hint = suggest::or_list(key, known.iter().copied());
                self.faults.add(&join(place, key), format!("is not known here: {hint}"));
            }
        }
    }

    fn has_fault(&self, place: &str) -> bool {
        self.faults.0.iter().any(|fault| fault.place == place)
    }
}

/// Ids of subtasks are those of tasks, with room for what is made of them.
fn is_id(id: &str) -> bool {
    id.len() <= 48 && is_task_id(id) && !RESERVED.contains(&id) && id != "result"
}

fn join(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

const fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// What a planner has to put out, as JSON Schema: the shape alone, because the rest has no schema.
pub fn schema() -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "type": "object",
        "required": ["subtasks"],
        "properties": {
            "subtasks": { "type": "array", "minItems": 1, "items": {
                "type": "object",
                "required": ["id", "prompt"],
                "additionalProperties": false,
                "properties": {
                    "id": { "type": "string", "pattern": "^[a-z][a-z0-9_-]{0,47}$" },
                    "title": { "type": "string" },
                    "prompt": { "type": "string", "minLength": 1 },
                    "requires": texts,
                    "needs": { "type": "array", "items": { "anyOf": [
                        { "type": "string" },
                        { "type": "object", "required": ["task"], "additionalProperties": false,
                          "properties": {
                              "task": { "type": "string" },
                              "type": { "enum": Dependency::ALL.map(Dependency::as_str) },
                          } },
                    ] } },
                    "paths": texts,
                    "estimate": { "anyOf": [
                        { "type": "number", "minimum": 0 },
                        { "type": "object", "required": ["optimistic", "likely", "pessimistic"],
                          "properties": {
                              "optimistic": { "type": "number", "minimum": 0 },
                              "likely": { "type": "number", "minimum": 0 },
                              "pessimistic": { "type": "number", "minimum": 0 },
                          } },
                    ] },
                    "decompose": { "type": "boolean" },
                },
            } },
        },
    })
}
