//! Writes the layout.
//!
//! | words of a subject | content |
//! |---|---|
//! | 2 | the length of the record, flags |
//! | 2 each | kind, namespace, name, ServiceAccount, kind and name of the controller |
//! | 2 | seconds of a pending pod |
//! | 4 | the numbers of labels, annotations, volume types and containers |
//! | 4 each | labels, annotations: key and value |
//! | 2 each | volume types |
//! | rest | records of containers |
//!
//! | words of a container | content |
//! |---|---|
//! | 2 | flags, the number of ports |
//! | 2 each | name, image |
//! | 1 | the restart count |
//! | 2 each | user id, CPU and memory request, CPU and memory limit |
//! | 1 each | ports |

use crate::flags::{container, subject};
use crate::{ContainerFacts, SubjectFacts};

/// The word of a subject with the number of its labels.
const LABELS: usize = 16;
const ANNOTATIONS: usize = 17;
const VOLUME_TYPES: usize = 18;
const CONTAINERS: usize = 19;

/// Writes subjects into two buffers, which can be reused.
///
/// The lists of a subject must be written in their order: labels, annotations, volume types, containers.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    words: Vec<u32>,
    text: String,
    /// Where each subject starts in `words`.
    starts: Vec<usize>,
    /// The last kind and the last namespace, which most subjects of a batch share.
    repeated: [(u32, u32); 2],
}

impl Writer {
    /// Removes all subjects and keeps the buffers.
    pub fn clear(&mut self) {
        self.words.clear();
        self.text.clear();
        self.starts.clear();
        self.repeated = Default::default();
    }

    /// The text of all subjects.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Replaces `words` by those for rules and all subjects.
    pub fn words_for_all(&self, rules: impl ExactSizeIterator<Item = u32>, words: &mut Vec<u32>) {
        begin(rules, self.starts.len(), words);
        words.extend_from_slice(&self.words);
    }

    /// Replaces `words` by those for rules and the subjects at `positions`.
    ///
    /// # Panics
    ///
    /// If there is no subject at a position.
    pub fn words_for(&self, rules: impl ExactSizeIterator<Item = u32>, positions: &[usize], words: &mut Vec<u32>) {
        begin(rules, positions.len(), words);
        for &position in positions {
            let end = self.starts.get(position + 1).copied().unwrap_or(self.words.len());
            words.extend_from_slice(&self.words[self.starts[position]..end]);
        }
    }

    /// Begins a subject. Its lists follow.
    pub fn subject(&mut self, facts: &SubjectFacts<'_>) {
        let start = self.words.len();
        self.starts.push(start);
        let mut flags = (facts.restart_policy as u32) << subject::RESTART_POLICY
            | bit(facts.host_network, subject::HOST_NETWORK)
            | bit(facts.host_pid, subject::HOST_PID)
            | bit(facts.host_ipc, subject::HOST_IPC)
            | bit(facts.controller.is_some(), subject::HAS_CONTROLLER);
        let mut seconds = 0;
        if let Some(status) = facts.status {
            flags |= 1 << subject::HAS_STATUS | (status.phase as u32) << subject::PHASE;
            flags |= bit(status.pending_seconds.is_some(), subject::HAS_PENDING_SECONDS);
            seconds = status.pending_seconds.unwrap_or_default();
        }
        let controller = facts.controller.unwrap_or_default();
        let [kind, namespace] = [(0, facts.kind), (1, facts.namespace)].map(|(index, text)| {
            let (offset, length) = self.repeated[index];
            if self.text.get(offset as usize..(offset + length) as usize) != Some(text) {
                self.repeated[index] = self.string(text);
            }
            self.repeated[index]
        });
        let name = self.string(facts.name);
        let account = self.string(facts.service_account);
        let controller = [self.string(controller.kind), self.string(controller.name)];
        self.words.extend([0, flags, kind.0, kind.1, namespace.0, namespace.1, name.0, name.1, account.0, account.1]);
        self.words.extend(controller.iter().flat_map(|&(offset, length)| [offset, length]));
        self.words.extend(halves(seconds));
        self.words.extend([0; 4]);
        self.finish();
    }

    /// Adds a label.
    pub fn label(&mut self, key: &str, value: &str) {
        self.pair(LABELS, key, value);
    }

    /// Adds an annotation.
    pub fn annotation(&mut self, key: &str, value: &str) {
        self.pair(ANNOTATIONS, key, value);
    }

    /// Adds the type of a volume.
    pub fn volume_type(&mut self, volume_type: &str) {
        let (offset, length) = self.string(volume_type);
        self.words.extend([offset, length]);
        self.count(VOLUME_TYPES);
    }

    /// Adds a container.
    pub fn container(&mut self, facts: &ContainerFacts<'_>, ports: &[u16]) {
        let ContainerFacts { requests, limits, security_context: context, .. } = facts;
        let flags = (facts.kind as u32) << container::KIND
            | bit(facts.has_liveness_probe, container::LIVENESS_PROBE)
            | bit(facts.has_readiness_probe, container::READINESS_PROBE)
            | bit(facts.has_startup_probe, container::STARTUP_PROBE)
            | bit(facts.has_resource_requests, container::RESOURCE_REQUESTS)
            | bit(facts.has_resource_limits, container::RESOURCE_LIMITS)
            | bit(facts.restart_count.is_some(), container::HAS_RESTART_COUNT)
            | bit(context.privileged, container::PRIVILEGED)
            | bit(context.read_only_root_filesystem, container::READ_ONLY_ROOT_FILESYSTEM)
            | bit(context.allow_privilege_escalation.is_some(), container::HAS_ALLOW_PRIVILEGE_ESCALATION)
            | bit(context.allow_privilege_escalation == Some(true), container::ALLOW_PRIVILEGE_ESCALATION)
            | bit(context.run_as_non_root.is_some(), container::HAS_RUN_AS_NON_ROOT)
            | bit(context.run_as_non_root == Some(true), container::RUN_AS_NON_ROOT)
            | bit(context.run_as_user.is_some(), container::HAS_RUN_AS_USER)
            | bit(requests.cpu_millicores.is_some(), container::HAS_CPU_REQUEST)
            | bit(requests.memory_bytes.is_some(), container::HAS_MEMORY_REQUEST)
            | bit(limits.cpu_millicores.is_some(), container::HAS_CPU_LIMIT)
            | bit(limits.memory_bytes.is_some(), container::HAS_MEMORY_LIMIT);
        let (name, image) = (self.string(facts.name), self.string(facts.image));
        self.words.extend([flags, ports.len() as u32, name.0, name.1, image.0, image.1]);
        self.words.push(facts.restart_count.unwrap_or_default());
        self.words.extend(halves(context.run_as_user.unwrap_or_default() as u64));
        for quantity in [requests.cpu_millicores, requests.memory_bytes, limits.cpu_millicores, limits.memory_bytes] {
            self.words.extend(halves(quantity.unwrap_or_default()));
        }
        self.words.extend(ports.iter().map(|&port| u32::from(port)));
        self.count(CONTAINERS);
    }

    fn pair(&mut self, list: usize, key: &str, value: &str) {
        let (key, value) = (self.string(key), self.string(value));
        self.words.extend([key.0, key.1, value.0, value.1]);
        self.count(list);
    }

    /// Counts an item of a list of the last subject.
    fn count(&mut self, list: usize) {
        if let Some(start) = self.starts.last() {
            self.words[start + list] += 1;
        }
        self.finish();
    }

    /// Sets the length of the last subject.
    fn finish(&mut self) {
        if let Some(&start) = self.starts.last() {
            self.words[start] = (self.words.len() - start) as u32;
        }
    }

    /// Adds a string to the text, and returns its offset and length.
    fn string(&mut self, text: &str) -> (u32, u32) {
        let offset = self.text.len();
        self.text.push_str(text);
        (offset as u32, text.len() as u32)
    }
}

fn begin(rules: impl ExactSizeIterator<Item = u32>, subjects: usize, words: &mut Vec<u32>) {
    words.clear();
    words.push(rules.len() as u32);
    words.extend(rules);
    words.push(subjects as u32);
}

fn bit(value: bool, position: u32) -> u32 {
    u32::from(value) << position
}

fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}
