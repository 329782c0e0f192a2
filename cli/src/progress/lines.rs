//! A session as plain lines, one a transition: for pipes and logs.

use std::io;

use crate::client::objects::Event;
use crate::output::Output;

use super::Progress;

/// Writes a line for every event; to standard error when standard output belongs to JSON.
#[derive(Debug)]
pub struct Lines {
    output: Output,
    progress: Progress,
}

impl Lines {
    pub(super) fn new(output: Output) -> Self {
        Self { output, progress: Progress::default() }
    }

    pub(super) fn show(&mut self, event: &Event) -> io::Result<()> {
        let step = self.progress.apply(event);
        let name = step.task.as_deref().unwrap_or("session");
        let time = step.at.format("%H:%M:%S");
        let line = format!("{time}  {name:<28}  {:<16} {}", step.word, step.detail());
        if self.output.is_json() {
            self.output.note(line.trim_end());
            return Ok(());
        }
        self.output.line(line.trim_end())
    }
}
