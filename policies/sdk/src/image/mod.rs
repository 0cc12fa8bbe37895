//! Image references.

mod invalid;
mod usual;

pub use invalid::{InvalidReference, excerpt};

/// A parsed image reference: `registry:port/repository:tag@digest`.
///
/// The grammar and its limits are those of `ParseNormalizedNamed` of `github.com/distribution/reference`, which the
/// kubelet uses: for an invalid reference, it reports `InvalidImageName` and does not pull the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Registry and repository, as written; the default registry is not added.
    pub name: &'a str,
    /// The tag, if there is one.
    pub tag: Option<&'a str>,
    /// The digest with its algorithm, such as `sha256:` and 64 hexadecimal digits.
    pub digest: Option<&'a str>,
}

/// The hexadecimal digits of a SHA-256 digest, which an image ID has too.
const SHA256_DIGITS: usize = 64;
/// The algorithms that container runtimes support, with their numbers of hexadecimal digits.
const DIGESTS: [(&str, usize); 3] = [("sha256", SHA256_DIGITS), ("sha384", 96), ("sha512", 128)];
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

impl<'a> Reference<'a> {
    /// Parses a reference, in time linear in its length.
    ///
    /// # Errors
    ///
    /// Returns the error of the first invalid part, in the order name, tag, digest. An unresolved placeholder has
    /// precedence, because it is the cause of the other errors.
    pub fn parse(reference: &'a str) -> Result<Self, InvalidReference<'a>> {
        if let Some(usual) = usual::parse(reference) {
            debug_assert_eq!(Self::parse_resolved(reference), Ok(usual));
            return Ok(usual);
        }
        // Valid references cannot contain placeholders, so only invalid ones are searched.
        Self::parse_resolved(reference)
            .map_err(|invalid| placeholder(reference).map_or(invalid, InvalidReference::Placeholder))
    }

    fn parse_resolved(reference: &'a str) -> Result<Self, InvalidReference<'a>> {
        let trimmed = reference.trim();
        if trimmed.is_empty() {
            return Err(InvalidReference::Empty);
        }
        if trimmed.len() < reference.len() {
            return Err(InvalidReference::SurroundingWhiteSpace);
        }
        if reference.contains("://") {
            return Err(InvalidReference::UrlScheme);
        }
        if is_hexadecimal(reference, SHA256_DIGITS) {
            return Err(InvalidReference::ImageId);
        }
        let (rest, digest) = split(reference, '@', 0);
        // A colon before the last slash belongs to the port of the registry.
        let (name, tag) = split(rest, ':', rest.rfind('/').map_or(0, |slash| slash + 1));
        check_name(name)?;
        tag.map_or(Ok(()), check_tag)?;
        digest.map_or(Ok(()), check_digest)?;
        Ok(Self { name, tag, digest })
    }
}

/// Splits at the first `separator` that is not before `from`.
fn split(text: &str, separator: char, from: usize) -> (&str, Option<&str>) {
    match text[from..].find(separator) {
        Some(index) => (&text[..from + index], Some(&text[from + index + separator.len_utf8()..])),
        None => (text, None),
    }
}

fn check_name(name: &str) -> Result<(), InvalidReference<'_>> {
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if names_registry(first) => (Some(first), path),
        _ => (None, name),
    };
    let (registry, path) = match registry.map(|registry| (registry, check_registry(registry))) {
        // A host with an underscore is not a DNS name, but the grammar allows it as the first component of the path.
        Some((first, Err(invalid))) => (None, check_component(first).map(|()| name).map_err(|_| invalid)?),
        _ => (registry, path),
    };
    if path.is_empty() {
        return Err(InvalidReference::NameMissing);
    }
    path.split('/').try_for_each(check_component)?;
    // The limit includes the namespace of official images, which is added to names with one component on Docker Hub.
    let docker_hub = matches!(registry, None | Some("docker.io" | "index.docker.io"));
    let namespace = if docker_hub && !path.contains('/') { "library/" } else { "" };
    if namespace.len() + path.len() > MAX_NAME {
        return Err(InvalidReference::NameTooLong);
    }
    Ok(())
}

/// Reports whether the text before the first slash of a name is a registry, and not the first component of the path.
fn names_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.contains(|c: char| c.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), InvalidReference<'_>> {
    // Colons within brackets belong to an IPv6 address.
    let (host, port) = split(registry, ':', registry.find(']').unwrap_or(0));
    let valid = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| {
            !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        }),
        None => host.split('.').all(|label| {
            label.starts_with(|c: char| c.is_ascii_alphanumeric())
                && label.ends_with(|c: char| c.is_ascii_alphanumeric())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }),
    };
    match port {
        _ if !valid => Err(InvalidReference::RegistryHost(host)),
        Some(port) if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(InvalidReference::RegistryPort(port))
        }
        _ => Ok(()),
    }
}

fn check_component(component: &str) -> Result<(), InvalidReference<'_>> {
    if component.is_empty() {
        return Err(InvalidReference::NameComponentEmpty);
    }
    match component.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
        Some('A'..='Z') => return Err(InvalidReference::NameNotLowerCase),
        Some(other) => return Err(InvalidReference::NameCharacter(other)),
        None => {}
    }
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    let separated = component
        .split(alphanumeric)
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'));
    if separated && component.starts_with(alphanumeric) && component.ends_with(alphanumeric) {
        Ok(())
    } else {
        Err(InvalidReference::NameSeparator(component))
    }
}

fn check_tag(tag: &str) -> Result<(), InvalidReference<'_>> {
    if tag.contains(':') {
        return Err(InvalidReference::TagColon);
    }
    match tag.chars().find(|c| !matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' | '-')) {
        Some(other) => Err(InvalidReference::TagCharacter(other)),
        None if tag.len() > MAX_TAG => Err(InvalidReference::TagTooLong),
        None => match tag.chars().next() {
            None => Err(InvalidReference::TagEmpty),
            Some(first @ ('.' | '-')) => Err(InvalidReference::TagStart(first)),
            Some(_) => Ok(()),
        },
    }
}

fn check_digest(digest: &str) -> Result<(), InvalidReference<'_>> {
    if digest.is_empty() {
        return Err(InvalidReference::DigestEmpty);
    }
    if digest.contains('@') {
        return Err(InvalidReference::DigestRepeated);
    }
    let Some((algorithm, encoded)) = digest.split_once(':').filter(|(algorithm, _)| !algorithm.is_empty()) else {
        return Err(InvalidReference::DigestFormat(digest));
    };
    match DIGESTS.into_iter().find(|(supported, _)| *supported == algorithm) {
        None => Err(InvalidReference::DigestAlgorithm(algorithm)),
        Some((_, digits)) if is_hexadecimal(encoded, digits) => Ok(()),
        Some((algorithm, digits)) => Err(InvalidReference::DigestDigits { algorithm, digits }),
    }
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'a'..=b'f' | b'0'..=b'9'))
}

/// Returns the first placeholder in a text, in the syntax of shells and CI systems, make and Kubernetes, template
/// engines, Go (a missing value) or Windows.
fn placeholder(text: &str) -> Option<&str> {
    let delimited = |(open, close): (&str, &str)| {
        let start = text.find(open)?;
        let inner = start + open.len();
        Some((start, inner + text[inner..].find(close)? + close.len()))
    };
    [("${{", "}}"), ("${", "}"), ("$(", ")"), ("{{", "}}"), ("<no value>", "")]
        .into_iter()
        .filter_map(delimited)
        .chain(percent_placeholder(text))
        .min_by_key(|(start, _)| *start)
        .map(|(start, end)| &text[start..end])
}

/// Returns the start and end of the first `%NAME%`. A single percent sign is probably an encoded character.
fn percent_placeholder(text: &str) -> Option<(usize, usize)> {
    let mut start = text.find('%')?;
    loop {
        let end = start + 1 + text[start + 1..].find('%')?;
        let name = &text[start + 1..end];
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Some((start, end + 1));
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{name}@{algorithm}:{digits times f}`
    fn with_digest(name: &str, algorithm: &str, digits: usize) -> String {
        format!("{name}@{algorithm}:{}", "f".repeat(digits))
    }

    #[test]
    fn valid_references_have_a_name_and_an_optional_tag_and_digest() {
        let sha256 = with_digest("", "sha256", 64);
        let sha384 = with_digest("", "sha384", 96);
        let sha512 = with_digest("", "sha512", 128);
        let names = [
            "nginx",
            "a",
            "0",
            "test_com",
            "test.com",
            "latest",
            "localhost",
            "192.168.1.1",
            "docker/docker",
            "library/debian",
            "docker.io/debian",
            "index.docker.io/library/debian",
            "localhost/debian",
            "localhost:5000/debian",
            "LOCALDOMAIN/debian",
            "Docker/docker",
            "REGISTRY.example.com/nginx",
            "test:5000/repo",
            "registry.example.com:5000/team/nginx",
            "sub-dom1.foo.com/bar/baz/quux",
            "b.gcr.io/test.example.com/my-app",
            "xn--n3h.com/myimage",
            "a--b.com/repo",
            "192.168.1.1:5000/repo",
            "[::1]:5000/repo",
            "[2001:db8::1]/repo",
            "[2001:DB8:1:2:3:4:5:6]:80/team/repo",
            // The grammar allows any hexadecimal digits and colons.
            "[:]/repo",
            "foo/foo_bar.com",
            "foo_bar.com/repo",
            "dock__er/docker",
            "docker---rules/docker",
            "a-b_c.d__e/f",
            "registry.example.com/a/b/c/d/e/f",
        ];
        for name in names {
            for tag in [None, Some("1"), Some("latest"), Some("LATEST"), Some("_"), Some("v1.2.3-rc.1_x")] {
                for digest in [None, Some(&sha256[1..]), Some(&sha384[1..]), Some(&sha512[1..])] {
                    let reference = format!(
                        "{name}{}{}",
                        tag.map(|tag| format!(":{tag}")).unwrap_or_default(),
                        digest.map(|digest| format!("@{digest}")).unwrap_or_default(),
                    );
                    assert_eq!(Reference::parse(&reference), Ok(Reference { name, tag, digest }), "{reference:?}");
                }
            }
        }
    }

    #[test]
    fn references_that_exceed_a_length_limit_are_invalid() {
        let a = |count| "a".repeat(count);
        let image_id = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a";
        for (reference, expected) in [
            (format!("example.com/{}", a(255)), None),
            (format!("example.com/{}", a(256)), Some(InvalidReference::NameTooLong)),
            (format!("{}.com/{}", a(300), a(255)), None),
            (format!("team/{}", a(250)), None),
            (format!("team/{}", a(251)), Some(InvalidReference::NameTooLong)),
            // Docker Hub adds library/ to these.
            (a(247), None),
            (a(248), Some(InvalidReference::NameTooLong)),
            (format!("docker.io/{}", a(247)), None),
            (format!("docker.io/{}", a(248)), Some(InvalidReference::NameTooLong)),
            (format!("index.docker.io/{}:1", a(248)), Some(InvalidReference::NameTooLong)),
            // The host with the underscore is part of the path.
            (format!("my_host.com/{}", a(243)), None),
            (format!("my_host.com/{}", a(244)), Some(InvalidReference::NameTooLong)),
            (format!("a:{}", a(128)), None),
            (format!("a:{}", a(129)), Some(InvalidReference::TagTooLong)),
            (image_id.to_owned(), Some(InvalidReference::ImageId)),
            (image_id[1..].to_owned(), None),
            (format!("{image_id}0"), None),
            (format!("{image_id}:1"), None),
            (format!("docker.io/{image_id}"), None),
        ] {
            assert_eq!(Reference::parse(&reference).err(), expected, "{reference:?}");
        }
    }

    #[test]
    // One table of cases.
    #[allow(clippy::too_many_lines)]
    fn errors_of_invalid_references_contain_the_reason() {
        const DIGEST_FORMAT: &str = "after @ is not a digest; a digest looks like sha256:<64 hexadecimal digits>";
        const SHA256: &str = "a sha256 digest has exactly 64 lower-case hexadecimal digits";
        let upper = with_digest("a", "sha256", 64).replace('f', "F");
        let (short, long) = (with_digest("a", "sha256", 63), with_digest("a", "sha256", 65));
        let (sha384, sha512) = (with_digest("a", "sha384", 64), with_digest("a", "sha512", 64));
        let unsupported = with_digest("validname", "invaliddigest", 64);
        let variant = with_digest("a", "sha256+b64", 64);
        let upper_algorithm = with_digest("a", "SHA256", 64);
        let only_digest = with_digest("", "sha256", 64);
        let tag_after_digest = with_digest("a", "sha256", 64) + ":1";
        for (reference, message) in [
            ("", "no image is given"),
            (" \t\n", "no image is given"),
            (" nginx:1 ", "leading or trailing white space"),
            ("nginx:1\n", "leading or trailing white space"),
            ("\u{a0}nginx:1", "leading or trailing white space"),
            ("https://github.com/docker/docker", "a URL scheme such as https:// is not allowed"),
            (":", "the repository name is missing"),
            (":justtag", "the repository name is missing"),
            ("@", "the repository name is missing"),
            (&only_digest, "the repository name is missing"),
            ("example.com/", "the repository name is missing"),
            ("example.com:5000/:1", "the repository name is missing"),
            ("Uppercase:tag", "the repository name must be lower case"),
            ("docker/Docker", "the repository name must be lower case"),
            ("test:5000/Uppercase/lowercase:tag", "the repository name must be lower case"),
            ("foo_Bar.com/repo", "the registry host foo_Bar.com is not valid"),
            ("aa/asdf$$^/aa", "the repository name has the invalid character '$'"),
            ("my app", "the repository name has the invalid character ' '"),
            ("a\u{0}b", "the repository name has the invalid character '\\u{0}'"),
            ("ünï/cødé:läst", "the repository name has the invalid character 'ü' (U+00FC)"),
            ("ngin\u{200b}x", "the repository name has the invalid character '\u{200b}' (U+200B)"),
            ("%!s(<nil>)", "the repository name has the invalid character '%'"),
            ("[2001:db8::1]", "the repository name has the invalid character '['"),
            ("[2001:db8::1]:5000", "the repository name has the invalid character '['"),
            ("[a]/repo", "the repository name has the invalid character '['"),
            ("a/b:c/d", "the repository name has the invalid character ':'"),
            ("docker///docker", "the repository name has an empty component before or after a /"),
            ("/nginx", "the repository name has an empty component before or after a /"),
            ("docker/", "the repository name has an empty component before or after a /"),
            ("/", "the repository name has an empty component before or after a /"),
            (
                "-docker",
                "the component -docker of the repository name has a misplaced separator; one of . _ __ or dashes may \
                 separate letters and digits",
            ),
            ("-docker.io/docker/docker", "the registry host -docker.io is not valid"),
            ("a..b/docker", "the registry host a..b is not valid"),
            ("[fe80::1%eth0]:5000/repo", "the registry host [fe80::1%eth0] is not valid"),
            ("[2001:db8:3:4::192.0.2.33]:5000/debian", "the registry host [2001:db8:3:4::192.0.2.33] is not valid"),
            ("[]:1/repo", "the registry host [] is not valid"),
            ("[::1]x:5000/repo", "the registry host [::1]x is not valid"),
            (":5000/repo", "the host of the registry is missing"),
            ("fc00::1:5000/debian", "the registry port :1:5000 is not a number"),
            ("nginx:tag/foo", "the registry port tag is not a number"),
            ("localhost:/repo", "the port of the registry is missing"),
            ("nginx:", "the tag after : is empty"),
            ("nginx:@sha256:", "the tag after : is empty"),
            ("a:1:2", "the tag has a colon; only a digest has one, and it follows an @"),
            ("a:sha256:x", "the tag has a colon; only a digest has one, and it follows an @"),
            ("a:.1", "the tag starts with '.', not with a letter, a digit or an underscore"),
            ("a:-1", "the tag starts with '-', not with a letter, a digit or an underscore"),
            ("a:1+2", "the tag has the invalid character '+'"),
            ("a:$TAG", "the tag has the invalid character '$'"),
            ("nginx@", "the digest after @ is empty"),
            ("a:1@", "the digest after @ is empty"),
            ("a@b@c", "there is more than one @"),
            ("a:latest@sha256:", SHA256),
            (&short, SHA256),
            (&long, SHA256),
            (&upper, SHA256),
            (&tag_after_digest, SHA256),
            (&sha384, "a sha384 digest has exactly 96 lower-case hexadecimal digits"),
            (&sha512, "a sha512 digest has exactly 128 lower-case hexadecimal digits"),
            (&unsupported, "the digest algorithm invaliddigest is not supported; use sha256, sha384 or sha512"),
            (&variant, "the digest algorithm sha256+b64 is not supported; use sha256, sha384 or sha512"),
            (&upper_algorithm, "the digest algorithm SHA256 is not supported; use sha256, sha384 or sha512"),
            ("a@latest", &format!("latest {DIGEST_FORMAT}")),
            ("a:1@%!s(<nil>)", &format!("%!s(<nil>) {DIGEST_FORMAT}")),
            ("a@:ffff", &format!(":ffff {DIGEST_FORMAT}")),
        ] {
            let invalid = Reference::parse(reference).expect_err(reference);
            assert_eq!(invalid.to_string(), message, "{reference:?}");
        }
    }

    #[test]
    fn separators_are_only_valid_between_letters_and_digits() {
        let misplaced = [
            "-a",
            "a-",
            ".a",
            "a.",
            "_a",
            "a_",
            "__a",
            "a__",
            "a..b",
            "a___b",
            "a.-b",
            "a-.b",
            "a_.b",
            "a-_b",
            "-",
            ".",
            "____",
            "a/_b",
            "docker-/a",
        ];
        for reference in misplaced {
            let invalid = Reference::parse(reference);
            assert!(matches!(invalid, Err(InvalidReference::NameSeparator(_))), "{reference:?}: {invalid:?}");
        }
        for reference in ["a.b", "a_b", "a__b", "a-b", "a----b", "a.b.c-d_e__f"] {
            assert!(Reference::parse(reference).is_ok(), "{reference:?}");
        }
    }

    #[test]
    fn errors_of_unresolved_placeholders_contain_the_placeholder() {
        for (reference, expected) in [
            ("app:${TAG}", "${TAG}"),
            ("${REGISTRY}/app:1", "${REGISTRY}"),
            ("${REGISTRY}/app:${TAG:-latest}", "${REGISTRY}"),
            ("app:$(TAG)", "$(TAG)"),
            ("app:$(git describe)", "$(git describe)"),
            ("app:${{ inputs.tag }}", "${{ inputs.tag }}"),
            ("{{ .Values.image }}", "{{ .Values.image }}"),
            ("app:{{tag}}", "{{tag}}"),
            ("app:<no value>", "<no value>"),
            ("<no value>/app:{{tag}}", "<no value>"),
            ("app:%TAG%", "%TAG%"),
            ("100%/%TAG_2%", "%TAG_2%"),
            (" app:${TAG}", "${TAG}"),
            ("app:1@${DIGEST}", "${DIGEST}"),
            ("App:${}", "${}"),
        ] {
            let invalid = Reference::parse(reference).expect_err(reference);
            assert_eq!(invalid, InvalidReference::Placeholder(expected), "{reference:?}");
            assert_eq!(invalid.to_string(), format!("unresolved placeholder {expected}"));
        }
        for reference in
            ["app:${TAG", "app:$TAG", "app:{{ tag }", "app:%20%", "app:%%", "app:%TAG", "a:<nil>", "${", "%"]
        {
            let invalid = Reference::parse(reference).expect_err(reference);
            assert!(!matches!(invalid, InvalidReference::Placeholder(_)), "{reference:?}: {invalid:?}");
        }
    }

    #[test]
    fn long_texts_are_truncated_in_messages() {
        let long = "é".repeat(1 << 20);
        for reference in [
            format!("a@{long}"),
            format!("a@{long}:1"),
            format!("${{{long}}}"),
            format!("-{}", "a".repeat(1 << 20)),
            format!("{long}.com/a"),
            format!("a:{long}/a"),
        ] {
            let message = Reference::parse(&reference).expect_err("invalid").to_string();
            assert!(message.len() < 256 && message.contains("..."), "{message}");
        }
        assert_eq!(excerpt("aéb", 2).to_string(), "a...");
        assert_eq!(excerpt("aéb", 4).to_string(), "aéb");
    }
}
