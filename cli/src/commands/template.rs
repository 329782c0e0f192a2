//! `jobshop template`: the ways to break down goals that come with Jobshop. They are part of the
//! binary, so no server is asked.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use jobshop_engine::decompose::{self, Breakdown, Dependency, Goal, Hours, Subtask, Template};
use serde_json::{Value, json};

use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::table::{Rows, Text};

#[derive(Debug, Subcommand)]
pub(super) enum TemplateCommand {
    /// List them
    List,
    /// Show the subtasks of one, or the plan that it makes of a goal
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Its name, or NAME@VERSION
    name: String,
    /// The goal to make a plan of
    #[arg(long, value_name = "TEXT")]
    goal: Option<String>,
    /// How many hours are likely for the whole goal; otherwise its words tell
    #[arg(long, requires = "goal", value_name = "N")]
    hours: Option<f64>,
    /// How deep subtasks are broken down
    #[arg(long, requires = "goal", default_value_t = decompose::DEPTH_MAX, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(decompose::DEPTH_MAX)))]
    max_depth: u32,
}

impl TemplateCommand {
    pub(super) fn execute(self, app: &App) -> Result<Exit, Failure> {
        match self {
            Self::List => list(app),
            Self::Show(show) => show.execute(app),
        }
    }
}

fn list(app: &App) -> Result<Exit, Failure> {
    if app.output.is_json() {
        let all = decompose::templates().iter().map(|template| {
            json!({
                "name": template.name,
                "version": template.version,
                "title": template.title,
                "description": template.description,
                "subtasks": template.subtasks.iter().map(|part| &part.id).collect::<Vec<_>>(),
            })
        });
        app.output.json(&Value::Array(all.collect()))?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(app.output, &["name", "version", "subtasks", "for"]);
    for template in decompose::templates() {
        rows.push([
            Text::Plain(&template.name),
            Text::Owned(template.version.to_string()),
            Text::Owned(template.subtasks.len().to_string()),
            Text::Plain(&template.description),
        ]);
    }
    app.output.line(&rows.render())?;
    Ok(Exit::Done)
}

impl Show {
    fn execute(self, app: &App) -> Result<Exit, Failure> {
        let Some(template) = decompose::template(&self.name) else {
            let known: Vec<&str> =
                decompose::templates().iter().map(|template| template.name.as_str()).collect();
            return Err(Failure::new(
                Exit::NotFound,
                format!("there is no template `{}`", self.name),
            )
            .hint(format!("there are {}", known.join(", "))));
        };
        let text = self.goal.as_deref().unwrap_or("the goal");
        let hours = self.hours.filter(|hours| hours.is_finite() && *hours > 0.0);
        let depth_max = if self.goal.is_some() { self.max_depth } else { 1 };
        let goal = Goal { text, hours: hours.map(Hours::around), depth_max };
        let plan = decompose::expand(&goal, template);
        match (app.output.is_json(), &self.goal) {
            (true, Some(_)) => app.output.json(&plan.json())?,
            (true, None) => {
                app.output.json(&serde_json::to_value(template).map_err(std::io::Error::from)?)?;
            }
            (false, goal) => app.output.line(&told(app, template, &plan, goal.is_some()))?,
        }
        Ok(Exit::Done)
    }
}

/// The subtasks as a table; of a goal with hours, otherwise with prompts below it.
fn told(app: &App, template: &Template, plan: &Breakdown, is_plan: bool) -> String {
    let mut rows = Rows::new(app.output, &["subtask", "title", "requires", "needs", "hours"]);
    for subtask in &plan.subtasks {
        row(&mut rows, subtask, 0, is_plan);
    }
    let mut text =
        format!("{}: {}\n{}\n\n", template.reference(), template.title, template.description);
    text.push_str(&rows.render());
    if is_plan {
        let all = decompose::shown(plan);
        let _ = write!(
            text,
            "\n\n{} hours of work, {} ± {} hours along {}",
            all.work,
            all.expected,
            all.deviation,
            all.critical_path.join(", ")
        );
    } else {
        for part in &template.subtasks {
            let _ = write!(text, "\n\n{}\n{}", part.title, part.prompt.trim_end());
        }
    }
    text
}

fn row(rows: &mut Rows, subtask: &Subtask, depth: usize, is_plan: bool) {
    let needs: Vec<String> = subtask
        .needs
        .iter()
        .map(|need| match need.kind {
            Dependency::FinishToStart => need.task.clone(),
            Dependency::StartToStart | Dependency::FinishToFinish | Dependency::StartToFinish => {
                format!("{} ({})", need.task, need.kind)
            }
        })
        .collect();
    let hours = subtask.hours.expected();
    let hours = if is_plan && subtask.is_leaf() { format!("{hours:.1}") } else { String::new() };
    rows.push([
        Text::Owned(format!("{}{}", "  ".repeat(depth), subtask.id)),
        Text::Plain(&subtask.title),
        Text::Owned(subtask.requires.join(" ")),
        Text::Owned(needs.join(" ")),
        Text::Owned(hours),
    ]);
    for part in &subtask.subtasks {
        row(rows, part, depth + 1, is_plan);
    }
}
