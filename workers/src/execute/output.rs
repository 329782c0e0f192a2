//! What a command wrote to `$JOBSHOP_OUTPUT`: reading the file, its two forms, and the schema's
//! check. It does not know who wrote it.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use jobshop_engine::outcome::ErrorClass;
use nix::fcntl::OFlag;
use serde_json::{Map, Value};
use thiserror::Error;

use super::halt::{Done, Halt};

/// Names of outputs, in order.
pub(crate) type Outputs = Map<String, Value>;

/// How many mismatches with a schema are named.
const MISMATCHES_MAX: usize = 5;

/// A line that is none of the forms.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} of JOBSHOP_OUTPUT: {why}")]
pub(crate) struct BadLine {
    line: usize,
    why: String,
}

/// Reads what a command left in its output file; a missing file is an empty one. A command may
/// have put anything in its place, so links are not followed and only a plain file is read.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Done<Outputs> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Outputs::new()),
        Err(error) => return Err(Halt::error(format!("cannot read JOBSHOP_OUTPUT: {error}"))),
    };
    if !file.metadata().context("reading JOBSHOP_OUTPUT")?.is_file() {
        return Err(Halt::error("JOBSHOP_OUTPUT is no longer a plain file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).context("reading JOBSHOP_OUTPUT")?;
    if bytes.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Halt::error("JOBSHOP_OUTPUT is not UTF-8 text"))?;
    parse(&text).map_err(|bad| Halt::error(bad.to_string()))
}

/// Refuses outputs that are larger than allowed as JSON.
pub(crate) fn check_size(outputs: &Outputs, bytes_max: usize) -> Done<()> {
    let bytes = serde_json::to_string(outputs).map_or(0, |text| text.len());
    if bytes > bytes_max { Err(too_large(bytes_max)) } else { Ok(()) }
}

fn too_large(bytes_max: usize) -> Halt {
    let kib = bytes_max / 1024;
    Halt::failed(ErrorClass::TooLarge, format!("the outputs are larger than {kib} KiB"))
}

/// One JSON object, or lines `key=text`, `key:=json` and `key<<END` … `END`; a later line wins.
pub(crate) fn parse(text: &str) -> Result<Outputs, BadLine> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| BadLine {
            line: error.line(),
            why: format!("not one JSON object: {error}"),
        });
    }
    if matches!(text.trim_start().chars().next(), Some('[' | '"'))
        && serde_json::from_str::<Value>(text).is_ok()
    {
        let what = if text.trim_start().starts_with('[') { "array" } else { "string" };
        let why = format!("a JSON {what}, but outputs are one JSON object or lines `key=text`");
        return Err(BadLine { line: 1, why });
    }
    let mut outputs = Outputs::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, written)) = lines.next() {
        if written.trim().is_empty() {
            continue;
        }
        let refuse = |why: String| BadLine { line, why };
        let (key, rest) = split_key(written).map_err(refuse)?;
        let value = if let Some(json) = rest.strip_prefix(":=") {
            serde_json::from_str(json)
                .map_err(|error| refuse(format!("`{key}` is not JSON: {error}")))?
        } else if let Some(end) = rest.strip_prefix("<<") {
            let block = take_block(&mut lines, end)
                .ok_or_else(|| refuse(format!("`{key}<<{end}` has no line `{end}` after it")))?;
            Value::String(block)
        } else if let Some(text) = rest.strip_prefix('=') {
            Value::String(text.to_owned())
        } else {
            return Err(refuse("neither `key=text`, `key:=json` nor `key<<END`".to_owned()));
        };
        outputs.insert(key.to_owned(), value);
    }
    Ok(outputs)
}

fn split_key(line: &str) -> Result<(&str, &str), String> {
    let length = line
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
        .unwrap_or(line.len());
    let (key, rest) = line.split_at(length);
    if key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        Ok((key, rest))
    } else {
        Err("a key starts with a letter or `_` and holds letters, digits, `_` and `-`".to_owned())
    }
}

fn take_block<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, end: &str) -> Option<String> {
    let end = end.trim();
    let mut block: Vec<&str> = Vec::new();
    for (_, line) in lines {
        if line == end && !end.is_empty() {
            return Some(block.join("\n"));
        }
        block.push(line);
    }
    None
}

/// Refuses text with NUL characters, which the database cannot hold, naming the first place.
pub(crate) fn check_text(outputs: &Outputs) -> Done<()> {
    let found = outputs.iter().find_map(|(name, value)| nul_below(String::new(), name, value));
    let Some(place) = found else { return Ok(()) };
    let why = format!("`{place}` in the outputs holds a NUL character, which no text may hold");
    Err(Halt::failed(ErrorClass::Schema, why))
}

/// Where the first NUL character stands in a field.
fn nul_below(mut place: String, name: &str, value: &Value) -> Option<String> {
    place.push('/');
    place.push_str(&name.replace('\0', "\\0"));
    if name.contains('\0') {
        return Some(place);
    }
    match value {
        Value::String(text) => text.contains('\0').then_some(place),
        Value::Array(items) => (0..)
            .zip(items)
            .find_map(|(n, item): (usize, _)| nul_below(place.clone(), &n.to_string(), item)),
        Value::Object(fields) => {
            fields.iter().find_map(|(name, it)| nul_below(place.clone(), name, it))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Checks outputs against the task's JSON Schema, naming where they differ and what was expected.
pub(crate) fn check_schema(outputs: &Outputs, schema: Option<&Value>) -> Done<()> {
    let Some(schema) = schema else { return Ok(()) };
    let refuse = |why: String| Halt::failed(ErrorClass::Schema, why);
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| refuse(format!("`outputs` is not a usable JSON Schema: {error}")))?;
    let value = Value::Object(outputs.clone());
    let mut mismatches = validator.iter_errors(&value).map(|error| {
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { "the outputs".to_owned() } else { format!("`{path}`") };
        format!("{place}: {error}")
    });
    let named: Vec<String> = mismatches.by_ref().take(MISMATCHES_MAX).collect();
    if named.is_empty() {
        return Ok(());
    }
    let more = match mismatches.count() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Err(refuse(format!("the outputs do not match the schema: {}{more}", named.join("; "))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> Value {
        Value::Object(parse(text).unwrap())
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(read_text(""), json!({}));
        assert_eq!(read_text(" \n{\"a\": [1, {}]}\n"), json!({"a": [1, {}]}));
        assert_eq!(
            read_text("a=b=c\nn:=7\n\nlist:=[\"x\"]\ntext<<EOT\none\n\n two=2\nEOT\r\nlast=\n"),
            json!({"a": "b=c", "n": 7, "list": ["x"], "text": "one\n\n two=2", "last": ""})
        );
        assert_eq!(read_text("a=1\na=2"), json!({"a": "2"}));
        assert_eq!(read_text("x<<END\nEND"), json!({"x": ""}));
    }

    #[test]
    fn an_invalid_line_is_named_by_its_number() {
        for (text, line) in [
            ("a=1\nnonsense\n", 2),
            ("=1", 1),
            ("1a=1", 1),
            ("a b=1", 1),
            ("ok=1\n\na:={oops", 3),
            ("a<<END\nno end", 1),
            ("a<<\n\n", 1),
            ("{\"a\": 1}\n{\"b\": 2}", 2),
            ("{\n\"a\": }", 2),
        ] {
            let bad = parse(text).unwrap_err();
            assert_eq!(bad.line, line, "{text:?}: {bad}");
            assert!(bad.to_string().starts_with(&format!("line {line} ")));
        }
    }

    #[test]
    fn json_that_is_no_object_is_called_by_its_name() {
        assert!(parse("[1, 2]\n").unwrap_err().to_string().contains("a JSON array"));
        assert!(parse("\"text\"").unwrap_err().to_string().contains("a JSON string"));
    }

    #[test]
    fn a_nul_character_is_refused_with_its_place() {
        let check = |value: Value| {
            let Value::Object(outputs) = value else { unreachable!() };
            check_text(&outputs)
        };
        assert_eq!(check(json!({"a": ["b", {"c": 1}]})), Ok(()));
        for (outputs, place) in [
            (json!({"a": ["b", {"c": "x\0y"}]}), "`/a/1/c`"),
            (json!({"a": {"b\0": 1}}), "`/a/b\\0`"),
            (json!({"\0": 1}), "`/\\0`"),
        ] {
            let Err(Halt::Failed(nul)) = check(outputs) else { panic!("accepted") };
            assert_eq!(nul.class, ErrorClass::Schema);
            assert!(nul.message.contains(place), "{}", nul.message);
        }
    }

    #[test]
    fn a_mismatch_names_the_place_and_what_was_expected() {
        let schema = json!({
            "type": "object",
            "required": ["components"],
            "properties": {"components": {"type": "array", "items": {"type": "string"}}}
        });
        let check = |value: Value| {
            let Value::Object(outputs) = value else { unreachable!() };
            check_schema(&outputs, Some(&schema))
        };
        assert_eq!(check(json!({"components": ["a"], "more": 1})), Ok(()));
        let Err(Halt::Failed(missing)) = check(json!({})) else { panic!("accepted") };
        assert_eq!(missing.class, ErrorClass::Schema);
        assert!(missing.message.contains("components"), "{}", missing.message);
        let Err(Halt::Failed(wrong)) = check(json!({"components": ["a", 2]})) else {
            panic!("accepted")
        };
        assert!(wrong.message.contains("/components/1"), "{}", wrong.message);
        assert!(wrong.message.contains("string"), "{}", wrong.message);
    }

    #[test]
    fn a_link_or_a_pipe_in_the_place_of_the_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output");
        assert_eq!(read(&path, 10), Ok(Outputs::new()));
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(read(&path, 1 << 20), Err(Halt::Failed(_))));
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&path, 10), Err(Halt::Failed(_))));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a=0123456789").unwrap();
        let Err(Halt::Failed(large)) = read(&path, 10) else { panic!("accepted") };
        assert_eq!(large.class, ErrorClass::TooLarge);
    }
}
