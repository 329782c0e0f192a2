//! What people write out of habit, and what belongs to later parts of the language.

/// How a kind of map talks about its keys.
pub(super) struct Vocabulary {
    /// What it is, for messages.
    pub(super) noun: &'static str,
    /// How it is written, where that is short.
    pub(super) example: Option<&'static str>,
    /// Keys of the language that this version does not support.
    pub(super) later: &'static [&'static str],
    /// Words of other tools: the key that is meant, and the hint.
    habits: &'static [(&'static [&'static str], &'static str, &'static str)],
}

impl Vocabulary {
    /// The key that a word of another tool stands for.
    pub(super) fn habit(&self, key: &str) -> Option<&'static str> {
        self.habits.iter().find(|(words, _, _)| words.contains(&key)).map(|(_, meant, _)| *meant)
    }

    pub(super) fn hint(&self, key: &str) -> Option<&'static str> {
        self.habits.iter().find(|(words, _, _)| words.contains(&key)).map(|(_, _, hint)| *hint)
    }
}

pub(super) static WORKFLOW: Vocabulary = Vocabulary {
    noun: "a workflow",
    example: None,
    later: &[],
    habits: &[
        (&["jobs", "steps", "stages", "nodes", "dag"], "tasks", "use `tasks`"),
        (&["on", "schedule", "cron", "trigger"], "triggers", "use `triggers`"),
        (&["params", "parameters", "arguments", "variables", "vars"], "inputs", "use `inputs`"),
        (&["environment"], "env", "use `env`"),
        (&["fail-fast", "failFast"], "fail_fast", "use `fail_fast`"),
        (
            &["timeout-minutes", "timeout_minutes"],
            "timeout",
            "use `timeout` with a unit: timeout: 30m",
        ),
        (&["id", "title"], "name", "use `name`"),
        (&["retry"], "defaults", "use `defaults: { retry: { … } }`"),
        (&["retries"], "defaults", "use `defaults: { retry: { max_attempts: 3 } }`"),
        (&["apiVersion"], "version", "use `version: 1`"),
        (
            &["on_exit", "onExit", "on-exit", "always", "post", "after", "cleanup"],
            "finally",
            "use `finally`: its tasks run once the result is decided",
        ),
    ],
};

pub(super) static TRIGGERS: Vocabulary = Vocabulary {
    noun: "`triggers`",
    example: Some("{ schedule: [{ id: nightly, cron: \"0 2 * * *\" }] }"),
    later: &[],
    habits: &[(&["schedules", "cron", "crons", "timer"], "schedule", "use `schedule` with a list")],
};

pub(super) static SCHEDULE: Vocabulary = Vocabulary {
    noun: "a schedule",
    example: Some("{ id: nightly, cron: \"0 2 * * *\", timezone: Europe/Amsterdam }"),
    later: &[],
    habits: &[
        (&["name", "key"], "id", "use `id`"),
        (&["schedule", "expression", "at", "every"], "cron", "use `cron`: \"0 2 * * *\""),
        (&["tz", "time_zone", "timeZone", "zone"], "timezone", "use `timezone`"),
        (&["inputs", "args", "params", "parameters"], "with", "use `with`"),
        (
            &["concurrencyPolicy", "concurrency_policy", "overlap_policy", "concurrency"],
            "overlap",
            "use `overlap: skip`, `allow`, `queue` or `cancel`",
        ),
        (
            &["catchup", "catch-up", "misfire", "backfill"],
            "catch_up",
            "use `catch_up: latest`, `all` or `none`",
        ),
        (
            &["catchup_window", "startingDeadlineSeconds", "deadline"],
            "catch_up_window",
            "use `catch_up_window` with a unit: 6h",
        ),
        (&["pause_on_failure", "max_failures"], "pause_after", "use `pause_after: 3`"),
        (&["limit", "count", "max_runs_total", "runs"], "max_runs", "use `max_runs`"),
        (&["start_at", "from", "starts_at"], "start", "use `start`"),
        (&["end", "end_at", "to", "ends_at"], "until", "use `until`"),
    ],
};

pub(super) static TASK: Vocabulary = Vocabulary {
    noun: "a task",
    example: None,
    later: &[],
    habits: &[
        (&["if", "condition", "only", "only_if", "run_if"], "when", "use `when`"),
        (
            &[
                "depends_on",
                "depends-on",
                "dependsOn",
                "dependencies",
                "depends",
                "after",
                "requires_tasks",
            ],
            "needs",
            "use `needs`",
        ),
        (&["jobs", "steps", "nodes", "children", "dag"], "tasks", "use `tasks`"),
        (
            &[
                "continue-on-error",
                "continue_on_error",
                "continueOnError",
                "allow_failure",
                "ignore_errors",
            ],
            "continue_on_failure",
            "use `continue_on_failure: true`",
        ),
        (
            &["timeout-minutes", "timeout_minutes", "timeoutMinutes"],
            "timeout",
            "use `timeout` with a unit: timeout: 30m",
        ),
        (
            &["timeout_seconds", "timeoutSeconds"],
            "timeout",
            "use `timeout` with a unit: timeout: 30s",
        ),
        (
            &[
                "matrix",
                "strategy",
                "foreach",
                "forEach",
                "for-each",
                "with_items",
                "withItems",
                "parallel",
                "map",
            ],
            "for_each",
            "use `for_each` with a list, and put what runs per item under `tasks`",
        ),
        (
            &["script", "command", "cmd", "shell", "exec", "bash", "sh"],
            "run",
            "use `run`: text is a shell script, a list is a command with its arguments",
        ),
        (&["retries", "attempts", "max_attempts"], "retry", "use `retry: { max_attempts: 3 }`"),
        (&["environment"], "env", "use `env`"),
        (&["name", "description", "label"], "title", "use `title`"),
        (&["id"], "title", "a task's id is its key under `tasks`"),
        (&["args", "arguments", "inputs", "params", "parameters"], "with", "use `with`"),
        (&["prompt"], "agent", "use `agent: { runtime: command, prompt: … }`"),
        (
            &["max-parallel", "maxParallel", "parallelism", "concurrency"],
            "max_parallel",
            "use `max_parallel`",
        ),
        (
            &["runs-on", "runs_on", "capabilities", "labels", "tags"],
            "requires",
            "use `requires` with a list",
        ),
        (
            &["working-directory", "working_directory", "workdir", "cwd", "repo"],
            "workspace",
            "use `workspace: { repo: … }`",
        ),
        (&["trigger_rule", "triggerRule"], "join", "use `join: all`, `any` or `all_done`"),
        (&["undo", "rollback", "compensation", "on_failure"], "compensate", "use `compensate`"),
        (
            &["repeat", "while", "until", "do"],
            "loop",
            "use `loop: { until: …, max_rounds: 5 }` on a group",
        ),
        (&["delay", "wait"], "sleep", "use `sleep: 90s`"),
        (
            &["goal", "breakdown", "subtasks"],
            "decompose",
            "use `decompose: { goal: …, template: … }`",
        ),
        (&["files", "touches", "scope"], "paths", "use `paths` with a list"),
        (&["approve", "manual"], "approval", "use `approval`"),
        (&["signal", "wait_for_signal", "on_signal", "listen"], "wait_for", "use `wait_for: NAME`"),
        (&["finally"], "finally", "`finally` stands at the top of a workflow"),
        (
            &["check", "checks", "test", "tests", "validate", "verification"],
            "verify",
            "use `verify`",
        ),
        (
            &["on_verify_failure", "on_verify_error", "verify_retries"],
            "on_verify_fail",
            "use `on_verify_fail: { max_rounds: 2 }`",
        ),
        (
            &["allow-empty", "allow_empty_diff", "no_changes_ok"],
            "allow_empty",
            "use `allow_empty: true`",
        ),
        (&["artefacts", "artifact", "keep", "save", "upload"], "artifacts", "use `artifacts`"),
    ],
};

pub(super) static ON_VERIFY_FAIL: Vocabulary = Vocabulary {
    noun: "`on_verify_fail`",
    example: Some("{ max_rounds: 2 }"),
    later: &[],
    habits: &[
        (
            &["rounds", "retries", "max", "times", "attempts", "max_attempts"],
            "max_rounds",
            "use `max_rounds`",
        ),
        (&["resume", "session", "continue"], "resume_session", "use `resume_session`"),
    ],
};

pub(super) static DECOMPOSE: Vocabulary = Vocabulary {
    noun: "`decompose`",
    example: Some("{ goal: …, template: crud }"),
    later: &[],
    habits: &[
        (&["prompt", "task", "text", "description", "objective"], "goal", "use `goal`"),
        (&["strategy", "pattern", "by"], "template", "use `template`"),
        (&["agent_planner", "plan_by", "architect"], "planner", "use `planner`"),
        (&["subtasks", "tasks", "steps"], "plan", "use `plan: { subtasks: […] }`"),
        (&["depth", "levels", "recursion"], "max_depth", "use `max_depth`"),
        (&["approval", "review", "confirm"], "approve", "use `approve: true`"),
        (&["runtime", "worker", "implementer", "agents"], "agent", "use `agent: { runtime: … }`"),
    ],
};

pub(super) static COMPENSATE: Vocabulary = Vocabulary {
    noun: "`compensate`",
    example: Some("{ run: ./undo.sh }"),
    later: &[],
    habits: &[
        (&["script", "command", "cmd", "shell"], "run", "use `run`"),
        (&["workflow", "task"], "uses", "use `uses`"),
        (&["agent"], "run", "an agent cannot undo: use `run` or `uses`"),
    ],
};

pub(super) static PREFERS: Vocabulary = Vocabulary {
    noun: "`prefers`",
    example: Some("{ type: reviewer, technologies: [rust], complexity: complex }"),
    later: &[],
    habits: &[
        (&["agent", "names", "workers"], "agents", "use `agents` with a list"),
        (&["kind", "agent_type", "role"], "type", "use `type`"),
        (&["technology", "languages", "stack"], "technologies", "use `technologies` with a list"),
        (&["wait", "timeout", "window", "for"], "within", "use `within` with a unit: 10s"),
        (&["capabilities"], "requires", "use `requires` on the task"),
    ],
};

pub(super) static ESTIMATE: Vocabulary = Vocabulary {
    noun: "`estimate`",
    example: Some("{ optimistic: 5m, likely: 10m, pessimistic: 30m }"),
    later: &[],
    habits: &[
        (&["best", "min", "minimum", "low"], "optimistic", "use `optimistic`"),
        (&["expected", "mean", "most_likely", "usual", "duration"], "likely", "use `likely`"),
        (&["worst", "max", "maximum", "high"], "pessimistic", "use `pessimistic`"),
    ],
};

pub(super) static LOOP: Vocabulary = Vocabulary {
    noun: "`loop`",
    example: Some("{ until: tasks.GROUP.tasks.ID.outputs.done, max_rounds: 5 }"),
    later: &[],
    habits: &[
        (&["while", "condition", "when", "if"], "until", "use `until`: true ends the loop"),
        (
            &["max", "times", "limit", "max_iterations", "iterations", "rounds", "max_attempts"],
            "max_rounds",
            "use `max_rounds`",
        ),
    ],
};

pub(super) static INPUT: Vocabulary = Vocabulary {
    noun: "an input",
    example: Some("{ type: string, required: true }"),
    later: &[],
    habits: &[
        (&["choices", "options", "values", "one_of"], "enum", "use `enum` with a list"),
        (&["help", "title"], "description", "use `description`"),
        (&["optional"], "required", "inputs are optional unless `required: true`"),
        (&["value"], "default", "use `default`"),
    ],
};

pub(super) static DEFAULTS: Vocabulary = Vocabulary {
    noun: "`defaults`",
    example: Some("{ timeout: 30m, retry: { max_attempts: 3 } }"),
    later: &[],
    habits: &[
        (&["env", "environment"], "env", "put `env` at the top of the workflow"),
        (&["workspace"], "workspace", "put `workspace` at the top of the workflow"),
        (&["priority"], "priority", "put `priority` at the top of the workflow"),
    ],
};

pub(super) static RETRY: Vocabulary = Vocabulary {
    noun: "`retry`",
    example: Some("{ max_attempts: 3 }"),
    later: &[],
    habits: &[
        (
            &["attempts", "count", "limit", "times", "max", "maximum_attempts"],
            "max_attempts",
            "use `max_attempts`",
        ),
        (
            &["retries", "max_retries"],
            "max_attempts",
            "use `max_attempts`, which counts the first attempt too",
        ),
        (
            &["delay", "interval", "wait", "initial_interval", "initial_delay"],
            "initial",
            "use `initial`",
        ),
        (&["max_delay", "max_interval", "maximum_interval"], "max", "use `max`"),
        (&["on", "when", "retry_on"], "errors", "use `errors` with a list: [error, timeout]"),
        (
            &["factor", "multiplier", "strategy"],
            "backoff",
            "use `backoff: exponential`, `linear` or `constant`",
        ),
    ],
};

pub(super) static WORKSPACE: Vocabulary = Vocabulary {
    noun: "`workspace`",
    example: Some("{ repo: \".\", base: main }"),
    later: &[],
    habits: &[
        (&["repository", "url", "path", "git"], "repo", "use `repo`"),
        (&["branch", "ref", "tag", "commit", "rev"], "base", "use `base`"),
        (&["set_up", "init", "prepare", "bootstrap", "before"], "setup", "use `setup`"),
        (&["disk", "disk_quota", "size", "max_size"], "quota", "use `quota: 2GiB`"),
    ],
};

pub(super) static LOCK: Vocabulary = Vocabulary {
    noun: "a lock",
    example: Some("NAME, or { name: NAME, limit: 2 }"),
    later: &[],
    habits: &[
        (&["key", "id", "group", "mutex", "resource"], "name", "use `name`"),
        (&["max", "count", "permits", "size", "slots", "concurrency"], "limit", "use `limit`"),
    ],
};

pub(super) static BUDGET: Vocabulary = Vocabulary {
    noun: "`budget`",
    example: Some("{ tokens: 2000000, usd: 20, wall_time: 4h }"),
    later: &[],
    habits: &[
        (&["max_tokens", "token_limit", "token"], "tokens", "use `tokens`"),
        (&["cost", "max_cost", "money", "dollars", "max_usd", "price"], "usd", "use `usd`"),
        (
            &["time", "timeout", "duration", "wall", "wall_clock", "max_time"],
            "wall_time",
            "use `wall_time` with a unit: 4h",
        ),
        (
            &["on_exceeded", "on_exhausted", "on_full", "action"],
            "on_exceed",
            "use `on_exceed: pause` or `fail`",
        ),
        (
            &["reservation", "per_task", "per_attempt"],
            "reserve",
            "use `reserve: { tokens: 50000 }`",
        ),
    ],
};

pub(super) static RESERVE: Vocabulary = Vocabulary {
    noun: "`reserve`",
    example: Some("{ tokens: 50000, usd: 1 }"),
    later: &[],
    habits: &[
        (&["max_tokens"], "tokens", "use `tokens`"),
        (&["cost", "money", "dollars"], "usd", "use `usd`"),
        (&["time", "duration", "timeout"], "wall_time", "use `wall_time` with a unit: 10m"),
    ],
};

pub(super) static CONCURRENCY: Vocabulary = Vocabulary {
    noun: "`concurrency`",
    example: Some("{ key: \"repo-${{ inputs.repo }}\", limit: 2 }"),
    later: &[],
    habits: &[
        (&["group", "name", "id"], "key", "use `key`"),
        (&["max", "max_runs", "count", "max_parallel", "maxRuns"], "limit", "use `limit`"),
        (
            &["cancel-in-progress", "cancel_in_progress", "limit_strategy", "strategy", "policy"],
            "on_full",
            "use `on_full: queue`, `reject` or `cancel_oldest`",
        ),
    ],
};

pub(super) static APPROVAL: Vocabulary = Vocabulary {
    noun: "`approval`",
    example: Some("{ from: [lead], message: \"Ship it?\" }"),
    later: &[],
    habits: &[
        (
            &["approvers", "users", "groups", "who", "reviewers", "assignees", "roles", "by"],
            "from",
            "use `from` with the names of keys or roles",
        ),
        (&["count", "min", "required", "votes", "minimum_approvals"], "quorum", "use `quorum`"),
        (&["prompt", "question", "text", "description", "title"], "message", "use `message`"),
        (&["timeout", "expires"], "on_timeout", "`timeout` stands beside `approval`"),
        (
            &["prevent_self_review", "self_approval_disabled", "self_approval"],
            "no_self_approval",
            "use `no_self_approval: true`",
        ),
    ],
};

pub(super) static WAIT_FOR: Vocabulary = Vocabulary {
    noun: "`wait_for`",
    example: Some("NAME, the name of a signal"),
    later: &[],
    habits: &[
        (&["name", "event", "id"], "signal", "use `signal`"),
        (&["timeout", "expires"], "timeout", "`timeout` stands beside `wait_for`"),
        (
            &["schema", "payload"],
            "outputs",
            "`outputs`, beside `wait_for`, is the payload's schema",
        ),
    ],
};

pub(super) static AGENT: Vocabulary = Vocabulary {
    noun: "`agent`",
    example: Some("{ runtime: opencode, prompt: … }"),
    later: &[],
    habits: &[
        (
            &["type", "kind", "name", "provider", "engine"],
            "runtime",
            "use `runtime: opencode`, `acp`, `command` or `scripted`",
        ),
        (&["cmd", "args", "run", "exec"], "command", "use `command` with a list"),
        (&["file"], "script", "use `script`"),
        (
            &["fallbacks", "fallback_models", "models"],
            "fallback",
            "use `model` and `fallback: […]`",
        ),
        (&["message", "goal", "instructions", "task"], "prompt", "use `prompt`"),
        (&["continue", "resume", "conversation"], "session", "use `session: continue:TASK`"),
        (&["permission", "tools", "allowed_tools"], "permissions", "use `permissions`"),
        (
            &["max_steps", "max_turns", "max_tokens", "max_cost", "budget", "limit"],
            "limits",
            "use `limits: { steps: …, tokens: …, usd: … }`",
        ),
        (&["timeout", "heartbeat"], "", "it stands beside `agent`"),
    ],
};

pub(super) static AGENT_LIMITS: Vocabulary = Vocabulary {
    noun: "`limits`",
    example: Some("{ steps: 200, tokens: 5000000, usd: 20, idle: 10m }"),
    later: &[],
    habits: &[
        (&["max_steps", "turns", "max_turns"], "steps", "use `steps`"),
        (&["max_tokens"], "tokens", "use `tokens`"),
        (&["cost", "max_cost", "money", "max_usd"], "usd", "use `usd`"),
        (&["idle_timeout", "silence", "stall"], "idle", "use `idle`"),
        (&["output_bytes", "bytes"], "output", "use `output`"),
        (&["loop", "loops", "same_calls"], "repeated_calls", "use `repeated_calls`"),
        (&["timeout", "wall"], "", "`timeout` stands beside `agent`"),
    ],
};
