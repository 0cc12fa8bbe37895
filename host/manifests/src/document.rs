//! One document as subjects, or as what is wrong with it.

use std::sync::Arc;

use kube_devops_core::Source;
use kube_devops_core::object::{Context, Header};
use kube_devops_core::report::{NotEvaluated, ReportError};
use kube_devops_core::text::cut;
use kube_devops_core::workload::{USUAL_TEMPLATES, Workload, group};
use rayon::prelude::*;

use crate::explain::TEMPLATE_HINT;
use crate::found::Found;
use crate::list::Item as ListItem;
use crate::pods::{self, Pods, title};
use crate::problem::Problem;
use crate::split::{Document, LineCount, Notation};
use crate::tree::{Item, Kind, Tree};
use crate::{BATCH, NO_KIND, ReadOptions, json, kinds, list, metadata, openshift, split, values, yaml};

/// The deepest nesting of lists in lists.
const DEEPEST_LIST: usize = 4;

/// A document and what is needed to read it.
pub(crate) struct Reader<'a> {
    /// The text of the whole file.
    pub text: &'a str,
    /// The name of the file.
    pub file: &'a Arc<str>,
    /// The document.
    pub document: &'a Document,
    /// Its number, from 1.
    pub number: usize,
    /// The options of the whole reading.
    pub options: &'a ReadOptions,
}

/// What a list says of its items that name nothing themselves.
#[derive(Debug, Clone, Copy, Default)]
struct Around<'a> {
    api_version: &'a str,
    /// Empty outside of lists, and in a `List`, whose items name their kinds.
    kind: &'a str,
    /// How many lists are around it.
    depth: usize,
}

impl<'a> Around<'a> {
    fn items_of(self, api_version: &'a str, kind: &'a str) -> Self {
        let kind = kind.strip_suffix("List").unwrap_or(kind);
        Self { api_version: if kind.is_empty() { "" } else { api_version }, kind, depth: self.depth + 1 }
    }
}

impl Reader<'_> {
    /// Reads the document.
    pub fn read(&self) -> Found {
        let text = &self.text[self.document.range.clone()];
        match &self.document.notation {
            Notation::Invalid(problem) => self.problem(Problem::clone(problem)),
            Notation::Json => self.read_json(text),
            Notation::Yaml { as_json } => {
                if let Some(found) = self.read_yaml_list(text) {
                    return found;
                }
                let tree = yaml::parse(text, self.document.line, &self.options.limits);
                let tree = match (tree, as_json) {
                    // Who gives a key in quotes behind a brace means JSON, and should hear what is wrong with that.
                    (Err(_), Some(as_json)) if means_json(text) => Err(Problem::clone(as_json)),
                    (tree, _) => tree,
                };
                self.read_tree(tree, Around::default(), self.document.content_line, false)
            }
        }
    }

    fn read_json(&self, text: &str) -> Found {
        let line = self.document.line;
        let Some(list) = json::List::of(text) else {
            return self.read_tree(json::parse(text, line), Around::default(), line, false);
        };
        let around = Around::default().items_of(&list.api_version, &list.kind);
        let mut lines = LineCount::new(text, line);
        let items: Vec<_> =
            list.items.iter().map(|item| (item.get(), lines.line_of(item.get()).unwrap_or(line))).collect();
        let read = |&(item, line): &(&str, usize)| self.read_tree(json::parse(item, line), around, line, false);
        sum(items.par_chunks(BATCH).map(|items| each(items, read)).collect())
    }

    /// Reads a list in YAML item by item, or as a whole where the items depend on one another; none where it cannot be split.
    fn read_yaml_list(&self, text: &str) -> Option<Found> {
        let limits = &self.options.limits;
        let list = list::split(text)?;
        let rest = yaml::parse(&list.rest, self.document.line, limits).ok()?;
        let rest = rest.root()?;
        let (api_version, kind) = (rest.text_of("apiVersion"), rest.text_of("kind"));
        if !kind.ends_with("List") || rest.get("items").is_some_and(|items| !items.is_null()) {
            return None;
        }
        let around = Around::default().items_of(api_version, kind);
        let read = |item: &ListItem| {
            let line = item.line + self.document.line - 1;
            let tree = yaml::parse(&text[item.range.clone()], line, limits);
            self.read_tree(tree, around, line, true)
        };
        let found = sum(list.items.par_chunks(BATCH).map(|items| each(items, read)).collect());
        // An item that is broken by itself may be right as a part of the whole: it can use anchors of others, for one.
        let whole = if found.is_broken { yaml::parse(text, self.document.line, limits).ok() } else { None };
        Some(match whole {
            Some(tree) => self.read_tree(Ok(tree), Around::default(), self.document.content_line, false),
            None => found,
        })
    }

    /// `is_item` says that the text is a list of one, as an item of a list stands in a file.
    fn read_tree(&self, tree: Result<Tree, Problem>, around: Around<'_>, line: usize, is_item: bool) -> Found {
        let tree = match tree {
            Ok(tree) => tree,
            Err(problem) => return self.problem(problem),
        };
        let mut found = Found::default();
        let root = tree.root().and_then(|root| if is_item { root.items().next() } else { Some(root) });
        if let Some(root) = root {
            let mut walk = Walk { reader: self, tree: &tree, found: &mut found, has_braces: tree.may_hold("{{") };
            if let Err(problem) = walk.value(root, around, line) {
                walk.error(problem);
            }
        }
        found
    }

    fn source(&self, line: usize) -> Source {
        Source { file: self.file.clone(), document: self.number, line, object_line: line }
    }

    fn problem(&self, problem: Problem) -> Found {
        let mut found = Found { is_broken: problem.is_syntax, ..Found::default() };
        found.errors.push(self.error(problem));
        found
    }

    fn error(&self, problem: Problem) -> ReportError {
        ReportError { message: problem.message, check: None, source: Some(self.source(problem.line)) }
    }
}

/// What was found in each of some items together.
fn each<T>(items: &[T], read: impl Fn(&T) -> Found) -> Found {
    let mut found = Found::default();
    items.iter().for_each(|item| found.add(read(item)));
    found
}

/// What was found in all parts of a file together.
pub(crate) fn sum(parts: Vec<Found>) -> Found {
    let mut found = Found::default();
    found.subjects.reserve_exact(parts.iter().map(|part| part.subjects.len()).sum());
    parts.into_iter().for_each(|part| found.add(part));
    found
}

/// Whether the text starts as JSON does, with a key in quotes or a list of such maps.
fn means_json(text: &str) -> bool {
    let content = split::content(text).trim_start_matches('[').trim_start();
    content.strip_prefix('{').is_some_and(|content| content.trim_start().starts_with(['"', '}']))
}

/// The way through a tree: an object, or lists of objects.
struct Walk<'a> {
    reader: &'a Reader<'a>,
    tree: &'a Tree,
    found: &'a mut Found,
    /// Whether the tree may hold what a template engine has yet to fill in.
    has_braces: bool,
}

impl Walk<'_> {
    fn error(&mut self, problem: Problem) {
        self.found.errors.push(self.reader.error(problem));
    }

    /// Reads a value that must be an object.
    fn value(&mut self, item: Item<'_>, around: Around<'_>, line: usize) -> Result<(), Problem> {
        match item.kind() {
            Kind::Map => self.map(item, around, line),
            Kind::List => Err(Problem::at(line, not_an_object(item))),
            // kubectl passes over an empty document.
            Kind::Scalar(_) if item.is_null() && around.depth == 0 => Ok(()),
            Kind::Scalar(_) => Err(Problem::at(
                line,
                "an object is expected: a map with apiVersion and kind; kubectl cannot read a document that is only a value",
            )),
        }
    }

    fn map(&mut self, item: Item<'_>, around: Around<'_>, line: usize) -> Result<(), Problem> {
        let (api_version, kind) = self.identify(item, around, line)?;
        let Some(kind) = kind else {
            return self.ignore(item, "", NO_KIND, line);
        };
        // Of the items of a list, kubectl looks at no more than it needs.
        if around.depth == 0
            && let Err(error) = metadata::check(item)
        {
            let title = title(kind, text_of_metadata(item, "namespace"), text_of_metadata(item, "name"));
            return Err(Problem::at(error.line(), format!("invalid {title}: {}", error.message("/metadata"))));
        }
        // kubectl takes every object with items for a list of objects, whatever its kind is called, but for items of lists.
        let is_outermost = around.depth == 0 || kind.ends_with("List");
        match item.get("items") {
            Some(items) if is_outermost && Workload::find(api_version, kind).is_some() => {
                let message =
                    format!("a {kind} has no items, and kubectl takes an object with items for a list; remove them");
                return Err(Problem::at(items.line(), message));
            }
            Some(items)
                if items.kind() == Kind::List
                    && (is_outermost || items.items().any(|item| item.get("kind").is_some())) =>
            {
                return self.list(items, around.items_of(api_version, kind), line);
            }
            Some(items) if items.kind() != Kind::List && !items.is_null() && is_outermost => {
                let message = "items: a list of objects is expected; start each object with `- `";
                return Err(Problem::at(items.line(), message));
            }
            _ => {}
        }
        if kind.ends_with("List") && item.get("items").is_none() && is_known_list(api_version, kind) {
            return Err(Problem::at(
                line,
                format!("the {kind} has no items; add `items:`, which may be an empty list"),
            ));
        }
        if let Some(meant) = kinds::meant_by(group(api_version), kind) {
            let message = format!("no kind {kind:?} in {api_version}: kinds are case-sensitive; write `kind: {meant}`");
            return Err(Problem::at(item.get("kind").map_or(line, Item::line), message));
        }
        self.refuse_template(item, api_version)?;
        match (group(api_version), kind) {
            ("template.openshift.io" | "", "Template") if item.get("objects").is_some() => {
                self.openshift_template(item, around, line)
            }
            ("admission.k8s.io", "AdmissionReview") => match item.at("request.object") {
                Some(object) if !object.is_null() => {
                    self.value(object, Around { depth: around.depth + 1, ..Around::default() }, object.line())
                }
                _ => {
                    *self.found.ignored.entry(kind.to_owned()).or_default() += 1;
                    Ok(())
                }
            },
            _ => self.object(item, api_version, kind, line),
        }
    }

    /// `apiVersion` and kind; no kind for a document that is no object of Kubernetes, such as the values of a chart.
    fn identify<'t>(
        &self,
        item: Item<'t>,
        around: Around<'t>,
        line: usize,
    ) -> Result<(&'t str, Option<&'t str>), Problem> {
        for key in ["apiVersion", "kind"] {
            if let Some(value) = item.get(key).filter(|value| value.text().is_none() && !value.is_null()) {
                return Err(Problem::at(
                    value.line(),
                    format!("{key}: text is expected, as in `{key}: {}`", example(key)),
                ));
            }
        }
        let api_version = Some(item.text_of("apiVersion")).filter(|version| !version.is_empty());
        if let (None, Some(problem)) = (api_version, misspelt(item, "apiVersion")) {
            return Err(problem);
        }
        let kind = Some(item.text_of("kind")).filter(|kind| !kind.is_empty());
        if let Some(kind) = kind {
            return Ok((api_version.unwrap_or(around.api_version), Some(kind)));
        }
        if let Some(problem) = misspelt(item, "kind") {
            return Err(problem);
        }
        if !around.kind.is_empty() {
            return Ok((api_version.unwrap_or(around.api_version), Some(around.kind)));
        }
        match (api_version, around.depth) {
            (Some(_), _) => Err(Problem::at(line, "kind is missing; add it, as in `kind: Deployment`")),
            (None, 0) => Ok(("", None)),
            (None, _) => Err(Problem::at(line, "an item of a list without apiVersion and kind; add them")),
        }
    }

    fn list(&mut self, items: Item<'_>, around: Around<'_>, line: usize) -> Result<(), Problem> {
        if around.depth > DEEPEST_LIST {
            return Err(Problem::at(line, format!("lists are nested more than {DEEPEST_LIST} deep")));
        }
        for item in items.items() {
            if let Err(problem) = self.value(item, around, item.line()) {
                self.error(problem);
            }
        }
        Ok(())
    }

    /// Refuses what a template engine has yet to fill in.
    fn refuse_template(&self, item: Item<'_>, api_version: &str) -> Result<(), Problem> {
        if !self.has_braces || group(api_version) == "argoproj.io" {
            return Ok(());
        }
        let name = item.at("metadata.name");
        let in_name = name.and_then(|name| Some((name.text()?, name.line()))).filter(|(name, _)| name.contains("{{"));
        let in_key = || item.below().find(|(key, _)| key.contains("{{")).map(|(key, item)| (key, item.line()));
        let Some((what, line)) = in_name.or_else(in_key) else { return Ok(()) };
        Err(Problem::at(line, format!("{:?} is not rendered{TEMPLATE_HINT}", cut(what, 100))))
    }

    fn openshift_template(&mut self, item: Item<'_>, around: Around<'_>, line: usize) -> Result<(), Problem> {
        let Some(objects) = item.get("objects") else { return Ok(()) };
        let parameters = openshift::parameters(item);
        let mut tree = self.tree.clone();
        tree.replace_texts(|text| openshift::process(text, &parameters));
        let Some(objects) = tree.same(objects) else { return Ok(()) };
        let mut walk = Walk { reader: self.reader, tree: &tree, found: self.found, has_braces: self.has_braces };
        walk.list(objects, Around { depth: around.depth + 1, ..Around::default() }, line)
    }

    fn object(&mut self, item: Item<'_>, api_version: &str, kind: &str, line: usize) -> Result<(), Problem> {
        let workload = Workload::find(api_version, kind);
        let is_candidate =
            workload.is_some() || USUAL_TEMPLATES.iter().any(|template| item.at(template.path).is_some());
        if !is_candidate {
            return self.ignore(item, api_version, kind, line);
        }
        let mut header: Header = match values::read(item) {
            Ok(header) => header,
            Err(_) if workload.is_none() && !has_pod_template(item) => {
                return self.ignore(item, api_version, kind, line);
            }
            Err(error) => {
                let title = title(kind, text_of_metadata(item, "namespace"), text_of_metadata(item, "name"));
                return Err(Problem::at(error.line(), format!("invalid {title}: {}", error.message(""))));
            }
        };
        (header.api_version, header.kind) = (api_version.to_owned(), kind.to_owned());
        let options = self.reader.options;
        let context = Context {
            now: options.now,
            default_namespace: options.default_namespace.clone(),
            source: Some(self.reader.source(line)),
        };
        match pods::of(item, header, &context)? {
            Pods::Subjects(subjects) => self.found.subjects.extend(subjects),
            Pods::Finished => self.found.finished += 1,
            Pods::ScaledToZero => self.found.scaled_to_zero += 1,
            Pods::None => return self.ignore(item, api_version, kind, line),
        }
        Ok(())
    }

    /// Counts an object that is not evaluated, and names it if it seems to run containers.
    fn ignore(&mut self, item: Item<'_>, api_version: &str, kind: &str, line: usize) -> Result<(), Problem> {
        *self.found.ignored.entry(kind.to_owned()).or_default() += 1;
        // A policy about containers describes some, and runs none.
        if group(api_version) != "apiextensions.k8s.io" && item.has_containers() {
            self.found.not_evaluated.push(NotEvaluated {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: text_of_metadata(item, "namespace").to_owned(),
                name: text_of_metadata(item, "name").to_owned(),
                source: Some(self.reader.source(line)),
            });
        }
        Ok(())
    }
}

/// A text of the metadata of an object; empty where there is none.
fn text_of_metadata<'t>(object: Item<'t>, key: &str) -> &'t str {
    object.get("metadata").map_or("", |metadata| metadata.text_of(key))
}

/// What is wrong with an object that has a key in the wrong case.
fn misspelt(object: Item<'_>, right: &str) -> Option<Problem> {
    let (key, value) = object.entries().find(|(key, _)| key.eq_ignore_ascii_case(right) && *key != right)?;
    let message = format!("{right} is missing: keys are case-sensitive, so `{key}:` is not read; write `{right}:`");
    Some(Problem::at(value.line(), message))
}

fn example(key: &str) -> &'static str {
    if key == "kind" { "Deployment" } else { "apps/v1" }
}

/// Whether there is a list of containers, or something in its place, where custom workloads mostly have it.
fn has_pod_template(item: Item<'_>) -> bool {
    USUAL_TEMPLATES
        .iter()
        .any(|template| item.at(template.path).and_then(|template| template.at("spec.containers")).is_some())
}

/// Whether kubectl knows the kind as that of a list.
fn is_known_list(api_version: &str, kind: &str) -> bool {
    let item = kind.trim_end_matches("List");
    item.is_empty() || Workload::find(api_version, item).is_some_and(|workload| workload.is_builtin)
}

/// What a list at the top of a document may be.
fn not_an_object(item: Item<'_>) -> String {
    let is_patch = item.items().any(|item| item.get("op").is_some() && item.get("path").is_some());
    let hint = if is_patch {
        "this looks like a JSON patch of kustomize; name it in a kustomization, or leave it out"
    } else {
        "put the objects under `items:` of a `kind: List`, or separate them by `---`"
    };
    format!("a list is not an object, and kubectl cannot read it; {hint}")
}
