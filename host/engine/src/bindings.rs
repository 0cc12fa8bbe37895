//! The bindings that wasmtime generates from the contract.
#![allow(missing_docs)]

pub mod check {
    wasmtime::component::bindgen!({
        world: "check-component-with-object",
        path: "../../wit",
        imports: { default: trappable },
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
