//! Generates the contents of documents: objects with unusual values, anchors, merges and mistakes.

use std::collections::BTreeMap;

use crate::node::{FOLD, Node, plain};
use crate::random::Random;

pub const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
pub const IMAGES: [&str; 6] =
    ["app:1", "app:latest", "app", "reg.example.org:5000/app:2", "reg.example.org:5000/app", "db:1.29"];
pub const ANCHORS: [&str; 3] = ["i", "j", "x"];

/// Separators of documents.
pub const SEPARATORS: [&str; 7] =
    ["---", "--- # & *i", "---   ", "# &i x\n---", "---\n# x\n---", "---\n\n---", "---\n...\n---"];
/// Text after the end of a document.
pub const TRAILING_TEXT: &str = "text after the end";
/// Scalars that YAML 1.1 does not resolve to strings, and similar ones.
pub const SCALARS: [&str; 22] = [
    "yes",
    "n",
    "On",
    "0777",
    "0o17",
    "1_000",
    "0x1F",
    "~",
    "null",
    "Null",
    "1.5",
    "1e3",
    ".5",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "190:20:30",
    "true",
    "+1",
    "-0",
    "!!int '5'",
    "!!float 1",
    "!!bool yes",
];
/// Metadata of valid and of invalid types.
pub const METADATA: [(&str, &str); 18] = [
    ("annotations", "[a]"),
    ("annotations", "text"),
    ("creationTimestamp", "2026-01-31T12:00:00Z"),
    ("creationTimestamp", "~"),
    ("creationTimestamp", "today"),
    ("deletionTimestamp", "2026-01-31T12:00:00Z"),
    ("deletionTimestamp", "soon"),
    ("finalizers", "[a, ~]"),
    ("finalizers", "a"),
    ("finalizers", "[1]"),
    ("generation", "1"),
    ("generation", "'1'"),
    ("managedFields", "[{manager: a, fieldsV1: {}}]"),
    ("managedFields", "[{time: x}]"),
    ("ownerReferences", "[{kind: A, uid: a, controller: 'yes'}]"),
    ("resourceVersion", "'1'"),
    ("resourceVersion", "1"),
    ("uid", "1"),
];
/// Texts for comments, quoted and plain scalars that must not be parsed as anchors.
pub const NOISE: [&str; 9] =
    ["what? why", "R &D", "a &i b *j", "tea&x", "it's *x, &j", "{ [ &i", "- *j", "x: *i", "%&i"];
/// Typing mistakes to insert.
pub const SLIPS: [&str; 24] = [
    "\t", " ", "  ", "'", "\"", "#", " #", ":", ": ", "- ", ",", "&i ", "*i", "!", "!!str ", "|", ">", "%", "@", "?",
    "\n", "\u{85}", "\u{2028}", "\u{a0}",
];

#[derive(Clone, Copy, PartialEq)]
pub enum Holds {
    Text,
    Probe,
    Container,
    Fields,
}

/// One document of a file.
pub struct Written {
    /// The number in the name of the object.
    pub number: usize,
    pub text: String,
    /// The reasons why an error of the program is allowed although kubectl reads the document.
    pub allowed: Vec<&'static str>,
    pub is_json: bool,
}

/// Composes documents. Parts are generated in the order in which they are written, so that the value of an anchor is known.
pub struct Composer<'r> {
    pub random: &'r mut Random,
    pub anchors: BTreeMap<&'static str, Holds>,
    pub allowed: Vec<&'static str>,
    pub quoted_merges: usize,
    /// The percentage of unusual values.
    pub oddity: usize,
    /// Whether the name of a document must be unique in its file.
    pub needs_name: bool,
}

impl Composer<'_> {
    pub fn document(&mut self, number: usize) -> Written {
        self.allowed.clear();
        self.quoted_merges = 0;
        self.oddity = self.random.below(4) * self.random.below(4);
        // Anchors are not shared between documents.
        if !self.random.chance(4) {
            self.anchors.clear();
        }
        let style = self.random.below(100);
        let text = match style {
            0..15 => self.json_document(number),
            15..21 => {
                let object = self.object(number);
                let mut text = String::new();
                self.flow(&object, 0, &mut text);
                let packed: String = text.split_whitespace().collect();
                if packed.contains(",}") || packed.contains(",]") {
                    self.allow("a trailing comma");
                }
                text + "\n"
            }
            _ => {
                let object = self.object(number);
                let mut text = String::new();
                self.entries(&object, 0, &mut text);
                self.end_of_document(&mut text);
                text
            }
        };
        if self.quoted_merges > 1 {
            self.allow("a duplicate key");
        }
        Written { number, text, allowed: std::mem::take(&mut self.allowed), is_json: style < 15 }
    }

    fn end_of_document(&mut self, text: &mut String) {
        match self.random.below(100) {
            0 => text.push_str("...\n"),
            10 => text.push_str(self.random.pick(&["items: []\n", "items: ~\n", "items: x\n", "items: [{}]\n"])),
            1 => text.push_str("... # &i *j\n# no more\n\n"),
            2 => {
                self.allow(TRAILING_TEXT);
                text.push_str(self.random.pick(&["...\nspec: {containers: []}\n", "...\nx\n", "...\nkind: Pod\n"]));
            }
            3 => {
                self.allow("a duplicate key");
                text.push_str(self.random.pick(&["kind: Pod\n", "spec: {}\n", "\"kind\": Pod\n", "? spec\n: {}\n"]));
            }
            4 => text.push_str(self.random.pick(&[
                "x: *nowhere\n",
                "x: [\n",
                "x: {a: 'b}\n",
                "\tx: y\n",
                " x: y\n",
                "x\n",
            ])),
            5 => text.push_str(self.random.pick(&["x: &x {a: *x}\n", "x: !thing y\n"])),
            9 => text.push_str(self.random.pick(&[
                "x: !!binary aGVsbG8=\n",
                "x: !!binary '?'\n",
                "x: [!!binary eA==]\n",
            ])),
            6 => {
                self.allow("a key that is not a string");
                text.push_str(self.random.pick(&[
                    "~: x\n",
                    "? \n: x\n",
                    "null: x\n",
                    "1.5: x\n",
                    "[a]: b\n",
                    "{a: b}: c\n",
                ]));
            }
            7 => text.push_str(self.random.pick(&["5: x\n", "yes: x\n", "'': x\n", "2026-01-01: x\n", "&i key: x\n"])),
            8 => {
                text.pop();
            }
            _ => {}
        }
    }

    pub fn allow(&mut self, reason: &'static str) {
        self.allowed.push(reason);
    }

    fn object(&mut self, number: usize) -> Node {
        let is_pod = self.random.chance(60);
        let mut keys = vec!["apiVersion", "kind", "metadata", "spec"];
        if self.random.chance(60) {
            keys.insert(0, "x-shared");
        }
        if self.random.chance(15) {
            self.shuffle(&mut keys);
        }
        let mut entries = Vec::new();
        for key in keys {
            let value = match key {
                "apiVersion" => self.styled(if is_pod { "v1" } else { "apps/v1" }),
                "kind" => self.styled(if is_pod { "Pod" } else { "Deployment" }),
                "metadata" => self.metadata(number),
                "x-shared" => self.shared(),
                _ if is_pod => self.pod_spec(),
                _ => {
                    let mut template = vec![("spec".to_owned(), self.pod_spec())];
                    if self.random.chance(50) {
                        template
                            .insert(0, ("metadata".to_owned(), Node::Map(vec![("labels".to_owned(), self.labels())])));
                    }
                    let template = Node::Map(template);
                    Node::Map(vec![("template".to_owned(), template), ("replicas".to_owned(), plain("2"))])
                }
            };
            entries.push((key.to_owned(), value));
        }
        Node::Map(entries)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.random.below(end + 1));
        }
    }

    fn metadata(&mut self, number: usize) -> Node {
        let name = format!("p{number}");
        let value = match self.random.below(14) {
            0 => plain(&format!("\"\\u0070{number}\"")),
            1 => Node::Block(self.random.pick(&[">-", "|-", ">", "|", "|2-"]), vec![name]),
            2 if !self.needs_name && self.random.chance(20) => self.odd(),
            _ => self.styled(&name),
        };
        let mut entries = vec![("name".to_owned(), value)];
        if self.random.chance(50) {
            entries.push(("labels".to_owned(), self.labels()));
        }
        if self.random.chance(50) {
            let mut notes = Vec::new();
            for index in 0..self.random.below(5) {
                let note = if self.random.chance(3) { self.odd() } else { self.note() };
                notes.push((format!("k{index}"), note));
            }
            entries.push(("annotations".to_owned(), Node::Map(notes)));
        }
        if self.random.chance(10) {
            let namespace = if self.random.chance(20) { self.odd() } else { self.styled("shop") };
            entries.push(("namespace".to_owned(), namespace));
        }
        if self.random.chance(4) {
            let (key, value) = METADATA[self.random.below(METADATA.len())];
            entries.push((key.to_owned(), plain(value)));
        }
        if self.random.chance(3) {
            self.allow("a duplicate key");
            entries.push(("name".to_owned(), plain(&format!("p{number}"))));
        }
        Node::Map(entries)
    }

    fn labels(&mut self) -> Node {
        let mut labels = vec![("app".to_owned(), self.styled("shop"))];
        if self.random.chance(25) {
            let value = if self.random.chance(30) { self.odd() } else { self.note() };
            labels.push(("tier".to_owned(), value));
        }
        Node::Map(labels)
    }

    /// Returns text that is not evaluated but easily misread.
    fn note(&mut self) -> Node {
        let noise = self.random.pick(&NOISE);
        match self.random.below(9) {
            0 => plain(&format!("\"{noise}\"")),
            1 => plain(&format!("'{}'", noise.replace('\'', "''"))),
            2 => Node::Block(self.random.pick(&["|", ">", "|-", ">+", "|+", "|2", ">2-", "|  # &i"]), self.lines()),
            3 => plain(&format!("plain &i{FOLD}and *j{FOLD}more")),
            4 => plain(&format!("\"a{FOLD}{noise} \\{FOLD}b\"")),
            5 => plain(&format!("'a{FOLD}{FOLD}{}'", noise.replace('\'', "''"))),
            6 => plain("http://a.b:80/#c&d=*e"),
            _ => {
                let image = self.random.pick(&IMAGES);
                let image = self.styled(image);
                self.anchored(image, Holds::Text, 60)
            }
        }
    }

    fn lines(&mut self) -> Vec<String> {
        let count = self.random.below(4);
        (0..count)
            .map(|_| {
                self.random.pick(&["&i a", "- *j", "", "  deeper: &x", "# no comment", "k: 'v", "\ttab"]).to_owned()
            })
            .collect()
    }

    /// Returns fields that are merged elsewhere.
    fn shared(&mut self) -> Node {
        let mut entries = Vec::new();
        for index in 0..1 + self.random.below(3) {
            let value = match self.random.below(3) {
                0 => {
                    let image = self.random.pick(&IMAGES);
                    let image = self.styled(image);
                    self.anchored(image, Holds::Text, 90)
                }
                1 => {
                    let probe = self.fresh_probe();
                    self.anchored(probe, Holds::Probe, 90)
                }
                _ => {
                    let fields = self.fields();
                    self.anchored(fields, Holds::Fields, 90)
                }
            };
            entries.push((format!("s{index}"), value));
        }
        Node::Map(entries)
    }

    /// Returns some fields of a container.
    fn fields(&mut self) -> Node {
        let mut entries = Vec::new();
        for key in ["livenessProbe", "image", "readinessProbe", "args"] {
            if self.random.chance(50) {
                let value = self.field(key);
                entries.push((key.to_owned(), value));
            }
        }
        if self.random.chance(15) {
            let at = self.random.below(entries.len() + 1);
            let merge = self.merge();
            entries.insert(at, merge);
        }
        Node::Map(entries)
    }

    fn merge(&mut self) -> (String, Node) {
        let key = match self.random.below(30) {
            0 => "\"<<\"",
            1 => "'<<'",
            2 | 3 => "!!merge <<",
            _ => "<<",
        };
        if key.starts_with(['"', '\'']) {
            // A quoted merge key is an ordinary key, which can be duplicated.
            self.quoted_merges += 1;
        }
        let fields = |this: &mut Self| match this.alias(Holds::Fields).or_else(|| this.alias(Holds::Container)) {
            Some(alias) => alias,
            None => Node::Map(vec![("image".to_owned(), plain("merged:latest"))]),
        };
        let value = match self.random.below(40) {
            0..24 => fields(self),
            24..30 => Node::List(vec![fields(self), Node::Map(vec![("image".to_owned(), plain("second:1"))])]),
            30..33 => Node::List(vec![Node::Map(vec![("image".to_owned(), plain("first:latest"))]), fields(self)]),
            33..38 => Node::Map(vec![("readinessProbe".to_owned(), self.fresh_probe())]),
            38 => Node::List(Vec::new()),
            39 if self.random.chance(50) => self.alias(Holds::Text).unwrap_or_else(|| plain("~")),
            _ => plain(self.random.pick(&["~", "text", "{}", "[~]"])),
        };
        (key.to_owned(), value)
    }

    fn pod_spec(&mut self) -> Node {
        let mut keys = vec!["containers"];
        if self.random.chance(15) {
            keys.insert(self.random.below(2), "initContainers");
        }
        let mut entries = Vec::new();
        for key in keys {
            let containers = if self.random.chance(2) {
                self.odd()
            } else {
                let count = 1 + self.random.below(3);
                let containers = (0..count).map(|index| self.container(&format!("{}{index}", &key[..1]))).collect();
                Node::List(containers)
            };
            entries.push((key.to_owned(), containers));
        }
        if self.random.chance(30) {
            let at = self.random.below(entries.len() + 1);
            entries.insert(at, ("serviceAccountName".to_owned(), self.note()));
        }
        Node::Map(entries)
    }

    fn container(&mut self, name: &str) -> Node {
        if self.random.chance(8)
            && let Some(alias) = self.alias(Holds::Container)
        {
            return alias;
        }
        let mut keys = vec!["name", "image"];
        for (key, percent) in [("livenessProbe", 45), ("readinessProbe", 45), ("args", 40), ("env", 20)] {
            if self.random.chance(percent) {
                keys.push(key);
            }
        }
        if self.random.chance(6) {
            keys.remove(self.random.below(2));
        }
        for percent in [30, 15] {
            if self.random.chance(percent) {
                keys.push("<<");
            }
        }
        if self.random.chance(40) {
            self.shuffle(&mut keys);
        }
        if self.random.chance(3) {
            let again = keys[self.random.below(keys.len())];
            if again != "<<" {
                self.allow("a duplicate key");
                let at = self.random.below(keys.len() + 1);
                keys.insert(at, again);
            }
        }
        let mut entries = Vec::new();
        for key in keys {
            entries.push(match key {
                "<<" => self.merge(),
                "name" => (key.to_owned(), if self.is_odd() { self.odd() } else { self.styled(name) }),
                _ => (key.to_owned(), self.field(key)),
            });
        }
        let container = Node::Map(entries);
        self.anchored(container, Holds::Container, 15)
    }

    fn field(&mut self, key: &str) -> Node {
        match key {
            "image" => self.image(),
            "livenessProbe" | "readinessProbe" => match self.alias(Holds::Probe) {
                Some(alias) if self.random.chance(30) => alias,
                _ if self.is_odd() => plain(self.random.pick(&["~", "", "null", "!!null ''", "Null"])),
                _ => {
                    let probe = self.fresh_probe();
                    self.anchored(probe, Holds::Probe, 20)
                }
            },
            "args" => {
                let count = self.random.below(4);
                Node::List((0..count).map(|_| self.note()).collect())
            }
            _ => Node::List(vec![Node::Map(vec![("name".to_owned(), plain("A")), ("value".to_owned(), self.note())])]),
        }
    }

    fn fresh_probe(&mut self) -> Node {
        let port = Node::Map(vec![("port".to_owned(), plain("80"))]);
        match self.random.below(4) {
            0 => Node::Map(Vec::new()),
            1 => Node::Map(vec![(
                "exec".to_owned(),
                Node::Map(vec![("command".to_owned(), Node::List(vec![self.note()]))]),
            )]),
            2 => Node::Map(vec![("tcpSocket".to_owned(), port), ("periodSeconds".to_owned(), plain("5"))]),
            _ => Node::Map(vec![("httpGet".to_owned(), port)]),
        }
    }

    fn image(&mut self) -> Node {
        if self.is_odd() {
            return self.odd();
        }
        if self.random.chance(35)
            && let Some(alias) = self.alias(Holds::Text)
        {
            return alias;
        }
        let image = self.random.pick(&IMAGES);
        let image = match self.random.below(16) {
            0 => plain(&format!("\"\\x61{FOLD}pp:1\"")),
            1 => plain(&format!("\"app\\{FOLD}:latest\"")),
            2 => plain("\"a\\u0070p:l\\x61test\""),
            3 => plain(&format!("app:1{FOLD}# no image")),
            4 => plain(&format!("app@sha256:{DIGEST}")),
            5 => plain(&format!("app:latest@sha256:{DIGEST}")),
            6 => Node::Block(self.random.pick(&[">-", "|-", ">2-", ">-  # &i", "|", ">+"]), vec![image.to_owned()]),
            _ => self.styled(image),
        };
        self.anchored(image, Holds::Text, 25)
    }

    fn is_odd(&mut self) -> bool {
        let oddity = self.oddity;
        self.random.chance(oddity)
    }

    fn odd(&mut self) -> Node {
        match self.random.below(30) {
            0 => Node::Map(Vec::new()),
            1 => Node::List(Vec::new()),
            2 => plain(""),
            3 => plain("!!str"),
            4 => plain("''"),
            5 => plain(&format!("!!str {}", self.random.pick(&["5", "yes", "~", "1.5"]))),
            6 => plain("! 5"),
            _ => plain(self.random.pick(&SCALARS)),
        }
    }

    /// Returns a text in one of its notations.
    fn styled(&mut self, text: &str) -> Node {
        plain(&match self.random.below(12) {
            0 | 1 => format!("'{text}'"),
            2 | 3 => format!("\"{text}\""),
            4 => format!("!!str {text}"),
            5 => format!("!!str \"{text}\""),
            6 => format!("!<tag:yaml.org,2002:str> {text}"),
            _ => text.to_owned(),
        })
    }

    fn anchored(&mut self, node: Node, holds: Holds, percent: usize) -> Node {
        let anchor = self.random.pick(&ANCHORS);
        if !self.random.chance(percent) || node.mentions(anchor) {
            return node;
        }
        self.anchors.insert(anchor, holds);
        Node::With(format!("&{anchor}"), Box::new(node))
    }

    fn alias(&mut self, holds: Holds) -> Option<Node> {
        // Rarely, the alias refers to an anchor of another type.
        let any = self.random.chance(1);
        let known: Vec<_> =
            self.anchors.iter().filter(|(_, held)| any || **held == holds).map(|(anchor, _)| *anchor).collect();
        (!known.is_empty()).then(|| plain(&format!("*{}", known[self.random.below(known.len())])))
    }
}
