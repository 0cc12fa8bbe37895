//! The violations of an object, computed independently from the JSON output of kubectl.

use serde_json::Value;

use crate::composer::DIGEST;

/// Returns the violations of an object as read by kubectl, or `None` if it is invalid for Kubernetes.
pub fn expected_of(object: &Value) -> Option<Vec<String>> {
    let (spec, pod_labels) = match object["kind"].as_str()? {
        "Pod" => (&object["spec"], &object["metadata"]["labels"]),
        _ => (&object["spec"]["template"]["spec"], &object["spec"]["template"]["metadata"]["labels"]),
    };
    let text_or_nothing =
        |value: &Value| if value.is_null() { Some(String::new()) } else { value.as_str().map(str::to_owned) };
    for labels in [&object["metadata"]["labels"], pod_labels] {
        if !labels.is_null() {
            labels.as_object()?.values().try_for_each(|value| text_or_nothing(value).map(drop))?;
        }
    }
    let containers = spec["containers"].as_array().filter(|containers| !containers.is_empty())?;
    let none = Vec::new();
    let init_containers = match &spec["initContainers"] {
        Value::Null => &none,
        containers => containers.as_array()?,
    };
    let mut violations = Vec::new();
    for (key, containers) in [("containers", containers), ("initContainers", init_containers)] {
        for (index, container) in containers.iter().enumerate() {
            if !container.is_object() {
                return None;
            }
            let name = text_or_nothing(&container["name"])?;
            let name = if name.is_empty() { format!("{key}[{index}]") } else { name };
            let is_pinned = is_pinned(&text_or_nothing(&container["image"])?);
            let needs_probes = key == "containers";
            let (liveness, readiness) =
                (has_handler(&container["livenessProbe"])?, has_handler(&container["readinessProbe"])?);
            for (check, is_violation) in [
                ("latest-tag", !is_pinned),
                ("missing-liveness", needs_probes && !liveness),
                ("missing-readiness", needs_probes && !readiness),
            ] {
                if is_violation {
                    violations.push(format!("{check} {name}"));
                }
            }
        }
    }
    violations.sort();
    Some(violations)
}

/// Whether a probe has a handler, which the API server requires; `None` if it is no probe.
fn has_handler(probe: &Value) -> Option<bool> {
    match probe {
        Value::Null => Some(false),
        Value::Object(fields) => {
            let handlers = ["exec", "grpc", "httpGet", "tcpSocket"];
            Some(handlers.iter().any(|handler| fields.get(*handler).is_some_and(|handler| !handler.is_null())))
        }
        _ => None,
    }
}

/// Reports whether an image is pinned to a version. A malformed image is not.
fn is_pinned(image: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/:@".contains(&byte);
    let (tagged, digest) = image.split_once('@').map_or((image, None), |(tagged, digest)| (tagged, Some(digest)));
    let last = tagged.rsplit('/').next().unwrap_or_default();
    let is_tag = |tag: &str| !tag.is_empty() && !tag.starts_with(['.', '-']) && !tag.contains(':');
    let tag = last.split_once(':').map(|(_, tag)| tag);
    let is_valid = image.bytes().all(is_allowed)
        && tagged.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && tag.is_none_or(is_tag);
    is_valid
        && (digest.is_some_and(|digest| digest == format!("sha256:{DIGEST}")) || tag.is_some_and(|tag| tag != "latest"))
}
