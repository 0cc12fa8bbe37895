//! Generated manifests are read as the real kubectl reads them: the same images and probes, or an error.
//!
//! `READING_DOCUMENTS` and `READING_SEED` choose a deeper run.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use end_to_end::{Folder, kube_devops, run};
use serde_json::{Value, json};

/// A small generator of pseudo-random numbers (xorshift64*), so that a run can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const IMAGES: [&str; 6] =
    ["app:1", "app:latest", "app", "reg.example.org:5000/app:2", "reg.example.org:5000/app", "db:1.29"];
const ANCHORS: [&str; 3] = ["i", "j", "x"];

/// A manifest, and whether an error of ours is right where kubectl reads it.
struct Manifest {
    text: String,
    may_be_an_error: bool,
}

fn manifest(random: &mut Random, number: usize) -> Manifest {
    let mut writer =
        Writer { random, text: String::new(), defined: Vec::new(), has_defaults: false, may_be_an_error: false };
    if writer.random.chance(15) {
        writer.json(number);
    } else {
        writer.yaml(number);
    }
    let Writer { mut text, may_be_an_error, .. } = writer;
    if random.chance(10) {
        text = text.replace('\n', "\r\n");
    }
    if random.chance(8) {
        text.insert(0, '\u{feff}');
    }
    Manifest { text, may_be_an_error }
}

struct Writer<'r> {
    random: &'r mut Random,
    text: String,
    defined: Vec<&'static str>,
    has_defaults: bool,
    may_be_an_error: bool,
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn yaml(&mut self, number: usize) {
        if self.random.chance(20) {
            let mark = self.random.pick(&["---", "--- # & *i", "# &i app:latest\n---", "---   "]);
            self.line(mark);
        }
        self.line("apiVersion: v1");
        let kind = self.random.pick(&["kind: Pod", "\"kind\": Pod", "kind: 'Pod'", "? kind\n: Pod", "kind: !!str Pod"]);
        self.line(kind);
        self.line("metadata:");
        self.line(&format!("  name: p{number}"));
        self.line("  annotations:");
        for index in 0..self.random.below(6) {
            self.annotation(index);
        }
        self.line("    end: 'x'");
        if self.random.chance(40) {
            self.has_defaults = true;
            let image = self.random.pick(&IMAGES);
            let probes =
                self.random.pick(&["livenessProbe: {tcpSocket: {port: 1}}", "readinessProbe: {exec: {}}", "args: [a]"]);
            self.line(&format!("x-defaults: &defaults {{image: '{image}', {probes}}}"));
        }
        self.line("spec:");
        let is_indentless = self.random.chance(30);
        self.line("  containers:");
        for index in 0..1 + self.random.below(3) {
            self.container(index, if is_indentless { "  " } else { "    " });
        }
        if self.random.chance(5) {
            self.may_be_an_error = true;
            let end = self.random.pick(&["kind: Pod", "spec: {}", "...\nx: y", "{", "\tx: y"]);
            self.line(end);
        }
    }

    fn annotation(&mut self, index: usize) {
        let anchor = self.random.pick(&ANCHORS);
        let image = self.random.pick(&IMAGES);
        match self.random.below(8) {
            0..=2 => {
                self.line(&format!("    k{index}: &{anchor} {image}"));
                self.defined.push(anchor);
            }
            3 => self.line(&format!("    # see R &{anchor} and *{anchor} &x")),
            4 => self.line(&format!("    k{index}: \"tea &{anchor} milk *{anchor}\"")),
            5 => self.line(&format!("    k{index}: |\n      &{anchor} text\n      - *{anchor}")),
            6 => self.line(&format!("    k{index}: a multi-line &{anchor}\n      plain # no more")),
            _ => self.line(&format!("    k{index}: 'it''s &{anchor} {{'")),
        }
    }

    fn image(&mut self) -> String {
        let image = self.random.pick(&IMAGES);
        match self.random.below(20) {
            0..=5 => image.to_owned(),
            6 => format!("\"{image}\""),
            7 => format!("'{image}'"),
            8 => format!("app@sha256:{DIGEST}"),
            9 => format!("!!str {image}"),
            10 => ["yes", "1.5", "0777", "n", "1_000", "0x1F", "on"][self.not_text()].to_owned(),
            11 => self.random.pick(&["~", "null", "", "2026-01-01", "\"a\\u0070p:1\"", "'5'", "!!str 5"]).to_owned(),
            12 | 13 => {
                let anchor = self.random.pick(&ANCHORS);
                self.defined.push(anchor);
                format!("&{anchor} {image}")
            }
            _ if self.defined.is_empty() => image.to_owned(),
            _ => {
                let index = self.random.below(self.defined.len());
                format!("*{}", self.defined[index])
            }
        }
    }

    fn not_text(&mut self) -> usize {
        self.may_be_an_error = true;
        self.random.below(7)
    }

    fn container(&mut self, index: usize, indent: &str) {
        let name = format!("c{index}");
        if self.random.chance(15) {
            let image = self.image();
            // Not every image can end before a comma or a brace.
            let image = if image.is_empty() { "~".to_owned() } else { image };
            let probe = self.random.pick(&[
                "",
                ", livenessProbe: {exec: {}}",
                ", readinessProbe: {exec: {}}, livenessProbe: ~",
            ]);
            self.line(&format!("{indent}- {{name: {name}, image: {image} {probe}}}"));
            return;
        }
        let mut fields = vec![format!("name: {name}"), format!("image: {}", self.image())];
        if self.random.chance(40) {
            fields.push(
                self.random
                    .pick(&[
                        "livenessProbe: {exec: {}}",
                        "livenessProbe:\n    exec: {}",
                        "\"livenessProbe\": {\n exec: {}}",
                    ])
                    .to_owned(),
            );
        }
        if self.random.chance(40) {
            fields
                .push(self.random.pick(&["readinessProbe: {tcpSocket: {port: 1}}", "readinessProbe: null"]).to_owned());
        }
        if self.random.chance(40) {
            let (open, close) = (" ".repeat(self.random.below(9)), " ".repeat(self.random.below(9)));
            fields.push(format!("args: [\n{open}\"x\", 'y' # &i *j\n{close}]"));
        }
        if self.has_defaults && self.random.chance(50) {
            let merge = self.random.pick(&[
                "<<: *defaults",
                "<<: [*defaults, {image: 'other:latest'}]",
                "<<: {livenessProbe: {}}",
                "\"<<\": *defaults",
            ]);
            let at = self.random.below(fields.len() + 1);
            fields.insert(at, merge.to_owned());
        }
        if self.random.chance(6) {
            self.may_be_an_error = true;
            let at = self.random.below(fields.len());
            let field = self.random.pick(&["image: twice:latest", "image: twice:1", "name: c9"]);
            fields.insert(at, field.to_owned());
        }
        if self.random.chance(20) {
            let at = self.random.below(fields.len());
            fields.insert(at, "# &i app:latest *x".to_owned());
        }
        let at = fields.iter().position(|field| !field.starts_with('#')).unwrap_or(0);
        fields.swap(0, at);
        for (index, field) in fields.iter().enumerate() {
            let start = if index == 0 { "- " } else { "  " };
            let field = field.replace("\n    exec", &format!("\n{indent}    exec"));
            self.line(&format!("{indent}{start}{field}"));
        }
    }

    fn json(&mut self, number: usize) {
        let containers: Vec<Value> = (0..1 + self.random.below(3))
            .map(|index| {
                let mut container = json!({ "name": format!("c{index}"), "image": self.random.pick(&IMAGES) });
                if self.random.chance(50) {
                    container["livenessProbe"] = json!({ "exec": {} });
                }
                if self.random.chance(30) {
                    container["readinessProbe"] = json!(null);
                }
                container
            })
            .collect();
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("p{number}") }, "spec": { "containers": containers } });
        let text = if self.random.chance(50) { pod.to_string() } else { serde_json::to_string_pretty(&pod).unwrap() };
        self.text = match self.random.below(8) {
            0 => text.replace("  ", "\t"),
            1 => text.replace("app:latest", "a\\u0070p:latest"),
            2 => self.broken(text.replacen('}', ",}", 1)),
            3 => self.broken(text.replacen('{', "{ // comment\n", 1)),
            4 => self.broken(text.replacen("\"image\":", "\"image\":\"x:latest\",\"image\":", 1)),
            5 => self.broken(text.replacen("\"Pod\"", "Pod", 1)),
            _ => text,
        };
    }

    fn broken(&mut self, text: String) -> String {
        self.may_be_an_error = true;
        text
    }
}

/// What kubectl makes of a file; none where it fails.
fn read_by_kubectl(kubectl: &Path, file: &Path) -> Option<Value> {
    let mut command = Command::new(kubectl);
    command.args(["annotate", "--local", "x=y", "-o", "json", "-f"]).arg(file);
    let output = command.env("KUBECONFIG", "/nowhere").stdin(Stdio::null()).output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

/// The violations of a pod as kubectl has it; none where it holds what Kubernetes does not take.
fn expected(pod: &Value) -> Option<Vec<String>> {
    let mut violations = Vec::new();
    for container in pod["spec"]["containers"].as_array()? {
        let name = container["name"].as_str()?;
        let image = match &container["image"] {
            Value::Null => "",
            image => image.as_str()?,
        };
        let last = image.rsplit('/').next().unwrap_or_default();
        let is_pinned = image.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest");
        let mut add = |check: &str, is_violation: bool| {
            if is_violation {
                violations.push(format!("{check} {name}"));
            }
        };
        add("latest-tag", !is_pinned);
        add("missing-liveness", container["livenessProbe"].is_null());
        add("missing-readiness", container["readinessProbe"].is_null());
    }
    violations.sort();
    Some(violations)
}

/// What the program says of each file: its violations, or an error.
fn read_by_the_program(folder: &Folder) -> BTreeMap<String, Result<Vec<String>, String>> {
    let report = run(kube_devops().args(["analyze", "-o", "json", "-f"]).arg(folder.path())).json();
    let file = |found: &Value| {
        let path = Path::new(found["source"]["file"].as_str().unwrap());
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    let mut read: BTreeMap<String, Result<Vec<String>, String>> = BTreeMap::new();
    for found in report["violations"].as_array().unwrap() {
        let line = format!("{} {}", found["check"].as_str().unwrap(), found["container"].as_str().unwrap());
        if let Ok(lines) = read.entry(file(found)).or_insert_with(|| Ok(Vec::new())) {
            lines.push(line);
        }
    }
    for error in report["errors"].as_array().unwrap() {
        read.insert(file(error), Err(error["message"].as_str().unwrap().to_owned()));
    }
    read.values_mut().flatten().for_each(|lines| lines.sort());
    read
}

#[test]
fn manifests_are_read_as_kubectl_reads_them() {
    let number =
        |name: &str, otherwise: u64| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let documents = number("READING_DOCUMENTS", 600) as usize;
    let mut random = Random(number("READING_SEED", 0x5eed) | 1);
    let manifests: Vec<Manifest> = (0..documents).map(|number| manifest(&mut random, number)).collect();
    let name = |index: usize| format!("{index:06}.yaml");
    let folder =
        Folder::with(manifests.iter().enumerate().map(|(index, manifest)| (name(index), manifest.text.clone())));
    let kubectl = test_cluster::kubectl().unwrap();
    let program = read_by_the_program(&folder);

    let threads = thread::available_parallelism().map_or(2, usize::from) * 2;
    let check = |index: usize| -> Option<String> {
        let Manifest { text, may_be_an_error } = &manifests[index];
        let ours = program.get(&name(index)).cloned().unwrap_or(Ok(Vec::new()));
        let theirs = read_by_kubectl(&kubectl, &folder.path().join(name(index)));
        let is_right = match (&theirs, &ours) {
            (None, Err(_)) => true,
            (None, Ok(_)) => false,
            (Some(_), Err(_)) if *may_be_an_error => true,
            (Some(pod), ours) => expected(pod).map_or(ours.is_err(), |expected| ours.as_ref().ok() == Some(&expected)),
        };
        (!is_right).then(|| {
            format!(
                "{text}\nkubectl: {}\nours: {ours:?}\n",
                theirs.map_or("an error".to_owned(), |pod| format!("{:?} of {}", expected(&pod), pod["spec"]))
            )
        })
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let check = &check;
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || (worker..documents).step_by(threads).filter_map(check).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let errors = program.values().filter(|read| read.is_err()).count();
    assert!(errors * 2 < documents, "{errors} of {documents} are errors, so little is compared");
    let mut shown = String::new();
    for text in wrong.iter().take(5) {
        writeln!(shown, "----\n{text}").unwrap();
    }
    assert!(wrong.is_empty(), "{} of {documents} are read differently:\n{shown}", wrong.len());
}
