//! `latest-tag`: images must say which version they are.
#![forbid(unsafe_code)]

use kube_devops_sdk::image::Reference;
use kube_devops_sdk::{Check, Findings, Info, NoSettings, Severity, Stage, Subject};

/// The check.
pub struct LatestTag;

impl Check for LatestTag {
    type Settings = NoSettings;

    fn info() -> Info {
        Info {
            id: "latest-tag",
            title: "Image uses the tag latest, or no tag",
            description: "A container whose image has the tag `latest`, or no tag at all, which means the same. Every \
                          container counts: app, init, sidecar and ephemeral. An image with a digest (`@sha256:...`) is \
                          always fine, whatever its tag. The port of a registry is not a tag.",
            rationale: "The tag `latest` names another image every day. Two nodes can run different programs under one \
                        pod template, a restart can bring an upgrade that nobody asked for, and a rollback has nothing \
                        to go back to.",
            remedy: "Name a version that does not move, or better a digest:\n\n\
                     ```yaml\ncontainers:\n  - name: web\n    image: nginx:1.29.3\n    \
                     # or: nginx:1.29.3@sha256:<digest>\n```",
            stage: Stage::Spec,
            severity: Severity::Medium,
            weight: 5,
            remediates: false,
            url: Some("https://kubernetes.io/docs/concepts/containers/images/#image-names"),
        }
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn evaluate(&self, subject: &Subject, findings: &mut Findings) {
        for (index, container) in subject.containers.iter().enumerate() {
            let image = Reference::parse(&container.image);
            match (image.digest, image.tag) {
                (Some(_), _) => {}
                (None, Some("latest")) => {
                    findings.container(index, "/image", format!("image {} uses the tag latest", container.image));
                }
                (None, Some(_)) => {}
                (None, None) if image.name.is_empty() => findings.container(index, "/image", "no image is given"),
                (None, None) => findings.container(
                    index,
                    "/image",
                    format!("image {} has no tag, which means latest", container.image),
                ),
            }
        }
    }
}

kube_devops_sdk::export_check!(LatestTag);

#[cfg(test)]
mod tests {
    use kube_devops_sdk::ContainerKind;
    use kube_devops_sdk::testing::{container, findings_of, pod};

    use super::*;

    #[test]
    fn judges_image_references() {
        for (image, violation) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1.29", false),
            ("nginx:stable", false),
            ("nginx:latest-alpine", false),
            ("nginx:v1-latest", false),
            ("nginx:notlatest", false),
            ("nginx:LATEST", false),
            ("nginx:Latest", false),
            ("latest", true),
            ("latest:1.0", false),
            ("registry.example.com:5000/team/nginx", true),
            ("registry.example.com:5000/team/nginx:latest", true),
            ("registry.example.com:5000/team/nginx:1.29", false),
            ("localhost:5000/nginx", true),
            ("REGISTRY.example.com/nginx:1.29", false),
            ("nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false),
            ("nginx:latest@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false),
            ("r:5000/nginx:1@sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce", false),
            ("nginx:", true),
            ("nginx@", true),
            ("", true),
            ("   ", true),
        ] {
            let found = findings_of(&LatestTag, &pod(vec![container(ContainerKind::App, image)]));
            assert_eq!(!found.is_empty(), violation, "{image:?}: {found:?}");
        }
    }

    #[test]
    fn every_kind_of_container_counts_and_is_pointed_at() {
        let kinds = [ContainerKind::App, ContainerKind::Init, ContainerKind::Sidecar, ContainerKind::Ephemeral];
        let found = findings_of(&LatestTag, &pod(kinds.map(|kind| container(kind, "busybox")).to_vec()));
        let containers: Vec<_> = found.iter().map(|finding| finding.container).collect();
        assert_eq!(containers, [Some(0), Some(1), Some(2), Some(3)]);
        assert!(found.iter().all(|finding| finding.field.as_deref() == Some("/image") && finding.magnitude == 1));
    }
}
