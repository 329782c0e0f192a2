//! The workflows that ship, and those printed in the documents: they are valid for the compiler and
//! for the published JSON Schema, and the shipped ones do what they promise. The coding batch runs
//! on a small project that is laid out like this one; `make demo` runs it on Jobshop itself.

#![expect(clippy::unwrap_used, reason = "what cannot be set up is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jobshop_engine::session::SessionState;
use jobshop_engine::store::sessions::{self, NewSession};
use jobshop_engine::store::workflows;
use jobshop_engine::{id::TenantId, workflow};
use jobshop_tests::Fleet;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const PACKAGES: [&str; 4] = ["engine", "workers", "api", "cli"];
const MODULES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
const ITEMS: [&str; 4] = [
    "\npub struct First;\n",
    "\npub enum Second {}\n",
    "\npub trait Third {}\n",
    "\npub fn fourth() {}\n",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package has a parent").to_owned()
}

/// Names and texts of the workflows in `workflows/`.
fn shipped() -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(root().join("workflows"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Whole workflows that stand in documents: their blocks begin with the version.
fn documented() -> Vec<(String, String)> {
    let documents = ["README.md", "docs/language.md"];
    let blocks = documents.into_iter().flat_map(|document| {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let blocks: Vec<_> = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .filter(|block| block.starts_with("version: 1"))
            .map(|block| (document.to_owned(), block.to_owned()))
            .collect();
        assert!(!blocks.is_empty(), "no workflow in {document}");
        blocks
    });
    blocks.collect()
}

#[test]
fn every_workflow_compiles() {
    for (name, yaml) in shipped().into_iter().chain(documented()) {
        if let Err(problems) = workflow::compile(&yaml) {
            let text: Vec<_> = problems.iter().map(|it| it.render(&name, &yaml)).collect();
            panic!("\n{}", text.join("\n"));
        }
    }
}

#[test]
fn every_workflow_fits_the_published_schema() {
    let validator = jsonschema::validator_for(&workflow::json_schema()).unwrap();
    for (name, yaml) in shipped().into_iter().chain(documented()) {
        let value: Value = serde_saphyr::from_str(&yaml).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|it| format!("{name}: {}: {it}", it.instance_path()))
            .collect();
        assert!(errors.is_empty(), "\n{}", errors.join("\n"));
    }
}

#[test]
fn the_list_of_shipped_workflows_is_complete() {
    let list = fs::read_to_string(root().join("workflows/README.md")).unwrap();
    let shipped = shipped();
    assert!(shipped.len() >= 3);
    for (path, _) in shipped {
        let name = Path::new(&path).file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            list.contains(&format!("[{name}]({name})")),
            "{name} is not in workflows/README.md"
        );
    }
}

async fn fleet() -> Fleet {
    let mut fleet = Fleet::new(env!("CARGO_BIN_EXE_cluster-owner")).await;
    fleet.worker();
    fleet
}

/// Runs a shipped workflow as `jobshop run` does, and returns its outputs.
async fn run(fleet: &Fleet, name: &str, inputs: Value) -> Value {
    let folder = root().join("workflows").canonicalize().unwrap();
    let definition = fs::read_to_string(folder.join(name)).unwrap();
    let version =
        workflows::version_of(&fleet.store, TenantId::DEFAULT, &definition).await.unwrap();
    let inputs = inputs.as_object().cloned().unwrap_or_else(Map::new);
    let file_dir = Some(folder.display().to_string());
    let new = NewSession { inputs, file_dir, ..NewSession::new(version) };
    let key = sessions::create(&fleet.store, new).await.unwrap().key;
    let state = fleet.end_of(key).await;
    assert_eq!(state, SessionState::Completed, "{:#?}", fleet.rows(key).await);
    sqlx::query_scalar("select outputs from sessions where id = $1")
        .bind(key.id.0)
        .fetch_one(fleet.db.pool())
        .await
        .unwrap()
}

fn git(repo: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
    let answer =
        Command::new("git").arg("-C").arg(repo).args(identity).args(arguments).output().unwrap();
    assert!(answer.status.success(), "git {arguments:?}: {answer:?}");
    String::from_utf8(answer.stdout).unwrap().trim().to_owned()
}

/// A project of four packages with four modules each, the longer the earlier in the alphabet.
fn project(folder: &Path) {
    let write = |path: String, text: String| {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    for package in PACKAGES {
        let manifest = "[package]\nname = \"NAME\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        write(format!("{package}/Cargo.toml"), manifest.replace("NAME", package));
        let modules: String = MODULES.map(|name| format!("pub mod {name};\n")).concat();
        write(format!("{package}/src/lib.rs"), format!("//! Package.\n\n{modules}"));
        for (module, items) in MODULES.into_iter().zip((1..=4).rev()) {
            let items = ITEMS[..items].concat();
            write(format!("{package}/src/{module}.rs"), format!("//! The {module}.\n{items}"));
        }
    }
    let mut sorted = PACKAGES;
    sorted.sort_unstable();
    let locked =
        sorted.map(|name| format!("[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n"));
    let members =
        "[workspace]\nresolver = \"3\"\nmembers = [\"engine\", \"workers\", \"api\", \"cli\"]\n";
    write("Cargo.toml".to_owned(), members.to_owned());
    write("Cargo.lock".to_owned(), format!("version = 4\n\n{}", locked.join("\n")));
    let index = "# Components\n\nStart reading with: nothing yet.\n";
    write("docs/components/README.md".to_owned(), index.to_owned());
    git(folder, &["init", "--quiet", "--initial-branch", "main"]);
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--message", "Begin"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_counts_whom_it_greeted() {
    let fleet = fleet().await;
    assert_eq!(run(&fleet, "hello.yaml", json!({})).await, json!({ "count": 3 }));
    let nobody = run(&fleet, "hello.yaml", json!({ "names": [] })).await;
    assert_eq!(nobody, json!({ "count": 0 }));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_finds_its_number_in_as_many_rounds_as_it_takes() {
    let fleet = fleet().await;
    // 50, 24, 37, 43, 40, 41, 42
    assert_eq!(run(&fleet, "search.yaml", json!({})).await, json!({ "rounds": 7 }));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coding_batch_merges_what_is_clean_and_reports_its_planted_conflict() {
    let fleet = fleet().await;
    let folder = TempDir::new().unwrap();
    let (repo, journal) = (&folder.path().join("repo"), folder.path().join("journal"));
    project(repo);
    let inputs = json!({ "repo": repo, "journal": journal });
    let outputs = run(&fleet, "coding-batch.yaml", inputs).await;

    let conflicts = outputs["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1, "{outputs:#}");
    assert_eq!(conflicts[0]["task"], "document[engine-beta].write");
    assert_eq!(conflicts[0]["files"], json!(["docs/components/README.md"]));

    let branch = outputs["branch"].as_str().unwrap();
    assert_eq!(git(repo, &["rev-parse", branch]), outputs["commit"].as_str().unwrap());
    let changed = git(repo, &["diff", "--name-only", "main", branch]);
    let changed: Vec<&str> = changed.lines().collect();
    assert_eq!(outputs["files"], json!(changed));
    // A page and a module for each of eleven components, and the line that one of two got.
    assert_eq!(changed.len(), 2 * 11 + 1);
    let page = git(repo, &["show", &format!("{branch}:docs/components/api-alpha.md")]);
    assert!(page.contains("* `pub trait Third`"), "{page}");
    assert_eq!(git(repo, &["status", "--porcelain"]), "", "the clone's own tree is untouched");

    let ran = fs::read_to_string(&journal).unwrap();
    assert_eq!(ran.lines().count(), 1 + 2 * 12 + 1, "{ran}");
    fleet.stop().await;
}
