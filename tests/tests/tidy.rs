//! The rules of the house that no compiler checks, as tests: who may know what, how long a file may
//! grow, what may not stand in the code. It knows nothing of what the code does.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use jobshop_tests::TestDb;

const PACKAGES: [&str; 5] = ["engine", "workers", "api", "cli", "tests"];
const LINES_MAX: usize = 500;

/// Words that a part of the tree may not use, and why.
struct Border {
    why: &'static str,
    inside: fn(&str) -> bool,
    banned: &'static [&'static str],
}

const BORDERS: &[Border] = &[
    Border {
        why: "engine outside store/ takes values and returns values",
        inside: |path| path.starts_with("engine/src/") && !in_store(path),
        banned: &[
            "sqlx",
            "tokio",
            "rand::",
            "std::env::",
            "std::fs",
            "std::process",
            "std::thread",
            "SystemTime",
            "Instant::now",
            "Utc::now",
            "Uuid::now_v7",
            "Uuid::new_v4",
        ],
    },
    Border {
        why: "SQL stands in engine/src/store",
        inside: |path| path.contains("/src/") && !path.starts_with("tests/") && !in_store(path),
        banned: &["sqlx::query", "query!(", "query_as!(", "query_scalar!(", "raw_sql("],
    },
    Border {
        why: "queries are checked against the schema, never built from strings",
        inside: |path| path.contains("/src/") && !path.starts_with("tests/"),
        banned: &["AssertSqlSafe", "QueryBuilder"],
    },
    Border {
        why: "api and workers meet in the database only",
        inside: |path| path.starts_with("api/"),
        banned: &["jobshop_workers"],
    },
    Border {
        why: "api and workers meet in the database only",
        inside: |path| path.starts_with("workers/"),
        banned: &["jobshop_api"],
    },
    Border {
        why: "engine stands below everything",
        inside: |path| path.starts_with("engine/"),
        banned: &["jobshop_api", "jobshop_workers"],
    },
    Border {
        why: "apalis' types stay inside the queue of the worker",
        inside: |path| path != "workers/src/queue.rs" && !path.starts_with("tests/"),
        banned: &["use apalis", "apalis::", "apalis_core::"],
    },
    Border {
        why: "what is not done is an issue, and what is flaky is a bug",
        inside: |path| path != "tests/tests/tidy.rs",
        banned: &[
            "todo!(",
            "unimplemented!(",
            "TODO",
            "FIXME",
            "#[ignore",
            "#[should_panic",
            "thread::sleep",
        ],
    },
];

/// What each package may name among the others, as its manifest says.
const DEPENDENCIES: [(&str, &[&str]); 4] = [
    ("engine", &[]),
    ("workers", &["jobshop-engine"]),
    ("api", &["jobshop-engine"]),
    ("cli", &["jobshop-api", "jobshop-engine", "jobshop-workers"]),
];

fn in_store(path: &str) -> bool {
    path.starts_with("engine/src/store/") || path == "engine/src/store.rs"
}

struct Source {
    /// From the root of the repository, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// The numbered lines that are code of the program: without comments and the tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        let end = tests.unwrap_or(lines.len());
        lines
            .into_iter()
            .take(end)
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package has a parent").to_owned()
}

/// All files below the folder that end as asked, but for build results and hidden folders.
fn files(folder: &Path, ending: &str, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            files(&entry, ending, found);
        } else if entry.is_file() && name.ends_with(ending) {
            let path = entry.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source { path, text: fs::read_to_string(&entry).unwrap() });
        }
    }
}

fn rust_sources() -> Vec<Source> {
    let mut found = Vec::new();
    for package in PACKAGES {
        files(&root().join(package), ".rs", &mut found);
    }
    assert!(found.len() >= PACKAGES.len(), "no sources below {}", root().display());
    found
}

fn crossings(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for border in BORDERS.iter().filter(|border| (border.inside)(&source.path)) {
        for (number, line) in source.code() {
            for word in border.banned.iter().filter(|word| line.contains(*word)) {
                found.push(format!("{}:{number}: `{word}`: {}", source.path, border.why));
            }
        }
    }
    found
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn nobody_knows_more_than_its_part_of_the_house() {
    let offences: Vec<_> = rust_sources().iter().flat_map(crossings).collect();
    assert_none(&offences);
}

#[test]
fn a_crossed_border_is_found_in_code_but_not_in_comments_and_tests() {
    let planted = |path: &str, text: &str| {
        crossings(&Source { path: path.to_owned(), text: text.to_owned() }).len()
    };
    assert_eq!(planted("engine/src/plan.rs", "let now = SystemTime::now();"), 1);
    assert_eq!(planted("engine/src/store/claim.rs", "let pool: sqlx::PgPool;"), 0);
    assert_eq!(planted("workers/src/lib.rs", "sqlx::query!(\"select 1\")"), 2);
    assert_eq!(planted("api/src/lib.rs", "use jobshop_workers::Worker;"), 1);
    assert_eq!(planted("cli/src/main.rs", "// todo!() is never written"), 0);
    assert_eq!(planted("engine/src/plan.rs", "#[cfg(test)]\nmod tests {\nuse std::fs;\n}"), 0);
}

#[test]
fn packages_depend_downwards_only() {
    for (package, allowed) in DEPENDENCIES {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let named = manifest
            .lines()
            .skip_while(|line| *line != "[dependencies]")
            .filter(|line| line.starts_with("jobshop"))
            .map(|line| line.split(['.', ' ', '=']).next().unwrap_or_default());
        let wrong: Vec<_> = named.filter(|name| !allowed.contains(name)).collect();
        assert!(wrong.is_empty(), "{package} may not depend on {wrong:?}");
    }
}

#[test]
fn every_file_says_first_what_it_is_for_and_has_one_subject() {
    let mut offences = Vec::new();
    for source in rust_sources() {
        if !source.text.starts_with("//! ") {
            offences.push(format!("{}: does not open with `//!`", source.path));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            offences.push(format!("{}: {lines} lines, more than {LINES_MAX}", source.path));
        }
    }
    assert_none(&offences);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = Vec::new();
    files(&root(), ".md", &mut documents);
    let mut offences = Vec::new();
    for document in &documents {
        let folder = root().join(&document.path).parent().unwrap().to_owned();
        for target in document.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let is_elsewhere = file.is_empty() || target.contains("://");
            if !is_elsewhere && !folder.join(file).exists() {
                offences.push(format!("{}: no file {target}", document.path));
            }
        }
    }
    assert_none(&offences);
}

/// Tables that belong to no tenant: a worker serves all of them.
const SHARED_TABLES: [&str; 6] =
    ["_sqlx_migrations", "agent_profiles", "agents", "providers", "receipts", "workers"];

#[tokio::test]
async fn the_tenant_comes_first_in_every_key() {
    let db = TestDb::new().await;
    let keys: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "select t.relname::text, i.relname::text, a.attname::text
           from pg_index k
           join pg_class t on t.oid = k.indrelid
           join pg_class i on i.oid = k.indexrelid
           left join pg_attribute a on a.attrelid = t.oid and a.attnum = k.indkey[0]
          where t.relnamespace = 'public'::regnamespace
            and k.indisunique
          order by 1, 2",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    assert!(keys.iter().any(|(table, ..)| table == "tasks"), "no tables were found: {keys:?}");

    let wrong: Vec<_> = keys
        .into_iter()
        .filter(|(table, ..)| !SHARED_TABLES.contains(&table.as_str()))
        .filter(|(_, _, first)| first.as_deref() != Some("tenant_id"))
        // What a tenant is called on the command line, it alone is called.
        .filter(|(_, key, _)| key != "tenants_name")
        .map(|(table, key, first)| format!("{table}: key {key} begins with {first:?}"))
        .collect();
    assert_none(&wrong);
}

#[tokio::test]
async fn every_table_of_tenant_data_names_its_tenant_and_has_a_key() {
    let db = TestDb::new().await;
    let wrong: Vec<String> = sqlx::query_scalar(
        "select t.relname::text
           from pg_class t
          where t.relnamespace = 'public'::regnamespace
            and t.relkind in ('r', 'p')
            and t.relname <> all ($1)
            and not (    exists (select from pg_attribute a
                                  where a.attrelid = t.oid and a.attname = 'tenant_id' and a.attnotnull)
                     and exists (select from pg_index k where k.indrelid = t.oid and k.indisprimary))",
    )
    .bind(SHARED_TABLES)
    .fetch_all(db.pool())
    .await
    .unwrap();
    assert_none(&wrong);
}

#[tokio::test]
async fn foreign_keys_stay_within_a_tenant() {
    let db = TestDb::new().await;
    let wrong: Vec<String> = sqlx::query_scalar(
        "select format('%s: %s', c.conrelid::regclass, c.conname)
           from pg_constraint c
           join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
          where c.contype = 'f'
            and c.connamespace = 'public'::regnamespace
            and a.attname <> 'tenant_id'",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();
    assert_none(&wrong);
}
