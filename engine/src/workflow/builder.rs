//! From YAML text to a [`Tree`]. Reading goes on after most problems, so that all of them are found
//! at once; limits end it at once.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    ops::Range,
    rc::Rc,
};

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{
    Limits,
    problem::Problems,
    scalar, syntax,
    tree::{Entry, Node, Scalar, Tree},
};

/// Neither the database nor an environment can hold one.
const NUL: &str = "a workflow cannot hold the character NUL";

/// How many templates without quotes are reported at most.
const REPAIRS_MAX: usize = 20;

/// Reads one YAML document. `None` when nothing of it can be used.
pub(super) fn parse(source: &str, limits: &Limits, problems: &mut Problems) -> Option<Rc<Tree>> {
    if source.len() > limits.yaml_bytes {
        problems.add(0, format!("the text is larger than {} bytes", limits.yaml_bytes));
        return None;
    }
    if let Some(at) = source.find('\0') {
        problems.hint(at, NUL, "remove it");
        return None;
    }
    let mut text = Cow::Borrowed(source);
    let mut repairs = 0;
    let root = loop {
        let error = match build(&text, limits, problems)? {
            Ok(root) => break root,
            Err(error) => error,
        };
        let at = offset(*error.marker());
        let template = syntax::bare_template(&text, at).filter(|_| repairs < REPAIRS_MAX);
        let Some(template) = template else {
            syntax::refuse(&text, at, &error.info(), limits, problems);
            return None;
        };
        repairs += 1;
        problems.hint(
            template.start,
            "a template needs quotes here: YAML reads some of it as its own signs",
            "write \"${{ … }}\", with the quotes",
        );
        let blank = "x".repeat(template.len());
        text.to_mut().replace_range(template, &blank);
    };
    if root.as_ref().is_none_or(|root| root.is_null()) && problems.is_empty() {
        problems.add(0, "the file is empty");
        return None;
    }
    root
}

/// Builds the tree of a text. `None` when a limit was reached, an error where it is not YAML.
fn build(
    source: &str,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Result<Option<Rc<Tree>>, ScanError>> {
    let mut builder = Builder {
        source,
        limits,
        problems,
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        aliases: 0,
        nodes: 0,
        documents: 0,
    };
    let options = serde_saphyr::granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_comments: false,
    };
    for next in Parser::new_from_str_with_options(source, options) {
        match next {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(builder.root))
}

fn offset(marker: Marker) -> usize {
    marker.byte_offset().unwrap_or_default()
}

/// A collection whose end has not been read.
struct Open {
    at: usize,
    anchor: usize,
    content: Content,
    nodes: usize,
    height: usize,
}

enum Content {
    List(Vec<Rc<Tree>>),
    Map { entries: Vec<Entry>, seen: HashMap<String, usize>, key: Key },
}

/// What a map waits for.
enum Key {
    /// A key.
    Next,
    /// The value of this key.
    Of(String, usize),
    /// The value of a key that was refused.
    Refused,
}

struct Builder<'a> {
    source: &'a str,
    limits: &'a Limits,
    problems: &'a mut Problems,
    open: Vec<Open>,
    root: Option<Rc<Tree>>,
    anchors: HashMap<usize, Rc<Tree>>,
    aliases: usize,
    nodes: usize,
    documents: usize,
}

impl Builder<'_> {
    /// Takes the next event; `None` means that reading on makes no sense.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser may tell more in time")]
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = offset(span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problems.add(at, "a file holds one workflow: this is a second document");
                    return None;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let raw = at..offset(span.end);
                self.scalar(&text, raw, (style, anchor), tag.as_deref())?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(at, tag.as_deref());
                self.start(at, anchor, Content::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(at, tag.as_deref());
                let content =
                    Content::Map { entries: Vec::new(), seen: HashMap::new(), key: Key::Next };
                self.start(at, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(at, anchor)?,
            Event::UnresolvedAlias(name) => {
                self.problems.hint(
                    at,
                    format!("`*{name}` refers to no anchor above it"),
                    format!("define it with `&{name}`, or quote text that starts with `*`"),
                );
                self.add(null(at), at);
            }
            // Starts and ends of the stream, comments, and what later parsers may tell besides.
            _ => {}
        }
        Some(())
    }

    fn count(&mut self, at: usize, nodes: usize) -> Option<()> {
        self.nodes += nodes;
        if self.nodes > self.limits.nodes {
            self.problems.add(
                at,
                format!(
                    "more than {} values, aliases counted as what they stand for",
                    self.limits.nodes
                ),
            );
            return None;
        }
        Some(())
    }

    fn refuse_depth(&mut self, at: usize, depth: usize) -> Option<()> {
        if depth > self.limits.depth {
            self.problems.add(at, format!("nested deeper than {} levels", self.limits.depth));
            return None;
        }
        Some(())
    }

    fn refuse_tag(&mut self, at: usize, tag: Option<&Tag>) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            let name = format!("{}{}", tag.handle(), tag.suffix());
            self.problems.hint(
                at,
                format!("the tag `{name}` has no meaning here"),
                "remove the tag",
            );
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        raw: Range<usize>,
        (style, anchor): (ScalarStyle, usize),
        tag: Option<&Tag>,
    ) -> Option<()> {
        let at = raw.start;
        self.count(at, 1)?;
        self.refuse_tag(at, tag);
        if text.contains('\0') {
            self.problems.hint(at, NUL, "remove the escape `\\0`");
        }
        let value = match tag.and_then(Tag::core_suffix) {
            None if style == ScalarStyle::Plain => scalar::resolve(text),
            Some("int" | "float" | "bool" | "null") => scalar::resolve(text),
            None | Some(_) => Value::String(text.to_owned()),
        };
        let node = Node::Scalar(Scalar { value, text: text.to_owned(), raw });
        let tree = Rc::new(Tree { at, node, nodes: 1, height: 0 });
        self.anchor(anchor, &tree);
        self.add(tree, at);
        Some(())
    }

    fn start(&mut self, at: usize, anchor: usize, content: Content) -> Option<()> {
        self.count(at, 1)?;
        self.refuse_depth(at, self.open.len() + 1)?;
        self.open.push(Open { at, anchor, content, nodes: 1, height: 1 });
        Some(())
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let node = match open.content {
            Content::List(items) => Node::List(items),
            Content::Map { entries, .. } => Node::Map(self.merged(entries)),
        };
        let tree = Rc::new(Tree { at: open.at, node, nodes: open.nodes, height: open.height });
        self.anchor(open.anchor, &tree);
        self.add(tree, open.at);
    }

    fn anchor(&mut self, anchor: usize, tree: &Rc<Tree>) {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(tree));
        }
    }

    fn alias(&mut self, at: usize, anchor: usize) -> Option<()> {
        self.aliases += 1;
        if self.aliases > self.limits.aliases {
            self.problems.add(at, format!("more than {} aliases", self.limits.aliases));
            return None;
        }
        let Some(tree) = self.anchors.get(&anchor).map(Rc::clone) else {
            self.problems.add(at, "an alias may not stand inside what it refers to");
            self.add(null(at), at);
            return Some(());
        };
        self.count(at, tree.nodes)?;
        self.refuse_depth(at, self.open.len() + tree.height)?;
        self.add(tree, at);
        Some(())
    }

    /// Hands a finished value to the collection around it, as key, value or item.
    fn add(&mut self, tree: Rc<Tree>, at: usize) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(tree);
            return;
        };
        open.nodes += tree.nodes;
        open.height = open.height.max(tree.height + 1);
        match &mut open.content {
            Content::List(items) => items.push(tree),
            Content::Map { entries, seen, key } => match std::mem::replace(key, Key::Next) {
                Key::Next => *key = read_key(&tree, at, seen, self.source, self.problems),
                Key::Of(name, key_at) => entries.push(Entry { key: name, at: key_at, value: tree }),
                Key::Refused => {}
            },
        }
    }

    /// Resolves `<<`: what the map itself says wins over what is merged into it.
    fn merged(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        if entries.iter().all(|entry| entry.key != "<<") {
            return entries;
        }
        let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.key == "<<");
        let mut known: HashSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
        for merge in merges {
            let sources = match &merge.value.node {
                Node::Map(_) => vec![Rc::clone(&merge.value)],
                Node::List(items) => items.clone(),
                Node::Scalar(_) => Vec::new(),
            };
            let are_maps = sources.iter().all(|source| matches!(source.node, Node::Map(_)));
            if sources.is_empty() || !are_maps {
                self.problems.add(merge.at, "`<<` takes a map or a list of maps");
            }
            for source in sources {
                let Node::Map(more) = &source.node else { continue };
                for entry in more {
                    if known.insert(entry.key.clone()) {
                        own.push(entry.clone());
                    }
                }
            }
        }
        own
    }
}

fn null(at: usize) -> Rc<Tree> {
    let scalar = Scalar { value: Value::Null, text: String::new(), raw: at..at };
    Rc::new(Tree { at, node: Node::Scalar(scalar), nodes: 1, height: 0 })
}

fn read_key(
    tree: &Tree,
    at: usize,
    seen: &mut HashMap<String, usize>,
    source: &str,
    problems: &mut Problems,
) -> Key {
    let Node::Scalar(scalar) = &tree.node else {
        if source[at..].starts_with('{') {
            problems.hint(
                at.saturating_sub(1),
                "a template needs quotes here: without them YAML reads `{` as the start of a map",
                "write \"${{ … }}\", with the quotes",
            );
        } else {
            problems.add(at, "a key must be text");
        }
        return Key::Refused;
    };
    if scalar.text == "<<" {
        return Key::Of("<<".to_owned(), at);
    }
    match seen.insert(scalar.text.clone(), at) {
        None => Key::Of(scalar.text.clone(), at),
        Some(first) => {
            let line = source[..first].matches('\n').count() + 1;
            problems.hint(
                at,
                format!("`{}` is written twice", scalar.text),
                format!("it stands in line {line} already"),
            );
            seen.insert(scalar.text.clone(), first);
            Key::Refused
        }
    }
}
