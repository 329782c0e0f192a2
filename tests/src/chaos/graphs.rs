//! Random workflows of real commands. Each command writes when it begins and ends into a file
//! outside Postgres; some fail, by the number of their process, so that nobody knows beforehand.

use std::{fmt::Write as _, path::Path};

use rand::{Rng, rngs::StdRng};

use super::checks::MAX_ATTEMPTS;

/// Locks that tasks of all sessions share, each held by one at a time.
const LOCKS: u32 = 4;

/// A definition, and what its sessions will do.
#[derive(Debug)]
pub(super) struct Graph {
    pub definition: String,
    /// Executable tasks.
    pub tasks: usize,
    /// Of these, the ones that run no command.
    pub silent: usize,
    /// Whether a task waits for the signal `go`.
    pub waits: bool,
}

/// One command: how long it takes, and how many of ten processes fail.
fn command(random: &mut StdRng) -> String {
    let millis = if random.random_bool(0.1) { 500..2_000 } else { 5..120 };
    let seconds = f64::from(random.random_range::<u32, _>(millis)) / 1_000.0;
    let fails = if random.random_bool(0.2) { 3 } else { 0 };
    let retry = format!("retry: {{ max_attempts: {MAX_ATTEMPTS}, initial: 100ms }}");
    let held = random.random_bool(0.06).then(|| format!("l{}", random.random_range(0..LOCKS)));
    let lock = held.as_ref().map(|name| format!("lock: {name}, ")).unwrap_or_default();
    let held = held.unwrap_or_default();
    let env = format!("env: {{ SECONDS: '{seconds}', FAILS: '{fails}', HELD: '{held}' }}");
    format!("{{ run: *script, {retry}, {lock}{env}, NEEDS }}")
}

fn needs(random: &mut StdRng, before: usize) -> String {
    let mut wanted: Vec<String> = (0..before)
        .rev()
        .take(8)
        .filter(|_| random.random_bool(0.3))
        .map(|task| format!("t{task}"))
        .collect();
    wanted.sort();
    let join = if random.random_bool(0.7) { "all_done" } else { "all" };
    format!("needs: [{}], join: {join}", wanted.join(", "))
}

/// What a command does; `$$` is the process that says so in its outputs.
fn script(journal: &Path) -> String {
    let journal = journal.display();
    format!(
        "now() {{ date +%s%N; }}\n\
         echo \"b $JOBSHOP_FENCE $$ $(now)\" >> {journal}\n\
         if [ -n \"$HELD\" ]; then echo \"l $JOBSHOP_FENCE $$ $HELD\" >> {journal}; fi\n\
         sleep $SECONDS\n\
         code=0; if [ $(( $$ % 10 )) -lt $FAILS ]; then code=1; fi\n\
         echo \"process:=$$\" >> $JOBSHOP_OUTPUT\n\
         echo \"e $JOBSHOP_FENCE $$ $(now) $code\" >> {journal}\n\
         exit $code\n"
    )
}

/// A new one for each call.
pub(super) fn random(random: &mut StdRng, journal: &Path) -> Graph {
    let count = random.random_range(3..18);
    let mut yaml = format!("version: 1\nname: g{}\n", random.random::<u32>());
    let indented = script(journal).replace('\n', "\n  ");
    let _ = write!(yaml, "x-script: &script |\n  {indented}\ntasks:\n");
    let mut graph = Graph { definition: String::new(), tasks: 0, silent: 0, waits: false };
    for task in 0..count {
        let needs = needs(random, task);
        if random.random_bool(0.12) {
            let items = random.random_range(2..9);
            let keys: Vec<String> = (0..items).map(|key| key.to_string()).collect();
            let [first, second] = [command(random), command(random)];
            let first = first.replace(", NEEDS", "");
            let second = second.replace("NEEDS", "needs: [a], join: all_done");
            let keys = keys.join(", ");
            let tasks = format!("tasks: {{ a: {first}, b: {second} }}");
            let _ = writeln!(yaml, "  t{task}: {{ {needs}, for_each: [{keys}], {tasks} }}");
            graph.tasks += 2 * items;
        } else {
            let _ = writeln!(yaml, "  t{task}: {}", command(random).replace("NEEDS", &needs));
            graph.tasks += 1;
        }
    }
    if random.random_bool(0.15) {
        yaml.push_str("  gate: { needs: [t0], join: all_done, wait_for: go }\n");
        let _ = writeln!(yaml, "  after: {}", command(random).replace("NEEDS", "needs: [gate]"));
        graph.waits = true;
        graph.silent += 1;
        graph.tasks += 2;
    }
    Graph { definition: yaml, ..graph }
}
