//! A session drawn live on a terminal: a line for every task that runs, groups folded into one, a
//! bar for the session. What has ended moves up into the scrolled text.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jobshop_engine::event::EventKind as E;

use crate::client::objects::{Event, Session};
use crate::output::Output;

use super::model::{FAILED_MAX, Inside, numbers};
use super::{Progress, Step};

/// More running tasks than this are only counted.
const LINES_MAX: usize = 16;
const TICK: Duration = Duration::from_millis(120);

/// The drawn state.
pub struct Live {
    area: MultiProgress,
    bar: ProgressBar,
    progress: Progress,
    /// The lines of running tasks and open groups at the top of the session.
    lines: BTreeMap<String, Line>,
    is_coloured: bool,
}

struct Line {
    /// `None` when there was no room.
    bar: Option<ProgressBar>,
    group: Inside,
}

impl Live {
    pub(super) fn new(output: Output) -> Self {
        let (target, is_coloured) = if output.is_json() {
            (ProgressDrawTarget::stderr(), output.is_error_coloured())
        } else {
            (ProgressDrawTarget::stdout(), output.is_coloured())
        };
        let area = MultiProgress::with_draw_target(target);
        let bar = area.add(ProgressBar::new(1).with_style(bar_style(is_coloured)));
        bar.enable_steady_tick(TICK);
        Self { area, bar, progress: Progress::default(), lines: BTreeMap::new(), is_coloured }
    }

    /// The numbers of the whole session.
    pub(super) fn count(&mut self, session: &Session) {
        let counts = session.counts;
        self.bar.set_length(counts.total.max(1));
        self.bar.set_position(counts.ended());
        let failed = counts.failed + counts.cancelled;
        let numbers = numbers(&[(counts.in_progress, "running"), (failed, "failed")]);
        self.bar.set_message(format!("{} {numbers}", session.status));
    }

    pub(super) fn show(&mut self, event: &Event) {
        let step = self.progress.apply(event);
        match (step.task.clone(), step.fold().map(str::to_owned)) {
            (None, _) => self.show_session(&step),
            (Some(_), Some(group)) => self.show_inside(&group, &step),
            (Some(task), None) => self.show_task(&task, &step),
        }
    }

    fn show_session(&self, step: &Step) {
        if step.kind.and_then(E::session_state).is_some() {
            self.bar.set_message(step.word.clone());
        }
    }

    fn show_task(&mut self, task: &str, step: &Step) {
        match step.kind {
            Some(E::TaskInProgress) => {
                let attempt = if step.attempt > 1 {
                    format!("attempt {}", step.attempt)
                } else {
                    String::new()
                };
                self.line(task).tell(attempt);
            }
            Some(E::AttemptFailed | E::TaskReleased | E::TaskCrashed) => {
                self.line(task).tell(format!("{} {}", step.word, step.detail()));
            }
            Some(E::TaskCompleted | E::TaskFailed | E::TaskCancelled | E::TaskSkipped) => {
                let group = self.remove(task);
                let inside = group.map(Inside::text);
                self.print(task, step, &inside.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn show_inside(&mut self, group: &str, step: &Step) {
        let line = self.line(group);
        line.group.apply(step);
        let text = line.group.text();
        line.tell(text);
        let told = line.group.failed <= FAILED_MAX;
        if told && step.kind == Some(E::TaskFailed) && step.why.is_some() {
            let task = step.task.clone().unwrap_or_default();
            self.print(&task, step, "");
        }
    }

    fn line(&mut self, name: &str) -> &mut Line {
        let drawn = self.lines.values().filter(|line| line.bar.is_some()).count();
        let (area, bar, is_coloured) = (&self.area, &self.bar, self.is_coloured);
        self.lines.entry(name.to_owned()).or_insert_with(|| {
            let line = (drawn < LINES_MAX).then(|| {
                let line = area.insert_before(bar, ProgressBar::new_spinner());
                line.set_style(line_style(is_coloured));
                line.set_prefix(name.to_owned());
                line.enable_steady_tick(TICK);
                line
            });
            Line { bar: line, group: Inside::default() }
        })
    }

    fn remove(&mut self, name: &str) -> Option<Inside> {
        let line = self.lines.remove(name)?;
        if let Some(bar) = line.bar {
            bar.finish_and_clear();
            self.area.remove(&bar);
        }
        Some(line.group)
    }

    /// Leaves a line that stays.
    fn print(&self, task: &str, step: &Step, inside: &str) {
        let (sign, colour) = match step.kind {
            Some(E::TaskCompleted) => ("✓", "\x1b[32m"),
            Some(E::TaskFailed) => ("✗", "\x1b[31m"),
            Some(E::TaskCancelled) => ("■", "\x1b[33m"),
            _ => ("-", "\x1b[90m"),
        };
        let (colour, reset) = if self.is_coloured { (colour, "\x1b[0m") } else { ("", "") };
        let word = if step.kind == Some(E::TaskCompleted) { "" } else { step.word.as_str() };
        let facts = [word, inside, step.detail().as_str()]
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        let line = format!("{colour}{sign}{reset} {task:<28} {facts}");
        // A terminal that went away has nobody to tell.
        let _ = self.area.println(line.trim_end());
    }
}

impl Line {
    fn tell(&self, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for line in self.lines.values().filter_map(|line| line.bar.as_ref()) {
            line.finish_and_clear();
        }
        self.bar.finish_and_clear();
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

fn bar_style(is_coloured: bool) -> ProgressStyle {
    let template = if is_coloured {
        "  {bar:32.cyan/dim} {pos}/{len}  {elapsed}  {wide_msg}"
    } else {
        "  {bar:32} {pos}/{len}  {elapsed}  {wide_msg}"
    };
    ProgressStyle::with_template(template).expect("a constant template").progress_chars("━╸─")
}

fn line_style(is_coloured: bool) -> ProgressStyle {
    let template = if is_coloured {
        "{spinner:.cyan} {prefix:28} {elapsed}  {wide_msg:.dim}"
    } else {
        "{spinner} {prefix:28} {elapsed}  {wide_msg}"
    };
    ProgressStyle::with_template(template).expect("a constant template")
}
