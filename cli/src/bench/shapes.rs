//! The workflows that benchmarks run: real definitions, of tasks that do nothing.

use std::fmt::Write as _;

/// So many tasks beside each other, that may require a capability.
pub(super) fn parallel(name: &str, tasks: usize, requires: Option<&str>) -> String {
    let mut yaml = head(name);
    let requires = requires.map_or_else(String::new, |it| format!(", requires: [{it}]"));
    for task in 1..=tasks {
        let _ = writeln!(yaml, "  t{task}: {{ uses: builtin/noop{requires} }}");
    }
    yaml
}

/// So many tasks, each after the one before.
pub(super) fn chain(name: &str, steps: usize) -> String {
    let mut yaml = head(name);
    for step in 1..=steps {
        let needs = if step == 1 { String::new() } else { format!("needs: [t{}], ", step - 1) };
        let _ = writeln!(yaml, "  t{step}: {{ {needs}uses: builtin/noop }}");
    }
    yaml
}

/// One task, so many after it, and one after all of them.
pub(super) fn fan(name: &str, width: usize) -> String {
    let mut yaml = head(name);
    yaml.push_str("  first: { uses: builtin/noop }\n");
    for task in 1..=width {
        let _ = writeln!(yaml, "  t{task}: {{ needs: [first], uses: builtin/noop }}");
    }
    let all: Vec<String> = (1..=width).map(|task| format!("t{task}")).collect();
    let _ = writeln!(yaml, "  last: {{ needs: [{}], uses: builtin/noop }}", all.join(", "));
    yaml
}

fn head(name: &str) -> String {
    format!("version: 1\nname: {name}\ntasks:\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_valid_workflow() {
        for yaml in [parallel("a", 3, Some("x")), chain("b", 3), fan("c", 3)] {
            assert!(jobshop_engine::workflow::compile(&yaml).is_ok(), "{yaml}");
        }
    }
}
