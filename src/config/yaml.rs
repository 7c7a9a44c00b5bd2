//! YAML as a tree that remembers where each key was written.
//!
//! The text of a scalar is kept as it is: only the schema can tell whether `24.10` is a number or a version. Anchors, aliases
//! and merge keys (`<<`) work. Input is bounded in size, nesting and in the number of nodes that aliases expand to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::problem::{Origin, Problem};

/// The largest file in bytes.
pub(super) const MAX_SIZE: usize = 4 * 1024 * 1024;
const MAX_DEPTH: usize = 48;
const MAX_NODES: usize = 200_000;
const MERGE: &str = "<<";

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A plain or quoted text.
    Scalar { text: String, plain: bool },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in order.
    Mapping(Vec<(String, Node)>),
}

impl Node {
    /// True for `~`, `null` and nothing at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Reads a document. `file` is for messages.
pub(super) fn read(text: &str, file: Option<&Path>) -> Result<Node, Problem> {
    let file = file.map(|path| Arc::new(path.to_path_buf()));
    if text.len() > MAX_SIZE {
        return Err(Problem::new("", format!("the file is larger than {MAX_SIZE} bytes")));
    }
    let mut reader = Reader { parser: Parser::new_from_str(text), file, anchors: HashMap::new(), nodes: 0 };
    reader.document()
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    file: Option<Arc<PathBuf>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(_) if root.is_some() => return Err(self.problem(span, "a second document: one is read")),
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0)?.0);
                }
                Event::StreamEnd => return root.ok_or_else(|| self.problem(span, "the file is empty")),
                _ => return Err(self.problem(span, "unexpected content")),
            }
        }
    }

    /// The node that starts with `event`, and how many nodes it consists of.
    fn node(&mut self, event: Event<'_>, span: Span, depth: usize) -> Result<(Node, usize), Problem> {
        if depth > MAX_DEPTH {
            return Err(self.problem(span, "nested too deeply"));
        }
        let origin = self.origin(span);
        let mut size = 1;
        let (value, anchor) = match event {
            Event::Alias(id) => {
                let (node, size) = self.anchors.get(&id).cloned().ok_or_else(|| self.problem(span, "an unknown alias"))?;
                self.count(size, span)?;
                return Ok((Node { origin, value: node.value }, size));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none_or(|tag| tag.suffix != "str");
                (Value::Scalar { text: text.into_owned(), plain }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    let (item, item_size) = self.node(event, span, depth + 1)?;
                    size += item_size;
                    items.push(item);
                }
                (Value::Sequence(items), anchor)
            }
            Event::MappingStart(anchor, _) => {
                let (entries, entries_size) = self.mapping(depth)?;
                size += entries_size;
                (Value::Mapping(entries), anchor)
            }
            _ => return Err(self.problem(span, "unexpected content")),
        };
        self.count(1, span)?;
        let node = Node { origin, value };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok((node, size))
    }

    fn mapping(&mut self, depth: usize) -> Result<(Vec<(String, Node)>, usize), Problem> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut merged: Vec<(String, Node)> = Vec::new();
        let mut size = 0;
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(self.problem(span, "a key must be a text")),
            };
            let origin = self.origin(span);
            let (event, value_span) = self.next()?;
            let (mut node, node_size) = self.node(event, value_span, depth + 1)?;
            size += node_size;
            if key == MERGE {
                self.merge(node, &mut merged, span)?;
                continue;
            }
            if let Some((_, first)) = entries.iter().find(|(name, _)| *name == key) {
                return Err(self.problem(span, &format!("the key {key:?} is given twice, first at {}", first.origin)));
            }
            // A mistake in a value is best looked for where its key stands.
            node.origin = origin;
            entries.push((key, node));
        }
        for (key, node) in merged {
            if !entries.iter().any(|(name, _)| *name == key) {
                entries.push((key, node));
            }
        }
        Ok((entries, size))
    }

    fn merge(&self, node: Node, merged: &mut Vec<(String, Node)>, span: Span) -> Result<(), Problem> {
        match node.value {
            Value::Mapping(entries) => merged.extend(entries),
            Value::Sequence(items) => {
                for item in items {
                    self.merge(item, merged, span)?;
                }
            }
            Value::Scalar { .. } => return Err(self.problem(span, "`<<` takes a mapping, or a list of mappings")),
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(Event<'static>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((owned(event), span)),
            Some(Err(error)) => {
                let origin = Origin::Line(self.file.clone(), error.marker().line());
                Err(Problem::new("", format!("not valid YAML: {}", error.info())).at(Some(&origin)))
            }
            None => Err(Problem::new("", "the file ends too soon")),
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES { Err(self.problem(span, "too many values")) } else { Ok(()) }
    }

    fn origin(&self, span: Span) -> Origin {
        Origin::Line(self.file.clone(), span.start.line())
    }

    fn problem(&self, span: Span, message: &str) -> Problem {
        Problem::new("", message).at(Some(&self.origin(span)))
    }
}

fn owned(event: Event<'_>) -> Event<'static> {
    let tag = |tag: Option<std::borrow::Cow<'_, Tag>>| tag.map(|tag| std::borrow::Cow::Owned(tag.into_owned()));
    match event {
        Event::Nothing => Event::Nothing,
        Event::StreamStart => Event::StreamStart,
        Event::StreamEnd => Event::StreamEnd,
        Event::DocumentStart(explicit) => Event::DocumentStart(explicit),
        Event::DocumentEnd => Event::DocumentEnd,
        Event::Alias(id) => Event::Alias(id),
        Event::Scalar(text, style, anchor, a_tag) => Event::Scalar(text.into_owned().into(), style, anchor, tag(a_tag)),
        Event::SequenceStart(anchor, a_tag) => Event::SequenceStart(anchor, tag(a_tag)),
        Event::SequenceEnd => Event::SequenceEnd,
        Event::MappingStart(anchor, a_tag) => Event::MappingStart(anchor, tag(a_tag)),
        Event::MappingEnd => Event::MappingEnd,
    }
}

/// A value that no schema describes, as YAML 1.2 reads it.
pub(super) fn untyped(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Mapping(entries) => entries.iter().map(|(key, node)| (key.clone(), untyped(node))).collect(),
        Value::Sequence(items) => items.iter().map(untyped).collect(),
        Value::Scalar { text, plain: false } => serde_json::Value::String(text.clone()),
        Value::Scalar { .. } if node.is_null() => serde_json::Value::Null,
        Value::Scalar { text, .. } => match text.as_str() {
            "true" | "True" | "TRUE" => serde_json::Value::Bool(true),
            "false" | "False" | "FALSE" => serde_json::Value::Bool(false),
            _ => text
                .parse::<i64>()
                .map(serde_json::Value::from)
                .or_else(|_| {
                    text.parse::<f64>().map(|number| {
                        if number.is_finite() { serde_json::Value::from(number) } else { serde_json::Value::from(text.as_str()) }
                    })
                })
                .unwrap_or_else(|_| serde_json::Value::String(text.clone())),
        },
    }
}
