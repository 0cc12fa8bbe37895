//! The bindings that wasmtime generates from the contract.
#![allow(missing_docs)]

pub mod check {
    wasmtime::component::bindgen!({
        world: "check-component-with-object",
        path: "../../wit",
        imports: { default: trappable },
    });
}

/// The optional export `packed`, which is looked up on its own.
pub mod packed {
    wasmtime::component::bindgen!({
        inline: "package kube-devops:host; world packed-export { export devops:policy/packed@0.2.0; }",
        path: "../../wit",
        world: "kube-devops:host/packed-export",
        with: { "devops:policy/types": super::check::devops::policy::types },
    });
}

pub mod bundle {
    wasmtime::component::bindgen!({
        world: "bundle-component",
        path: "../../wit",
        imports: { default: trappable },
        with: {
            "devops:policy/types": super::check::devops::policy::types,
            "devops:policy/log": super::check::devops::policy::log,
        },
    });
}
