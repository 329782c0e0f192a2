//! What the pure rules cost: a definition compiled, an expression rendered, a waiting row decided.
//! Beside each stands the least that could do part of the same, measured in the same run, because
//! absolute times say more about the machine than about the code.

use std::{collections::HashMap, fmt::Write as _, hint::black_box};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jobshop_engine::{
    expression::{
        self,
        values::{TaskValue, Values},
    },
    flow::{self, Needs},
    plan::{NodeIndex, Plan},
    task::TaskState,
    workflow,
};
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Value, json};

const TASKS: usize = 1_000;

/// A tree: each task needs one above it, and sees its output.
fn definition() -> String {
    let mut text = "version: 1\nname: tree\ninputs: { goal: { type: string, default: build } }\n\
                    tasks:\n  t0: { run: make plan }\n"
        .to_owned();
    for n in 1..TASKS {
        let need = (n - 1) / 4;
        writeln!(
            text,
            "  t{n}:\n    needs: [t{need}]\n    when: inputs.goal == 'build'\n    \
             run: make part\n    env: {{ CODE: \"${{{{ tasks.t{need}.outputs.exit_code }}}}\" }}"
        )
        .expect("writing to a string");
    }
    text
}

fn compile(c: &mut Criterion) {
    let text = definition();
    let mut group = c.benchmark_group("a definition of 1000 tasks");
    group.throughput(Throughput::Elements(TASKS as u64)).sample_size(30);
    group.bench_function("compiled", |b| {
        b.iter(|| workflow::compile(black_box(&text)).expect("it is valid"));
    });
    group.bench_function("reference: its YAML alone", |b| {
        b.iter(|| serde_saphyr::from_str::<Value>(black_box(&text)).expect("it is valid"));
    });
    group.finish();
}

/// The last task of the tree, with what its templates refer to.
fn waiting(plan: &Plan) -> (NodeIndex, Values) {
    let index = NodeIndex(u32::try_from(TASKS - 1).expect("few tasks"));
    let outputs = json!({ "exit_code": 0 });
    let done = TaskValue { status: TaskState::Completed, outputs, error: None };
    let needs = plan.node(index).needs.iter().map(|need| (*need, done.clone()));
    let inputs = json!({ "goal": "build" }).as_object().cloned().expect("an object");
    (index, Values { inputs, tasks: needs.collect::<HashMap<_, _>>(), ..Values::default() })
}

const TEMPLATE: &str = "build ${{ inputs.goal }} of ${{ inputs.parts | length }} parts";
const BARE: &str = "build {{ inputs.goal }} of {{ inputs.parts | length }} parts";

fn render(c: &mut Criterion) {
    let plan = workflow::compile(&definition()).expect("it is valid");
    let inputs = json!({ "goal": "build", "parts": ["engine", "workers", "api"] });
    let values =
        Values { inputs: inputs.as_object().cloned().expect("an object"), ..Values::default() };
    let scope = values.scope(&plan, None);
    let mut bare = Environment::new();
    bare.set_undefined_behavior(UndefinedBehavior::Strict);
    let context = expression::from_json(&json!({ "inputs": inputs }));
    let expected = "build build of 3 parts";
    assert_eq!(expression::render_text(TEMPLATE, &scope).expect("it renders"), expected);
    assert_eq!(bare.render_str(BARE, context.clone()).expect("it renders"), expected);

    let mut group = c.benchmark_group("a text with two expressions");
    group.bench_function("rendered", |b| {
        b.iter(|| expression::render_text(black_box(TEMPLATE), &scope));
    });
    group.bench_function("rendered, its names looked up first", |b| {
        b.iter(|| expression::render_text(black_box(TEMPLATE), &values.scope(&plan, None)));
    });
    group.bench_function("reference: bare minijinja", |b| {
        b.iter(|| bare.render_str(black_box(BARE), context.clone()));
    });
    group.finish();
}

fn decide(c: &mut Criterion) {
    let plan = workflow::compile(&definition()).expect("it is valid");
    let (index, values) = waiting(&plan);
    let good = Needs { bad: 0, any_good: true };
    let bad = Needs { bad: 1, any_good: false };
    let bare = Environment::new();
    let goal = bare.compile_expression("inputs.goal == 'build'").expect("it is valid");
    let mut group = c.benchmark_group("a row that waited");
    group.bench_function("let go by its condition", |b| {
        b.iter(|| flow::decide(&plan, index, black_box(good), &values));
    });
    group.bench_function("refused by its join", |b| {
        b.iter(|| flow::decide(&plan, index, black_box(bad), &values));
    });
    group.bench_function("reference: its condition alone, compiled before", |b| {
        b.iter_batched(
            || expression::from_json(&json!({ "inputs": values.inputs })),
            |context| goal.eval(context),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(rules, compile, render, decide);
criterion_main!(rules);
