//! The page docs/contract.md, from `wit/policy.wit`, the layout of the facts and the limits of the engine.

use std::fmt::Write;
use std::path::Path;

use wit_parser::{Docs, Function, FunctionKind, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId};

const INTRODUCTION: &str = "\
# Contract

This page is generated from `wit/policy.wit`, the interface between the host and the components with checks and bundles. Authors in Rust use
the [SDK](writing-checks.md), which implements it; in other languages, generate bindings for the world `check-component` or
`bundle-component` with the tools of the component model.

";

const VERSIONS: &str = "\
## Versions

The version of the contract is part of the name of each interface. A later version 0.2.x only adds to it: components that are built today
stay loadable, which a test proves with a stored component. A component of another version is rejected with an error that names it.

";

/// Renders the page.
pub fn page(root: &Path) -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root.join("wit")).unwrap();
    let package = &resolve.packages[package];
    let mut text = INTRODUCTION.to_owned();
    let _ = writeln!(text, "```text\npackage {}\n```\n", package.name);
    let _ = writeln!(text, "{}\n", lines(&package.docs));
    let _ = writeln!(text, "## Worlds\n\n| world | imports | exports | for |\n|---|---|---|---|");
    for (name, world) in &package.worlds {
        let world = &resolve.worlds[*world];
        let names = |items: &wit_parser::IndexMap<wit_parser::WorldKey, wit_parser::WorldItem>| {
            let names = items.keys().map(|key| resolve.name_world_key(key));
            let names = names.filter_map(|name| Some(name.rsplit_once('/')?.1.split('@').next()?.to_owned()));
            names.filter(|name| name != "types").map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let docs = lines(&world.docs);
        let _ = writeln!(text, "| `{name}` | {} | {} | {docs} |", names(&world.imports), names(&world.exports));
    }
    text += "\n";
    text += VERSIONS;
    for (name, interface) in &package.interfaces {
        interface_section(&resolve, name, *interface, &mut text);
    }
    layout(root, &mut text);
    limits(root, &mut text);
    text
}

fn interface_section(resolve: &Resolve, name: &str, id: InterfaceId, text: &mut String) {
    let interface = &resolve.interfaces[id];
    let _ = writeln!(text, "## Interface `{name}`\n\n{}\n", lines(&interface.docs));
    for (name, id) in &interface.types {
        let definition = &resolve.types[*id];
        match &definition.kind {
            TypeDefKind::Record(record) => {
                let _ = writeln!(text, "### Record `{name}`\n\n{}", paragraph(&definition.docs));
                let _ = writeln!(text, "| field | type | meaning |\n|---|---|---|");
                for field in &record.fields {
                    let docs = cell(&field.docs);
                    let _ = writeln!(text, "| `{}` | `{}` | {docs} |", field.name, type_name(resolve, field.ty));
                }
                *text += "\n";
            }
            TypeDefKind::Enum(cases) => {
                let names: Vec<_> = cases.cases.iter().map(|case| format!("`{}`", case.name)).collect();
                let _ = writeln!(text, "### Enum `{name}`\n\n{}{}\n", paragraph(&definition.docs), names.join(", "));
            }
            TypeDefKind::Resource => {
                let _ = writeln!(text, "### Resource `{name}`\n\n{}", paragraph(&definition.docs));
                let methods = interface.functions.values().filter(|function| resource(function) == Some(*id));
                methods.for_each(|function| function_entry(resolve, function, text));
                *text += "\n";
            }
            // The types of other interfaces are described there.
            _ => {}
        }
    }
    let functions: Vec<_> = interface.functions.values().filter(|function| resource(function).is_none()).collect();
    if !functions.is_empty() {
        let _ = writeln!(text, "### Functions of `{name}`\n");
        functions.into_iter().for_each(|function| function_entry(resolve, function, text));
        *text += "\n";
    }
}

fn resource(function: &Function) -> Option<TypeId> {
    match function.kind {
        FunctionKind::Method(id) | FunctionKind::Static(id) | FunctionKind::Constructor(id) => Some(id),
        _ => None,
    }
}

fn function_entry(resolve: &Resolve, function: &Function, text: &mut String) {
    let is_method = matches!(function.kind, FunctionKind::Method(_));
    let parameters = function.params.iter().skip(usize::from(is_method));
    let parameters: Vec<_> =
        parameters.map(|parameter| format!("{}: {}", parameter.name, type_name(resolve, parameter.ty))).collect();
    let result = function.result.map(|result| format!(" -> {}", type_name(resolve, result))).unwrap_or_default();
    let _ =
        writeln!(text, "- `{}({}){result}`: {}", function.item_name(), parameters.join(", "), lines(&function.docs));
}

fn type_name(resolve: &Resolve, kind: Type) -> String {
    let id = match kind {
        Type::Id(id) => id,
        Type::Bool => return "bool".to_owned(),
        Type::String => return "string".to_owned(),
        other => return format!("{other:?}").to_lowercase(),
    };
    let definition = &resolve.types[id];
    let name = |kind: Type| type_name(resolve, kind);
    match (&definition.name, &definition.kind) {
        (Some(name), _) => name.clone(),
        (None, TypeDefKind::List(item)) => format!("list<{}>", name(*item)),
        (None, TypeDefKind::Option(item)) => format!("option<{}>", name(*item)),
        (None, TypeDefKind::Tuple(tuple)) => {
            format!("tuple<{}>", tuple.types.iter().map(|item| name(*item)).collect::<Vec<_>>().join(", "))
        }
        (None, TypeDefKind::Result(result)) => {
            let part = |part: Option<Type>| part.map_or("_".to_owned(), name);
            format!("result<{}, {}>", part(result.ok), part(result.err))
        }
        (None, TypeDefKind::Handle(Handle::Borrow(id))) => format!("borrow<{}>", name(Type::Id(*id))),
        (None, TypeDefKind::Handle(Handle::Own(id))) => name(Type::Id(*id)),
        (None, other) => other.as_str().to_owned(),
    }
}

fn lines(docs: &Docs) -> String {
    docs.contents.as_deref().unwrap_or_default().trim().to_owned()
}

fn paragraph(docs: &Docs) -> String {
    let text = lines(docs);
    if text.is_empty() { text } else { text + "\n\n" }
}

fn cell(docs: &Docs) -> String {
    lines(docs).replace('\n', " ").replace('|', "\\|")
}

/// The documentation of the crate with the packed layout.
fn layout(root: &Path, text: &mut String) {
    let read = |file: &str| std::fs::read_to_string(root.join("policies/facts/src").join(file)).unwrap();
    let docs = |source: &str| -> String {
        let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
        lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
    };
    let library = docs(&read("lib.rs"));
    let (_, section) = library.split_once("# Layout 1\n").unwrap();
    let (section, _) = section.rsplit_once("\n[`write`]").unwrap();
    let written = docs(&read("write.rs"));
    let (_, tables) = written.split_once("\n\n").unwrap();
    let _ = writeln!(text, "## Packed layout 1\n{section}\n{}", tables.trim_end());
    let flags = read("flags.rs");
    let _ = writeln!(text, "\nThe flags, by the position of their first bit:\n\n| of | flag | bit |\n|---|---|---|");
    let mut of = "";
    for line in flags.lines() {
        if let Some(name) = line.strip_prefix("pub mod ") {
            of = name.trim_end_matches(" {");
        }
        if let Some((name, bit)) = line.trim().strip_prefix("pub const ").and_then(|rest| rest.split_once(": u32 = ")) {
            let _ =
                writeln!(text, "| {of} | {} | {} |", name.to_lowercase().replace('_', " "), bit.trim_end_matches(';'));
        }
    }
    *text += "\n";
}

/// The limits of the engine, from their documentation.
fn limits(root: &Path, text: &mut String) {
    let source = std::fs::read_to_string(root.join("host/engine/src/limits.rs")).unwrap();
    let (_, fields) = source.split_once("pub struct Limits {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let _ = writeln!(text, "## Limits\n\n| limit | meaning |\n|---|---|");
    let mut docs = Vec::new();
    for line in fields.lines().map(str::trim) {
        if let Some(line) = line.strip_prefix("///") {
            docs.push(line.trim());
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
            let paragraphs = docs.join(" ").replace("  ", " ");
            let _ = writeln!(text, "| {} | {} |", name.replace('_', " "), paragraphs.trim());
            docs.clear();
        }
    }
}
