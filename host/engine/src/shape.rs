//! The names that a component imports and exports, which decide whether it is compiled at all.

use wasmparser::{Parser, Payload};

use crate::{Grants, LoadError};

/// The first bytes of a WebAssembly component.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
/// The first bytes of a core module.
const CORE_MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
/// The prefixes of the interfaces that the host provides.
const PROVIDED: [&str; 3] = ["devops:policy/log@", "devops:policy/types@", "devops:policy/object@"];

/// The names of the imports and exports of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The imports.
    pub imports: Vec<String>,
    /// The exports.
    pub exports: Vec<String>,
}

impl Shape {
    /// Reads the names from the bytes of a component, without memory in proportion to its code.
    pub fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        if bytes.starts_with(&CORE_MODULE) {
            return Err(LoadError::CoreModule);
        } else if !bytes.starts_with(&COMPONENT) {
            return Err(LoadError::NotWasm);
        }
        Self::parse(bytes).map_err(|error| LoadError::Compile(error.to_string()))
    }

    fn parse(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut shape = Self::default();
        // The components and core modules inside have other imports and exports.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        shape.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        shape.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(shape)
    }

    /// Reports whether an interface of the contract is exported, in any version.
    pub fn exports(&self, interface: &str) -> bool {
        self.exports.iter().any(|name| name.strip_prefix(interface).is_some_and(|rest| rest.starts_with('@')))
    }

    /// Checks what can be checked without the code.
    ///
    /// The imports decide, because they are the only way of a component to its environment.
    pub fn check(&self, grants: Grants) -> Result<(), LoadError> {
        let unknown = self.imports.iter().find(|name| !PROVIDED.iter().any(|provided| name.starts_with(provided)));
        if let Some(import) = unknown {
            return Err(LoadError::UnknownImport { import: import.clone() });
        }
        if !grants.object && self.imports.iter().any(|name| name.starts_with("devops:policy/object@")) {
            return Err(LoadError::NotGranted { import: "object" });
        }
        if !self.exports("devops:policy/check") && !self.exports("devops:policy/bundle") {
            let reason = "it exports neither devops:policy/check nor devops:policy/bundle".to_owned();
            return Err(LoadError::Contract(reason));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(component: &str, grants: Grants) -> Result<(), LoadError> {
        Shape::read(&wat::parse_str(component).unwrap()).and_then(|shape| shape.check(grants))
    }

    #[test]
    fn imports_and_exports_are_checked_without_the_code() {
        let log = r#"(component (import "devops:policy/log@0.2.0" (instance))
            (component (import "other" (instance))) (core module (import "a" "b" (func)) (export "c" (func 0)))
            (instance $empty) (export "devops:policy/check@0.2.0" (instance $empty)))"#;
        let shape = Shape::read(&wat::parse_str(log).unwrap()).unwrap();
        let names = |name: &str| vec![name.to_owned()];
        let expected = Shape { imports: names("devops:policy/log@0.2.0"), exports: names("devops:policy/check@0.2.0") };
        assert_eq!(shape, expected);
        check(log, Grants::default()).unwrap();
        let object = log.replace("policy/log", "policy/object");
        assert!(matches!(check(&object, Grants::default()), Err(LoadError::NotGranted { import: "object" })));
        check(&object, Grants::all()).unwrap();
        let unknown = check(&log.replace("devops:policy/log", "wasi:cli/environment"), Grants::all());
        assert!(matches!(unknown, Err(LoadError::UnknownImport { .. })));
        assert!(matches!(check("(component)", Grants::all()), Err(LoadError::Contract(_))));
    }

    #[test]
    fn other_and_truncated_files_are_errors() {
        let component = wat::parse_str("(component (core module (memory 1)))").unwrap();
        assert!(matches!(Shape::read(b"no wasm"), Err(LoadError::NotWasm)));
        assert!(matches!(Shape::read(&wat::parse_str("(module)").unwrap()), Err(LoadError::CoreModule)));
        for length in 9..component.len() {
            let error = Shape::read(&component[..length]);
            assert!(matches!(error, Ok(_) | Err(LoadError::Compile(_))), "{length}: {error:?}");
        }
        assert!(matches!(Shape::read(&component[..component.len() - 1]), Err(LoadError::Compile(_))));
    }
}
