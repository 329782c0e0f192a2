//! The workflows that ship, and those printed in the documents, are what they claim to be: valid for
//! the compiler and for the published JSON Schema. What they do when executed is tested elsewhere.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use jobshop_engine::workflow;
use serde_json::Value;

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
