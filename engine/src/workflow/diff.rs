//! Two definitions side by side, as people read changes. It does not know the language: lines are
//! lines.

use similar::TextDiff;

/// Lines that are shown around each change.
const CONTEXT: usize = 3;

/// The unified diff of two texts with what each is called; empty when they are the same.
pub fn unified(before: (&str, &str), after: (&str, &str)) -> String {
    if before.1 == after.1 {
        return String::new();
    }
    let diff = TextDiff::from_lines(before.1, after.1);
    let mut unified = diff.unified_diff();
    unified.context_radius(CONTEXT).header(before.0, after.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_the_lines_around_it() {
        let before = "version: 1\nname: a\ntasks:\n  x: { run: ls }\n";
        let after = "version: 1\nname: a\ntasks:\n  x: { run: pwd }\n";
        insta::assert_snapshot!(unified(("a@1", before), ("a.yaml", after)), @r"
        --- a@1
        +++ a.yaml
        @@ -1,4 +1,4 @@
         version: 1
         name: a
         tasks:
        -  x: { run: ls }
        +  x: { run: pwd }
        ");
        assert_eq!(unified(("a", before), ("b", before)), "");
    }
}
