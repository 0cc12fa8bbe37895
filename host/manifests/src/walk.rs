//! The walk through the tree of a document: an object, or lists of objects.

use kube_devops_core::object::{Context, Header};
use kube_devops_core::report::NotEvaluated;
use kube_devops_core::text::cut;
use kube_devops_core::workload::{USUAL_TEMPLATES, Workload, group};
use serde_json::Value;

use crate::explain::TEMPLATE_HINT;
use crate::found::{Found, ManifestObject, NO_KIND, SkippedObject};
use crate::pods::{self, Pods, title};
use crate::problem::Problem;
use crate::reader::Reader;
use crate::tree::{Item, Kind};
use crate::values::ValueError;
use crate::{kinds, kustomization, metadata, openshift, values};

/// Why an object with containers at unknown places is reported.
const OTHER_CONTAINERS: &str = "has containers outside of the known pod templates; they were not evaluated";

/// The maximum nesting of lists in lists.
const MAX_LIST_DEPTH: usize = 4;

/// The `apiVersion` and kind that items inherit from a list.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parent<'a> {
    /// The `apiVersion`; empty if the items have their own.
    pub api_version: &'a str,
    /// Empty outside of lists, and in a `List`, whose items have their own kinds.
    pub kind: &'a str,
    /// The number of enclosing lists.
    pub depth: usize,
}

impl<'a> Parent<'a> {
    /// Returns the parent of the items of a list of this kind.
    pub fn items_of(self, api_version: &'a str, kind: &'a str) -> Self {
        let kind = kind.strip_suffix("List").unwrap_or(kind);
        Self { api_version: if kind.is_empty() { "" } else { api_version }, kind, depth: self.depth + 1 }
    }
}

/// Walks through a tree: an object, or lists of objects.
pub(crate) struct Walk<'a> {
    /// The reader of the document.
    pub reader: &'a Reader<'a>,
    /// The results.
    pub found: &'a mut Found,
    /// Whether the tree may contain unrendered template expressions.
    pub has_braces: bool,
    /// The remaining size of the values of parameters in OpenShift templates, in bytes.
    pub expansion: usize,
}

impl Walk<'_> {
    /// Adds an error.
    pub fn error(&mut self, problem: Problem) {
        self.found.errors.push(self.reader.error(problem));
    }

    /// Reads a value that must be an object.
    pub fn value(&mut self, item: Item<'_>, parent: Parent<'_>, line: usize) -> Result<(), Problem> {
        match item.kind() {
            Kind::Map => self.map(item, parent, line),
            Kind::List => Err(Problem::at(line, not_an_object(item))),
            // kubectl ignores an empty document.
            Kind::Scalar(_) if item.is_null() && parent.depth == 0 => Ok(()),
            Kind::Scalar(_) => Err(Problem::at(
                line,
                "an object is expected: a map with apiVersion and kind; kubectl cannot read a document that is a scalar",
            )),
        }
    }

    fn map(&mut self, item: Item<'_>, parent: Parent<'_>, line: usize) -> Result<(), Problem> {
        let (api_version, kind) = identify(item, parent, line)?;
        let Some(kind) = kind else {
            if self.reader.wanted.is_some() {
                self.skip(item, "", "", line);
                return Ok(());
            }
            return self.ignore(item, "", NO_KIND, line);
        };
        // kubectl does not validate the metadata of the items of a list.
        if parent.depth == 0
            && let Err(error) = metadata::check(item)
        {
            return Err(invalid(item, kind, &error, "/metadata"));
        }
        if let Some(items) = items_of_list(item, api_version, kind, parent, line)? {
            return self.list(items, parent.items_of(api_version, kind), line);
        }
        if let Some(correct) = kinds::correct_case(group(api_version), kind) {
            let message =
                format!("unknown kind {kind:?} in {api_version}: kinds are case-sensitive; write `kind: {correct}`");
            return Err(Problem::at(item.get("kind").map_or(line, Item::line), message));
        }
        self.reject_template(item, api_version)?;
        if let Some(kinds) = self.reader.wanted {
            return self.collect(item, api_version, kind, line, kinds);
        }
        match (group(api_version), kind) {
            ("template.openshift.io" | "", "Template") if item.get("objects").is_some() => {
                self.openshift_template(item, parent, line)
            }
            _ => match Workload::find(api_version, kind).filter(|workload| workload.contains_objects()) {
                Some(workload) => self.embedded(item, workload, parent, line),
                None => self.object(item, api_version, kind, line),
            },
        }
    }

    fn list(&mut self, items: Item<'_>, parent: Parent<'_>, line: usize) -> Result<(), Problem> {
        if parent.depth > MAX_LIST_DEPTH {
            return Err(Problem::at(line, format!("lists are nested more than {MAX_LIST_DEPTH} deep")));
        }
        for item in items.items() {
            if let Err(problem) = self.value(item, parent, item.line()) {
                self.error(problem);
            }
        }
        Ok(())
    }

    /// Rejects an object with unrendered template expressions in its name or keys.
    fn reject_template(&self, item: Item<'_>, api_version: &str) -> Result<(), Problem> {
        if !self.has_braces || group(api_version) == "argoproj.io" {
            return Ok(());
        }
        let name = item.at("metadata.name");
        let in_name = name.and_then(|name| Some((name.text()?, name.line()))).filter(|(name, _)| name.contains("{{"));
        let in_key = || item.below().find(|(key, _)| key.contains("{{")).map(|(key, item)| (key, item.line()));
        let Some((template, line)) = in_name.or_else(in_key) else { return Ok(()) };
        Err(Problem::at(line, format!("{:?} is not rendered{TEMPLATE_HINT}", cut(template, 100))))
    }

    fn openshift_template(&mut self, item: Item<'_>, parent: Parent<'_>, line: usize) -> Result<(), Problem> {
        let Some(objects) = item.get("objects") else { return Ok(()) };
        let limit = self.reader.options.limits.expansion_bytes;
        let tree = openshift::objects(item, objects, &mut self.expansion, limit)?;
        let Some(objects) = tree.root() else { return Ok(()) };
        self.list(objects, Parent { depth: parent.depth + 1, ..Parent::default() }, line)
    }

    /// Adds an object of a wanted kind, or counts it as skipped.
    fn collect(
        &mut self,
        item: Item<'_>,
        api_version: &str,
        kind: &str,
        line: usize,
        kinds: &[(&str, &str)],
    ) -> Result<(), Problem> {
        if !kinds.contains(&(group(api_version), kind)) {
            self.skip(item, api_version, kind, line);
            return Ok(());
        }
        let mut value: Value = values::read(item).map_err(|error| invalid(item, kind, &error, ""))?;
        if let Some(object) = value.as_object_mut() {
            object.insert("apiVersion".to_owned(), api_version.into());
            object.insert("kind".to_owned(), kind.into());
        }
        self.found.objects.push(ManifestObject { value, source: self.reader.source(line), lines: item.lines() });
        Ok(())
    }

    /// Adds an object that is not wanted.
    fn skip(&mut self, item: Item<'_>, api_version: &str, kind: &str, line: usize) {
        self.found.skipped.push(SkippedObject {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: text_of_metadata(item, "namespace").to_owned(),
            name: text_of_metadata(item, "name").to_owned(),
            source: self.reader.source(line),
        });
    }

    /// Reads the objects within an object.
    fn embedded(
        &mut self,
        item: Item<'_>,
        workload: &Workload,
        parent: Parent<'_>,
        line: usize,
    ) -> Result<(), Problem> {
        let is_review = workload.kind == "AdmissionReview";
        let mut objects = Vec::new();
        for template in workload.templates {
            item.each_at(template.path, "", &mut |object, pointer| objects.push((object, pointer)));
        }
        // The object of a review is complete. Another one can be a patch or a reference.
        objects.retain(|(object, _)| match is_review {
            true => !object.is_null(),
            false => object.with_containers().next().is_some(),
        });
        if objects.is_empty() {
            *self.found.ignored.entry(workload.kind.to_owned()).or_default() += 1;
        }
        let parent = Parent { depth: parent.depth + 1, ..Parent::default() };
        for (object, _) in &objects {
            if let Err(problem) = self.value(*object, parent, object.line()) {
                self.error(problem);
            }
        }
        // The old object of a review does not run.
        if !is_review && pods::has_other_containers(item, &objects) {
            self.report(item, item.text_of("apiVersion"), workload.kind, line, OTHER_CONTAINERS);
        }
        Ok(())
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
            Err(error) => return Err(invalid(item, kind, &error, "")),
        };
        (header.api_version, header.kind) = (api_version.to_owned(), kind.to_owned());
        let options = self.reader.options;
        let context = Context {
            now: options.now,
            default_namespace: options.default_namespace.clone(),
            source: Some(self.reader.source(line)),
            needs: options.needs,
        };
        match pods::of(item, header, &context)? {
            Pods::Subjects { subjects, has_others } => {
                self.found.subjects.extend(subjects);
                if has_others {
                    self.report(item, api_version, kind, line, OTHER_CONTAINERS);
                }
            }
            Pods::ScaledToZero => self.found.scaled_to_zero += 1,
            Pods::None => return self.ignore(item, api_version, kind, line),
        }
        Ok(())
    }

    /// Counts an object that is not evaluated, and reports it if it seems to run containers, or stands for objects elsewhere.
    fn ignore(&mut self, item: Item<'_>, api_version: &str, kind: &str, line: usize) -> Result<(), Problem> {
        *self.found.ignored.entry(kind.to_owned()).or_default() += 1;
        if let Some(reason) = kustomization::unread(item, kind, self.reader.file, self.reader.options) {
            // The default of kustomize.
            let kind = if kind == NO_KIND { "Kustomization" } else { kind };
            self.report(item, api_version, kind, line, &reason);
        // A CustomResourceDefinition can describe containers, but does not run any.
        } else if group(api_version) != "apiextensions.k8s.io" && item.with_containers().next().is_some() {
            self.report(item, api_version, kind, line, OTHER_CONTAINERS);
        }
        Ok(())
    }

    /// Reports an object with containers that are not evaluated.
    fn report(&mut self, item: Item<'_>, api_version: &str, kind: &str, line: usize, reason: &str) {
        self.found.not_evaluated.push(NotEvaluated {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: text_of_metadata(item, "namespace").to_owned(),
            name: text_of_metadata(item, "name").to_owned(),
            reason: reason.to_owned(),
            source: Some(self.reader.source(line)),
        });
    }
}

/// Returns the parent of the items of a list that are read separately. `list` is the list without its items. `None` if it is
/// not a list, or if it is invalid itself.
pub(crate) fn parent_of_items(list: Item<'_>, line: usize) -> Option<Parent<'_>> {
    let (api_version, kind) = identify(list, Parent::default(), line).ok()?;
    let kind = kind.filter(|kind| kind.ends_with("List") && Workload::find(api_version, kind).is_none())?;
    metadata::check(list).ok()?;
    Some(Parent::default().items_of(api_version, kind))
}

/// Returns `apiVersion` and kind. The kind is `None` if the document is not an API object, such as the values of a
/// chart.
fn identify<'t>(item: Item<'t>, parent: Parent<'t>, line: usize) -> Result<(&'t str, Option<&'t str>), Problem> {
    for key in ["apiVersion", "kind"] {
        if let Some(value) = item.get(key).filter(|value| value.text().is_none() && !value.is_null()) {
            return Err(Problem::at(
                value.line(),
                format!("{key}: a string is expected, as in `{key}: {}`", example(key)),
            ));
        }
    }
    let api_version = Some(item.text_of("apiVersion")).filter(|version| !version.is_empty());
    if let (None, Some(problem)) = (api_version, wrong_case(item, "apiVersion")) {
        return Err(problem);
    }
    let kind = Some(item.text_of("kind")).filter(|kind| !kind.is_empty());
    if let Some(kind) = kind {
        return Ok((api_version.unwrap_or(parent.api_version), Some(kind)));
    }
    if let Some(problem) = wrong_case(item, "kind") {
        return Err(problem);
    }
    if !parent.kind.is_empty() {
        return Ok((api_version.unwrap_or(parent.api_version), Some(parent.kind)));
    }
    match (api_version, parent.depth) {
        (Some(_), _) => Err(Problem::at(line, "kind is missing; add it, as in `kind: Deployment`")),
        (None, 0) => Ok(("", None)),
        (None, _) => Err(Problem::at(line, "an item of a list without apiVersion and kind; add them")),
    }
}

/// Returns the items of a list. `None` if the object is not a list.
///
/// kubectl reads every object with `items` as a list of objects, regardless of its kind, except in items of lists.
fn items_of_list<'t>(
    item: Item<'t>,
    api_version: &str,
    kind: &str,
    parent: Parent<'_>,
    line: usize,
) -> Result<Option<Item<'t>>, Problem> {
    let is_outermost = parent.depth == 0 || kind.ends_with("List");
    let Some(items) = item.get("items") else {
        if kind.ends_with("List") && is_known_list(api_version, kind) {
            let message = format!("the {kind} has no items; add `items:`, which may be an empty list");
            return Err(Problem::at(line, message));
        }
        return Ok(None);
    };
    if is_outermost && Workload::find(api_version, kind).is_some() {
        let message = format!("a {kind} has no items, and kubectl reads an object with `items` as a list; remove them");
        return Err(Problem::at(items.line(), message));
    }
    if items.kind() == Kind::List {
        let is_list = is_outermost || items.items().any(|item| item.get("kind").is_some());
        return Ok(is_list.then_some(items));
    }
    if !items.is_null() && is_outermost {
        let message = "items: a list of objects is expected; start each object with `- `";
        return Err(Problem::at(items.line(), message));
    }
    Ok(None)
}

/// Returns the problem of an object with an invalid value below `pointer`.
fn invalid(item: Item<'_>, kind: &str, error: &ValueError, pointer: &str) -> Problem {
    let title = title(kind, text_of_metadata(item, "namespace"), text_of_metadata(item, "name"));
    Problem::at(error.line(), format!("invalid {title}: {}", error.message(pointer)))
}

/// Returns a string of the metadata of an object; empty if there is none.
pub(crate) fn text_of_metadata<'t>(object: Item<'t>, key: &str) -> &'t str {
    object.get("metadata").map_or("", |metadata| metadata.text_of(key))
}

/// Returns the problem of an object that has a key in the wrong case.
fn wrong_case(object: Item<'_>, correct: &str) -> Option<Problem> {
    let (key, value) = object.entries().find(|(key, _)| key.eq_ignore_ascii_case(correct) && *key != correct)?;
    let message = format!("{correct} is missing: keys are case-sensitive, so `{key}:` is not read; write `{correct}:`");
    Some(Problem::at(value.line(), message))
}

fn example(key: &str) -> &'static str {
    if key == "kind" { "Deployment" } else { "apps/v1" }
}

/// Reports whether there is a value at one of the usual locations of the containers of a custom workload.
fn has_pod_template(item: Item<'_>) -> bool {
    USUAL_TEMPLATES
        .iter()
        .any(|template| item.at(template.path).and_then(|template| template.at("spec.containers")).is_some())
}

/// Reports whether kubectl knows the kind as a list.
fn is_known_list(api_version: &str, kind: &str) -> bool {
    let item = kind.trim_end_matches("List");
    item.is_empty() || Workload::find(api_version, item).is_some_and(|workload| workload.is_builtin)
}

/// Returns the message for a list at the top level of a document.
fn not_an_object(item: Item<'_>) -> String {
    let is_patch = item.items().any(|item| item.get("op").is_some() && item.get("path").is_some());
    let hint = if is_patch {
        "this looks like a JSON patch of kustomize; reference it in a kustomization, or exclude it"
    } else {
        "put the objects under `items:` of a `kind: List`, or separate them by `---`"
    };
    format!("a list is not an object, and kubectl cannot read it; {hint}")
}
