//! From genes to a workflow that is valid, and whose every expression has one value however its
//! tasks race: an expression looks only at what has surely ended.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    flow::{
        By, Child, Class, Each, Ending, Flow, INPUTS, Items, Join, Kind, Rounds, Task, Work, input,
    },
    generate::{
        EachGenes, FlowGenes, KindGenes, RoundsGenes, TaskGenes, TermGenes, WhenGenes, WorkGenes,
    },
    terms::{Keys, Look, Term, Way, What, When},
};

pub(super) fn flow(genes: FlowGenes) -> Flow {
    let mut builder = Builder::default();
    let tasks = builder.level(&genes.tasks, &Place::default());
    let all: Vec<String> = tasks.iter().map(|task| task.id.clone()).collect();
    let place = Place { ended: all, ..Place::default() };
    let after = Place { after_the_result: true, ..place.clone() };
    let finally = builder.level(&genes.finally, &after);
    let outputs = genes.outputs.iter().map(|term| builder.term(*term, &place)).collect();
    Flow {
        tasks,
        finally,
        fail_fast: genes.fail_fast,
        retry: genes.retry,
        outputs,
        steering: genes.steering,
    }
}

/// What an expression can name at a place.
#[derive(Debug, Clone, Default)]
struct Place {
    /// Tasks and groups that have surely ended.
    ended: Vec<String>,
    /// Those that `needs` names.
    needs: Vec<String>,
    /// The items and rounds around it, by what they are called.
    items: Vec<String>,
    /// Loops around it, each with a task of its rounds, which has ended in the round before.
    before: Vec<(String, String)>,
    /// The result of the session is decided.
    after_the_result: bool,
    /// What stands in a group with a lock has none of its own.
    is_locked: bool,
}

#[derive(Default)]
struct Builder {
    count: usize,
    /// What was built, by id.
    built: HashMap<String, Task>,
}

impl Builder {
    fn next_id(&mut self) -> String {
        let letter = char::from(b'a' + u8::try_from(self.count % 26).expect("below 26"));
        let round = self.count / 26;
        self.count += 1;
        if round == 0 { letter.to_string() } else { format!("{letter}{round}") }
    }

    fn level(&mut self, genes: &[TaskGenes], outer: &Place) -> Vec<Task> {
        self.level_of(genes, outer, None)
    }

    /// A level which, if so said, is a round of that loop.
    fn level_of(&mut self, genes: &[TaskGenes], outer: &Place, looped: Option<&str>) -> Vec<Task> {
        let mut tasks: Vec<Task> = Vec::with_capacity(genes.len());
        // By position: what has surely ended once the task has.
        let mut ended_with: Vec<Vec<String>> = Vec::with_capacity(genes.len());
        let mut outer = outer.clone();
        for gene in genes {
            let mut needs: Vec<usize> =
                gene.needs.iter().filter_map(|back| tasks.len().checked_sub(*back)).collect();
            needs.sort_unstable();
            needs.dedup();
            let mut place = outer.clone();
            let mut known = Vec::new();
            for need in &needs {
                place.needs.push(tasks[*need].id.clone());
                if gene.join != Join::Any {
                    known.extend(ended_with[*need].iter().cloned());
                }
            }
            known.sort();
            known.dedup();
            place.ended.extend(known.iter().cloned());
            let id = self.next_id();
            let mut locks = gene.locks.clone();
            locks.sort_unstable();
            locks.dedup();
            let is_free = !place.is_locked;
            place.is_locked |= !locks.is_empty();
            let kind = self.kind(&gene.kind, &place, &id);
            if !is_free || !Task::is_lockable(&kind) {
                locks.clear();
            }
            let mut task = Task {
                needs: needs.iter().map(|need| tasks[*need].id.clone()).collect(),
                join: gene.join,
                when: gene.when.as_ref().map(|when| self.when(when, &place)),
                continue_on_failure: gene.continue_on_failure,
                kind,
                locks,
                id: id.clone(),
                compensate: None,
            };
            self.built.insert(id.clone(), task.clone());
            let is_undoable = matches!(task.kind, Kind::Work(_) | Kind::Child(_));
            if let (Some(genes), true) = (&gene.compensate, is_undoable && !place.after_the_result)
            {
                place.ended.push(id.clone());
                let place =
                    Place { needs: vec![], before: vec![], after_the_result: true, ..place };
                let mut undoing = self.work(genes, &place);
                if undoing.by == By::Agent {
                    undoing.by = By::Command;
                }
                task.compensate = Some(undoing);
            }
            if let Some(around) = looped {
                outer.before.push((around.to_owned(), id.clone()));
            }
            known.push(id);
            ended_with.push(known);
            tasks.push(task);
        }
        tasks
    }

    fn kind(&mut self, genes: &KindGenes, place: &Place, id: &str) -> Kind {
        match genes {
            KindGenes::Work(work) => Kind::Work(self.work(work, place)),
            KindGenes::Sleep(ms) => Kind::Sleep(*ms),
            KindGenes::Ask(verdict) => Kind::Ask(*verdict),
            KindGenes::Wait(coming) => Kind::Wait(*coming),
            KindGenes::Group(tasks) => Kind::Group(self.level(tasks, place)),
            KindGenes::Each(each) => Kind::Each(self.each(each, place)),
            KindGenes::Child(uses, with, retry) => Kind::Child(Child {
                uses: *uses,
                with: self.term(*with, place),
                retry: retry.clone(),
            }),
            KindGenes::Rounds(rounds) => Kind::Rounds(self.rounds(rounds, place, id)),
        }
    }

    fn work(&self, genes: &WorkGenes, place: &Place) -> Work {
        let mut work = Work {
            by: genes.by,
            retry: genes.retry.clone(),
            env: genes.env.map(|term| self.term(term, place)),
            endings: genes.endings.clone(),
            again: genes.again.clone(),
        };
        if work.by == By::Request && (work.env.is_some() || work.writes()) {
            work.by = By::Command;
        }
        if work.env.is_some() {
            // A template that cannot be rendered fails before anything could crash.
            let endings = work.endings.iter_mut().flatten().chain(&mut work.again);
            endings
                .filter(|ending| **ending == Ending::Crashes)
                .for_each(|ending| *ending = Ending::Fails(Class::Error));
        }
        work
    }

    fn each(&mut self, genes: &EachGenes, place: &Place) -> Each {
        let name = ["item", "inner", "innermost"][place.items.len()].to_owned();
        let items = match genes.given {
            Some(term) => Items::Given(self.list_term(term, place)),
            None => Items::List(genes.list.clone()),
        };
        let mut inside = place.clone();
        inside.items.push(name.clone());
        Each {
            items,
            name,
            key: genes.key,
            max_parallel: genes.max_parallel,
            tasks: self.level(&genes.tasks, &inside),
        }
    }

    fn rounds(&mut self, genes: &RoundsGenes, place: &Place, id: &str) -> Rounds {
        let name = ["round", "inner", "innermost"][place.items.len()].to_owned();
        let mut inside = place.clone();
        inside.items.push(name.clone());
        let tasks = self.level_of(&genes.tasks, &inside, Some(id));
        for task in &tasks {
            inside.before.push((id.to_owned(), task.id.clone()));
            inside.ended.push(task.id.clone());
        }
        let until = self.when(&genes.until, &inside);
        Rounds { until, most: genes.most, name, tasks }
    }

    /// Something to be looked at: a task that has ended, where there is one.
    fn term(&self, genes: TermGenes, place: &Place) -> Term {
        let mut looks = Vec::new();
        for id in &place.ended {
            looks_at(&self.built[id], &mut Vec::new(), id, &mut looks);
        }
        for (around, id) in &place.before {
            let way = vec![Way::Task(id.clone())];
            let puts_out = self.built[id].work().is_some_and(Work::names_outputs);
            for what in [What::Status, What::Output("n")] {
                if !puts_out && what != What::Status {
                    continue;
                }
                let (id, way) = (around.clone(), way.clone());
                looks.push(Look { through_needs: false, id, way, what });
            }
        }
        if genes.looks && !looks.is_empty() {
            let mut look = looks.swap_remove(genes.pick % looks.len());
            look.through_needs = genes.through_needs && place.needs.contains(&look.id);
            return Term::Task(look);
        }
        if place.after_the_result && genes.pick.is_multiple_of(3) {
            return Term::Status;
        }
        let others = INPUTS.len() + place.items.len();
        match (genes.pick % others).checked_sub(INPUTS.len()) {
            None => Term::Input(INPUTS[genes.pick % others]),
            Some(at) => Term::Item(place.items[at].clone()),
        }
    }

    /// Something that is a list, if there is one.
    fn list_term(&self, genes: TermGenes, place: &Place) -> Term {
        for offset in 0..8 {
            let term = self.term(TermGenes { pick: genes.pick + offset, ..genes }, place);
            let is_list = match &term {
                Term::Input(name) => input(name).is_array(),
                Term::Task(look) => matches!(look.what, What::Keys(_) | What::Output("list")),
                Term::Item(_) | Term::Literal(_) | Term::Status => false,
            };
            if is_list {
                return term;
            }
        }
        if genes.pick.is_multiple_of(8) { self.term(genes, place) } else { Term::Input("list") }
    }

    fn when(&self, genes: &WhenGenes, place: &Place) -> When {
        let term = self.term(genes.term, place);
        let mut when = plain_condition(genes, term);
        if is_no_condition(&when) {
            // Inside of another expression it would count as true or false.
            return when;
        }
        if genes.negated {
            when = When::Not(Box::new(when));
        }
        let Some(second) = &genes.second else { return when };
        let other = self.when(&second.1, place);
        if is_no_condition(&other) {
            return when;
        }
        let (when, other) = (Box::new(when), Box::new(other));
        if second.0 { When::Both(when, other) } else { When::Either(when, other) }
    }
}

/// Everything of a task that can be looked at.
fn looks_at(task: &Task, way: &mut Vec<Way>, id: &str, looks: &mut Vec<Look>) {
    let mut add = |what| {
        looks.push(Look { through_needs: false, id: id.to_owned(), way: way.clone(), what });
    };
    add(What::Status);
    match &task.kind {
        Kind::Work(work) => {
            add(What::ErrorClass);
            if work.names_outputs() {
                add(What::Output("n"));
            }
            if work.writes() {
                add(What::Output("n"));
                add(What::Output("list"));
            }
        }
        Kind::Child(_) => {
            add(What::ErrorClass);
            add(What::Output("text"));
        }
        Kind::Sleep(_) | Kind::Ask(_) | Kind::Wait(_) | Kind::Group(_) | Kind::Rounds(_) => {}
        Kind::Each(_) => {
            for keys in Keys::ALL {
                add(What::Keys(keys));
                add(What::Count(keys));
            }
        }
    }
    for inner in task.inner() {
        let steps = match &task.kind {
            Kind::Each(each) => keys_of(each)
                .into_iter()
                .map(|key| Way::Item { key, task: inner.id.clone() })
                .collect(),
            Kind::Work(_)
            | Kind::Sleep(_)
            | Kind::Ask(_)
            | Kind::Wait(_)
            | Kind::Child(_)
            | Kind::Group(_)
            | Kind::Rounds(_) => vec![Way::Task(inner.id.clone())],
        };
        for step in steps {
            way.push(step);
            looks_at(inner, way, id, looks);
            way.pop();
        }
    }
}

/// A value that is no boolean.
fn is_no_condition(when: &When) -> bool {
    matches!(when, When::Is(term) if !matches!(term, Term::Input("yes" | "no")))
}

/// A condition that fits what the term is.
fn plain_condition(genes: &WhenGenes, term: Term) -> When {
    let pick = |values: &[Value]| values[genes.value % values.len()].clone();
    let statuses = [json!("completed"), json!("failed"), json!("skipped"), json!("cancelled")];
    let keys = [json!("0"), json!("a"), json!("1"), json!("2")];
    let simple = [json!(2), json!("a"), json!(3), json!("b")];
    let values: &[Value] = match &term {
        Term::Task(Look { what: What::Status, .. }) => &statuses,
        Term::Task(Look { what: What::ErrorClass, .. }) => &[json!("error"), json!("timeout")],
        Term::Task(Look { what: What::Count(_), .. }) => &[json!(0), json!(1), json!(2)],
        Term::Task(Look { what: What::Keys(_), .. }) => {
            return match genes.shape {
                0 => When::Equal(term, json!(["0"])),
                1 => When::Equal(term, json!(["0", "1"])),
                2 => When::Is(term),
                _ => When::Has(term, pick(&keys)),
            };
        }
        Term::Status => &[json!("failed"), json!("completed"), json!("stopped")],
        Term::Input("yes" | "no") => return When::Is(term),
        Term::Input("list") => return When::Has(term, pick(&simple)),
        Term::Input(_) if genes.shape == 0 => return When::Is(term),
        Term::Input(_) | Term::Item(_) | Term::Literal(_) | Term::Task(_) => &simple,
    };
    match genes.shape {
        0 => When::Defined(term),
        1..=3 => When::Differ(term, pick(values)),
        _ => When::Equal(term, pick(values)),
    }
}

/// Keys that items of a group may have.
fn keys_of(each: &Each) -> Vec<String> {
    let from_items = match &each.items {
        Items::List(list) => list.first(),
        Items::Given(_) => None,
    };
    let mut keys = vec!["0".to_owned()];
    match from_items {
        Some(Value::String(text)) if !text.contains(' ') && !text.is_empty() => {
            keys.push(text.clone());
        }
        Some(Value::Number(number)) if number.is_u64() => keys.push(number.to_string()),
        _ => keys.push("1".to_owned()),
    }
    keys
}
