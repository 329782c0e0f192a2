//! The closed sets of words about agents: types, capabilities that everybody knows, tiers, levels of
//! load, complexity.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident $what:literal { $($(#[$inner:meta])* $word:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            JsonSchema, utoipa::ToSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$inner])* $word),+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$word),+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text),+
                }
            }

            /// The number under which the database keeps it.
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// What is kept under `code`, if there is such a thing.
            pub fn from_code(code: i16) -> Option<Self> {
                usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|it| it.as_str() == text).ok_or_else(|| {
                    let all: Vec<&str> = Self::ALL.iter().map(|it| it.as_str()).collect();
                    format!("`{text}` is no {}: one of {}", $what, all.join(", "))
                })
            }
        }
    };
}

words! {
    /// What an agent mainly does.
    AgentType "type of agents" {
        Architect = "architect",
        Implementer = "implementer",
        Reviewer = "reviewer",
        Debugger = "debugger",
        Integrator = "integrator",
        Orchestrator = "orchestrator",
        Analyst = "analyst",
        Optimizer = "optimizer",
    }
}

words! {
    /// How demanding a task is, and what an agent is best at.
    Complexity "complexity" {
        Simple = "simple",
        Medium = "medium",
        Complex = "complex",
        Expert = "expert",
    }
}

words! {
    /// How well an agent did so far, worst first.
    Tier "tier" {
        Degraded = "degraded",
        Trainee = "trainee",
        Competent = "competent",
        Advanced = "advanced",
        Elite = "elite",
    }
}

words! {
    /// How much of its capacity an agent uses.
    Load "level of load" {
        Idle = "idle",
        Optimal = "optimal",
        High = "high",
        Critical = "critical",
        Overloaded = "overloaded",
    }
}

/// The capabilities whose names mean the same everywhere; any other name is as good.
pub const CAPABILITIES: [&str; 33] = [
    "requirements_analysis",
    "system_design",
    "architecture_planning",
    "task_decomposition",
    "code_generation",
    "test_generation",
    "testing",
    "documentation",
    "refactoring",
    "code_review",
    "security_audit",
    "performance_analysis",
    "compliance_check",
    "debugging",
    "bug_fixing",
    "troubleshooting",
    "root_cause_analysis",
    "optimization",
    "deployment",
    "configuration",
    "monitoring",
    "scaling",
    "workflow_orchestration",
    "resource_allocation",
    "conflict_resolution",
    "progress_tracking",
    "backend_development",
    "frontend_development",
    "database_design",
    "api_development",
    "performance_optimization",
    "error_handling",
    "ci_cd",
];

impl AgentType {
    /// The capabilities that make an agent one of this type.
    pub const fn primary(self) -> &'static [&'static str] {
        match self {
            Self::Architect => &[
                "requirements_analysis",
                "system_design",
                "architecture_planning",
                "task_decomposition",
                "database_design",
            ],
            Self::Implementer => &[
                "code_generation",
                "test_generation",
                "testing",
                "documentation",
                "refactoring",
                "backend_development",
                "frontend_development",
                "api_development",
                "error_handling",
            ],
            Self::Reviewer => {
                &["code_review", "security_audit", "performance_analysis", "compliance_check"]
            }
            Self::Debugger => {
                &["debugging", "bug_fixing", "troubleshooting", "root_cause_analysis"]
            }
            Self::Integrator => &["deployment", "configuration", "monitoring", "scaling", "ci_cd"],
            Self::Orchestrator => &[
                "workflow_orchestration",
                "resource_allocation",
                "conflict_resolution",
                "progress_tracking",
            ],
            Self::Analyst => &["requirements_analysis", "performance_analysis"],
            Self::Optimizer => {
                &["optimization", "performance_optimization", "performance_analysis"]
            }
        }
    }

    /// The type of an agent that does not say: the one with most of these among its primary
    /// capabilities, an implementer where none has any.
    pub fn of_capabilities(capabilities: &[String]) -> Self {
        let count = |kind: Self| {
            capabilities.iter().filter(|it| kind.primary().contains(&it.as_str())).count()
        };
        let most = Self::ALL.iter().copied().map(count).max().unwrap_or_default();
        let first = Self::ALL.iter().copied().find(|kind| count(*kind) == most);
        first.filter(|_| most > 0).unwrap_or(Self::Implementer)
    }
}

impl Tier {
    /// The tier of a success rate.
    pub fn of(success: f64) -> Self {
        match success {
            it if it >= 0.95 => Self::Elite,
            it if it >= 0.85 => Self::Advanced,
            it if it >= 0.70 => Self::Competent,
            it if it >= 0.50 => Self::Trainee,
            _ => Self::Degraded,
        }
    }

    /// What it multiplies the rest of a score with. Nobody is multiplied with nothing: whoever did
    /// badly may become better, and keeping away from the broken is the breaker's business.
    pub const fn multiplier(self) -> f64 {
        match self {
            Self::Elite => 1.1,
            Self::Advanced => 1.05,
            Self::Competent => 1.0,
            Self::Trainee => 0.9,
            Self::Degraded => 0.5,
        }
    }
}

impl Load {
    /// The level at which `running` of `capacity` attempts run.
    pub fn of(running: i32, capacity: i32) -> Self {
        match utilisation(running, capacity) {
            it if it <= 0.2 => Self::Idle,
            it if it <= 0.7 => Self::Optimal,
            it if it <= 0.9 => Self::High,
            it if it <= 1.0 => Self::Critical,
            _ => Self::Overloaded,
        }
    }
}

/// Which part of its capacity is used; more than 1 where too much is.
pub(super) fn utilisation(running: i32, capacity: i32) -> f64 {
    f64::from(running.max(0)) / f64::from(capacity.max(1))
}
