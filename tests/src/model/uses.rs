//! The workflows that generated workflows use as tasks.

/// The workflows that tasks may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uses {
    /// Puts out its input.
    Good,
    /// Fails after a task that can be undone.
    Bad,
    /// Has an allowed failure, and puts out its input.
    Mixed,
    /// Uses [`Uses::Good`], and puts out what that does.
    Nested,
    /// Is given an input that it does not have.
    Misfit,
}

impl Uses {
    pub const ALL: [Self; 5] = [Self::Good, Self::Bad, Self::Mixed, Self::Nested, Self::Misfit];

    /// The name of the workflow.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good | Self::Misfit => "child-good",
            Self::Bad => "child-bad",
            Self::Mixed => "child-mixed",
            Self::Nested => "child-nested",
        }
    }

    /// The workflows themselves.
    pub const DEFINITIONS: [&str; 4] = [
        "
version: 1
name: child-good
inputs: { text: { default: none } }
tasks:
  one: { uses: builtin/noop }
  two: { needs: [one], sleep: 1ms }
outputs: { text: '${{ inputs.text }}' }
",
        "
version: 1
name: child-bad
inputs: { text: { default: none } }
tasks:
  one: { uses: builtin/noop, compensate: { uses: builtin/noop } }
  two: { needs: [one], uses: builtin/fail }
finally_timeout: 9000d
finally: { last: { uses: builtin/noop } }
outputs: { text: '${{ inputs.text }}' }
",
        "
version: 1
name: child-mixed
inputs: { text: { default: none } }
tasks:
  one: { uses: builtin/fail, continue_on_failure: true }
  two: { needs: [one], uses: builtin/noop }
outputs: { text: '${{ inputs.text }}' }
",
        "
version: 1
name: child-nested
inputs: { text: { default: none } }
tasks:
  one: { uses: child-good, with: { text: '${{ inputs.text }}' } }
outputs: { text: '${{ tasks.one.outputs.text }}' }
",
    ];
}
