//! `latest-tag`: images must have a fixed version.
#![forbid(unsafe_code)]

mod recent;

use std::cell::RefCell;

use kube_devops_sdk::image::{InvalidReference, Reference, excerpt};
use kube_devops_sdk::{Check, Findings, Info, NoSettings, Severity, Stage, Subject};

use recent::Recent;

/// The check.
#[derive(Default)]
pub struct LatestTag {
    /// The last images that are no violations. Most pods of a batch have the images of the pod before.
    compliant: RefCell<Recent>,
}

impl Check for LatestTag {
    type Settings = NoSettings;

    fn info() -> Info {
        Info {
            id: "latest-tag",
            title: "Image uses the tag latest, or no tag",
            description: "A container whose image has the tag `latest`, or no tag, which is equivalent. This applies to \
                          app, init, sidecar and ephemeral containers. An image with a valid digest (`@sha256:...`) is \
                          never a violation, regardless of its tag. The port of a registry is not a tag, and `LATEST` \
                          is a different tag than `latest`. An invalid image reference, such as `nginx:1:2` or \
                          `nginx:latest@sha256:`, is also a violation, because it does not specify a version: the \
                          kubelet reports `InvalidImageName` and does not pull the image. The same applies to an image \
                          with an unresolved placeholder: `${TAG}`, `$(TAG)`, `{{ .Values.tag }}`, `<no value>` or \
                          `%TAG%`.",
            rationale: "The tag `latest` refers to a different image after every release. The pods of one pod template \
                        can run different versions on different nodes, a restart can cause an unintended upgrade, and \
                        a rollback has no previous version to return to.",
            remedy: "Use the tag of a specific version, or preferably a digest:\n\n\
                     ```yaml\ncontainers:\n  - name: web\n    image: nginx:1.29.3\n    \
                     # or: nginx:1.29.3@sha256:<digest>\n```\n\n\
                     If the image has an unresolved placeholder, render the template first (`helm template`, \
                     `envsubst`) and set the missing value. Kubernetes does not expand variables in `image`.",
            stage: Stage::Spec,
            severity: Severity::Medium,
            weight: 5,
            needs_annotations: false,
            remediates: false,
            url: Some("https://kubernetes.io/docs/concepts/containers/images/#image-names"),
        }
    }

    fn new(_settings: NoSettings) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn evaluate(&self, subject: &Subject<'_>, findings: &mut Findings) {
        let mut compliant = self.compliant.borrow_mut();
        for (index, container) in subject.containers().enumerate() {
            let image = container.image();
            if compliant.contains(image) {
                continue;
            }
            match message(image) {
                Some(message) => findings.container(index, "/image", message),
                None => compliant.add(image),
            }
        }
    }
}

/// Returns the message about an image, or `None` if it has a digest or a tag other than `latest`.
fn message(image: &str) -> Option<String> {
    // The host truncates messages to 1 KiB, and the reason is at the end. Valid references are shorter than this.
    let shown = excerpt(image, 768);
    match Reference::parse(image) {
        Ok(Reference { digest: Some(_), .. }) => None,
        Ok(Reference { tag: Some("latest"), .. }) => Some(format!("image {shown} uses the tag latest")),
        Ok(Reference { tag: Some(_), .. }) => None,
        Ok(Reference { tag: None, .. }) => Some(format!("image {shown} has no tag, which means latest")),
        Err(empty @ InvalidReference::Empty) => Some(empty.to_string()),
        Err(placeholder @ InvalidReference::Placeholder(_)) => Some(format!("image {shown} has an {placeholder}")),
        Err(invalid) => Some(format!("image {shown} is not a valid image reference: {invalid}")),
    }
}

#[cfg(test)]
mod tests {
    use kube_devops_sdk::ContainerKind;
    use kube_devops_sdk::testing::{container, findings_of, pod};

    use super::*;

    const SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn images_with_another_tag_or_a_digest_are_not_violations() {
        for image in [
            "nginx:1.29",
            "nginx:stable",
            "nginx:latest-alpine",
            "nginx:v1-latest",
            "nginx:notlatest",
            "nginx:LATEST",
            "nginx:Latest",
            "latest:1.0",
            "registry.example.com:5000/team/nginx:1.29",
            "REGISTRY.example.com/nginx:1.29",
            "[2001:db8::1]:5000/nginx:1.29",
            &format!("nginx@{SHA256}"),
            &format!("nginx:latest@{SHA256}"),
            &format!("r:5000/nginx:1@sha512:{}", "0".repeat(128)),
        ] {
            assert_eq!(message(image), None, "{image:?}");
        }
    }

    #[test]
    fn images_with_the_tag_latest_or_without_a_tag_are_violations() {
        for image in
            ["nginx", "latest", "registry.example.com:5000/team/nginx", "localhost:5000/nginx", "localhost/latest"]
        {
            assert_eq!(message(image), Some(format!("image {image} has no tag, which means latest")));
        }
        for image in ["nginx:latest", "registry.example.com:5000/team/nginx:latest"] {
            assert_eq!(message(image), Some(format!("image {image} uses the tag latest")));
        }
        for image in ["", "   "] {
            assert_eq!(message(image).as_deref(), Some("no image is given"), "{image:?}");
        }
    }

    #[test]
    fn invalid_references_are_violations_even_with_a_tag_or_a_digest() {
        for image in [
            "a:latest@sha256:",
            "a@latest",
            "a:sha256:x",
            "a:1:2",
            "a:1@%!s(<nil>)",
            "%!s(<nil>)",
            " nginx:1 ",
            "nginx:",
            "nginx@",
            "team/Nginx:1",
            "https://registry.example.com/nginx:1",
            &format!("nginx:1@{}", &SHA256[..70]),
        ] {
            let prefix = format!("image {image} is not a valid image reference: ");
            let message = message(image).expect(image);
            assert!(message.len() > prefix.len() && message.starts_with(&prefix), "{message}");
        }
        assert_eq!(
            message("reg/a:latest@sha256:").as_deref(),
            Some(
                "image reg/a:latest@sha256: is not a valid image reference: a sha256 digest has exactly 64 lower-case \
                 hexadecimal digits"
            )
        );
    }

    #[test]
    fn unresolved_placeholders_are_violations_with_the_placeholder_in_the_message() {
        for (image, placeholder) in [
            ("app:${TAG}", "${TAG}"),
            ("$(REGISTRY)/app:1", "$(REGISTRY)"),
            ("{{ .Values.image }}", "{{ .Values.image }}"),
            ("app:<no value>", "<no value>"),
            ("app:%TAG%", "%TAG%"),
        ] {
            assert_eq!(message(image), Some(format!("image {image} has an unresolved placeholder {placeholder}")));
        }
    }

    #[test]
    fn messages_about_long_images_are_within_the_limit_of_the_host() {
        for image in ["é", "a/", "${", "{{}}", "-"].map(|part| part.repeat(1 << 20)) {
            let message = message(&image).expect("invalid");
            assert!(message.len() <= 1024 && !message.ends_with("..."), "{message}");
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_pods_before() {
        let check = LatestTag::default();
        let images =
            ["nginx:1", "nginx", "nginx:1", "nginx:", "", "a:1", "b:1", "c:1", "d:1", "nginx:1", "nginx:latest"];
        for image in images.iter().chain(images.iter().rev()) {
            let found = findings_of(&check, &pod(vec![container(ContainerKind::App, image)]));
            let messages: Vec<_> = found.into_iter().map(|finding| finding.message).collect();
            assert_eq!(messages, Vec::from_iter(message(image)), "{image}");
        }
    }

    #[test]
    fn findings_have_the_container_and_the_field() {
        let kinds = [ContainerKind::App, ContainerKind::Init, ContainerKind::Sidecar, ContainerKind::Ephemeral];
        let found = findings_of(&LatestTag::default(), &pod(kinds.map(|kind| container(kind, "busybox")).to_vec()));
        let containers: Vec<_> = found.iter().map(|finding| finding.container).collect();
        assert_eq!(containers, [Some(0), Some(1), Some(2), Some(3)]);
        assert!(found.iter().all(|finding| finding.field.as_deref() == Some("/image") && finding.magnitude == 1));
    }
}
