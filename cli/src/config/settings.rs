//! The table of settings: names, defaults and what each is for.

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Text that is never shown.
    Secret,
    Number,
    /// Separated by commas.
    List,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name in `jobshop.toml`.
    pub key: &'static str,
    pub variable: &'static str,
    pub kind: Kind,
    pub default: Option<&'static str>,
    pub about: &'static str,
}

const fn setting(key: &'static str, variable: &'static str, about: &'static str) -> Setting {
    Setting { key, variable, kind: Kind::Text, default: None, about }
}

/// All of them, in the order in which `jobshop doctor` prints them.
pub const SETTINGS: [Setting; 40] = [
    setting("data_dir", "JOBSHOP_DATA_DIR", "where the database, workspaces and server.json live"),
    Setting {
        default: Some("127.0.0.1:7070"),
        ..setting("listen", "JOBSHOP_LISTEN", "address of the API; port 0 picks one")
    },
    setting("server", "JOBSHOP_SERVER", "URL of the server that commands talk to"),
    Setting {
        kind: Kind::Secret,
        ..setting("token", "JOBSHOP_TOKEN", "token that commands send to the server")
    },
    Setting {
        kind: Kind::Secret,
        ..setting(
            "database_url",
            "DATABASE_URL",
            "an external Postgres instead of the embedded one",
        )
    },
    Setting {
        kind: Kind::Secret,
        ..setting(
            "database_direct_url",
            "DATABASE_DIRECT_URL",
            "carries LISTEN and migrations when DATABASE_URL is a transaction pooler",
        )
    },
    Setting {
        kind: Kind::Number,
        default: Some("10"),
        ..setting(
            "database_connections",
            "JOBSHOP_DATABASE_CONNECTIONS",
            "size of the general pool",
        )
    },
    Setting {
        kind: Kind::Number,
        default: Some("200"),
        ..setting(
            "statement_cache",
            "JOBSHOP_STATEMENT_CACHE",
            "prepared statements that a connection keeps; 0 for a pooler in transaction mode",
        )
    },
    Setting {
        kind: Kind::Number,
        ..setting("concurrency", "JOBSHOP_CONCURRENCY", "how many tasks a worker runs at once")
    },
    Setting {
        kind: Kind::List,
        ..setting("capabilities", "JOBSHOP_CAPABILITIES", "what a worker offers; `*` is everything")
    },
    setting("worker_name", "JOBSHOP_WORKER_NAME", "the name of a worker among the agents"),
    setting(
        "agent_type",
        "JOBSHOP_AGENT_TYPE",
        "the type of a worker among the agents, such as `reviewer`; follows from what it offers",
    ),
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting(
            "agent_technologies",
            "JOBSHOP_AGENT_TECHNOLOGIES",
            "technologies that it is good at",
        )
    },
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting("agent_avoids", "JOBSHOP_AGENT_AVOIDS", "technologies that it keeps away from")
    },
    Setting {
        default: Some("medium"),
        ..setting(
            "agent_complexity",
            "JOBSHOP_AGENT_COMPLEXITY",
            "what it is best at: `simple`, `medium`, `complex` or `expert`",
        )
    },
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting(
            "agent_session_types",
            "JOBSHOP_AGENT_SESSION_TYPES",
            "types of sessions that it is meant for; all, unless some are named",
        )
    },
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting("agent_labels", "JOBSHOP_AGENT_LABELS", "what people tell it by, NAME=VALUE")
    },
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting(
            "routing_weights",
            "JOBSHOP_ROUTING_WEIGHTS",
            "what parts of an agent's score weigh, NAME=NUMBER, where it is not the usual",
        )
    },
    setting(
        "agent_command",
        "JOBSHOP_AGENT_COMMAND",
        "the coding agent of tasks that name none, where opencode is not installed",
    ),
    setting(
        "agent_script",
        "JOBSHOP_AGENT_SCRIPT",
        "a file that the scripted agent plays in place of agents whose tasks name no runtime",
    ),
    Setting {
        default: Some("default"),
        ..setting(
            "provider_account",
            "JOBSHOP_PROVIDER_ACCOUNT",
            "under which account the worker's agents call providers of models",
        )
    },
    setting("opencode_bin", "OPENCODE_BIN", "the program opencode; found by itself when absent"),
    setting(
        "opencode_config",
        "JOBSHOP_OPENCODE_CONFIG",
        "the configuration of opencode, its providers and models; your own when absent",
    ),
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting("pass_env", "JOBSHOP_PASS_ENV", "variables of the worker that commands may see")
    },
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting(
            "http_allow",
            "JOBSHOP_HTTP_ALLOW",
            "hosts and networks that `builtin/http` may reach besides the public internet",
        )
    },
    Setting {
        default: Some("auto"),
        ..setting(
            "sandbox",
            "JOBSHOP_SANDBOX",
            "`auto` puts agents into a sandbox, `require` every command, `off` nobody",
        )
    },
    Setting {
        default: Some("host"),
        ..setting(
            "sandbox_network",
            "JOBSHOP_SANDBOX_NETWORK",
            "what a sandbox reaches: `host` or `none`",
        )
    },
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting(
            "sandbox_read",
            "JOBSHOP_SANDBOX_READ",
            "files and folders of your home that can be read in a sandbox",
        )
    },
    Setting {
        kind: Kind::List,
        default: Some(""),
        ..setting(
            "sandbox_hide",
            "JOBSHOP_SANDBOX_HIDE",
            "files and folders that are hidden from a sandbox besides the usual ones",
        )
    },
    Setting {
        default: Some("30s"),
        ..setting("lease", "JOBSHOP_LEASE", "how long a silent worker keeps its tasks")
    },
    Setting {
        default: Some("30s"),
        ..setting("grace", "JOBSHOP_GRACE", "how long running tasks may go on at a stop")
    },
    Setting {
        default: Some("2m"),
        ..setting(
            "question_hold",
            "JOBSHOP_QUESTION_HOLD",
            "how long a task keeps its worker while its agent waits for people",
        )
    },
    setting(
        "retention",
        "JOBSHOP_RETENTION",
        "how long ended sessions are kept unless their workflow says it; then they are archived",
    ),
    setting(
        "archive",
        "JOBSHOP_ARCHIVE",
        "where they are archived: file:///folder or s3://bucket/prefix",
    ),
    setting(
        "artifacts",
        "JOBSHOP_ARTIFACTS",
        "where files of tasks are kept: file:///folder or s3://bucket/prefix",
    ),
    Setting {
        default: Some("1GiB"),
        ..setting(
            "artifacts_max",
            "JOBSHOP_ARTIFACTS_MAX",
            "how much the files that one attempt leaves may take together",
        )
    },
    Setting {
        default: Some("none"),
        ..setting(
            "keep_workspaces",
            "JOBSHOP_KEEP_WORKSPACES",
            "which stay when their attempts end, besides pinned ones: `none` or `failed`",
        )
    },
    setting(
        "workspace_quota",
        "JOBSHOP_WORKSPACE_QUOTA",
        "how much an attempt may put on the disk, whatever its workflow says",
    ),
    setting("log", "JOBSHOP_LOG", "which log lines are written, such as `info` or `jobshop=debug`"),
    Setting {
        default: Some("text"),
        ..setting("log_format", "JOBSHOP_LOG_FORMAT", "`text` or `json`")
    },
];
