//! The bindings that wit-bindgen generates from the contract, for [`crate::export_checks!`] and
//! [`crate::export_bundle!`].
#![allow(missing_docs, clippy::unwrap_used)]

pub mod check {
    wit_bindgen::generate!({
        world: "packed-check-component",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_packed_check_component",
        default_bindings_module: "kube_devops_sdk::bindings::check",
        additional_derives: [PartialEq],
    });
}

pub mod bundle {
    wit_bindgen::generate!({
        world: "bundle-component",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_bundle_component",
        default_bindings_module: "kube_devops_sdk::bindings::bundle",
        with: {
            "devops:policy/types@0.2.0": crate::bindings::check::devops::policy::types,
            "devops:policy/log@0.2.0": crate::bindings::check::devops::policy::log,
        },
        additional_derives: [PartialEq],
    });
}

#[cfg(feature = "object")]
pub mod object {
    wit_bindgen::generate!({
        world: "check-component-with-object",
        path: "../../wit",
        with: {
            "devops:policy/types@0.2.0": crate::bindings::check::devops::policy::types,
            "devops:policy/log@0.2.0": crate::bindings::check::devops::policy::log,
        },
    });
}
