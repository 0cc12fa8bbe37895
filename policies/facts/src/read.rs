//! Reads the layout, without copying any text. A batch that was not written by [`Writer`](crate::Writer) panics.

use crate::flags::{container as bits_of_container, subject as bits_of_subject};
use crate::{
    ContainerFacts, ContainerKind, Controller, Phase, Quantities, RestartPolicy, SecurityContext, Status, SubjectFacts,
};

/// A batch of subjects, and the rules that evaluate it.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The numbers of the rules.
    pub rules: &'a [u32],
    subjects: Words<'a>,
    count: u32,
}

impl<'a> Batch<'a> {
    /// Reads a batch.
    pub fn new(words: &'a [u32], text: &'a str) -> Self {
        let (rules, rest) = words[1..].split_at(words[0] as usize);
        Self { rules, count: rest[0], subjects: Words { words: &rest[1..], text } }
    }

    /// The subjects, in order.
    pub fn subjects(&self) -> impl Iterator<Item = Subject<'a>> + use<'a> {
        let mut rest = self.subjects;
        (0..self.count).map(move |_| {
            let (record, after) = rest.split(rest.words[0] as usize);
            rest = after;
            Subject { record }
        })
    }
}

/// A pod, or the pod template of a workload.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The facts that are not lists, and the lists, one after the other.
    record: Words<'a>,
}

impl<'a> Subject<'a> {
    /// The words of a subject without lists.
    const WORDS: usize = 20;

    /// All facts but the lists.
    pub fn facts(&self) -> SubjectFacts<'a> {
        SubjectFacts {
            kind: self.kind(),
            namespace: self.namespace(),
            name: self.name(),
            controller: self.controller(),
            restart_policy: self.restart_policy(),
            service_account: self.service_account(),
            host_network: self.host_network(),
            host_pid: self.host_pid(),
            host_ipc: self.host_ipc(),
            status: self.status(),
        }
    }

    /// `Pod`, or the kind of the workload.
    pub fn kind(&self) -> &'a str {
        self.record.string(2)
    }

    /// The namespace.
    pub fn namespace(&self) -> &'a str {
        self.record.string(4)
    }

    /// The name.
    pub fn name(&self) -> &'a str {
        self.record.string(6)
    }

    /// The name of the ServiceAccount; empty if none is set, which means `default`.
    pub fn service_account(&self) -> &'a str {
        self.record.string(8)
    }

    /// The controller.
    pub fn controller(&self) -> Option<Controller<'a>> {
        self.has(bits_of_subject::HAS_CONTROLLER)
            .then(|| Controller { kind: self.record.string(10), name: self.record.string(12) })
    }

    /// Whether containers are restarted.
    pub fn restart_policy(&self) -> RestartPolicy {
        match self.flags() >> bits_of_subject::RESTART_POLICY & 0b11 {
            0 => RestartPolicy::Always,
            1 => RestartPolicy::OnFailure,
            _ => RestartPolicy::Never,
        }
    }

    /// Whether the pod uses the network of its node.
    pub fn host_network(&self) -> bool {
        self.has(bits_of_subject::HOST_NETWORK)
    }

    /// Whether the pod sees the processes of its node.
    pub fn host_pid(&self) -> bool {
        self.has(bits_of_subject::HOST_PID)
    }

    /// Whether the pod uses the IPC namespace of its node.
    pub fn host_ipc(&self) -> bool {
        self.has(bits_of_subject::HOST_IPC)
    }

    /// The status; `None` for a manifest without status and for an admission request.
    pub fn status(&self) -> Option<Status> {
        self.has(bits_of_subject::HAS_STATUS).then(|| Status {
            phase: match self.flags() >> bits_of_subject::PHASE & 0b111 {
                0 => Phase::Pending,
                1 => Phase::Running,
                2 => Phase::Succeeded,
                3 => Phase::Failed,
                _ => Phase::Unknown,
            },
            pending_seconds: self.has(bits_of_subject::HAS_PENDING_SECONDS).then(|| self.record.number(14)),
        })
    }

    fn flags(&self) -> u32 {
        self.record.words[1]
    }

    fn has(&self, bit: u32) -> bool {
        self.flags() & 1 << bit != 0
    }

    /// The length of a list, by its position.
    fn length(&self, list: usize) -> usize {
        self.record.words[16 + list] as usize
    }

    /// The labels of the pod, sorted by key.
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(self.record, Self::WORDS, self.length(0))
    }

    /// The annotations of the pod, sorted by key; none unless the check needs them.
    pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        pairs(self.record, Self::WORDS + self.length(0) * 4, self.length(1))
    }

    /// The types of the volumes, such as `hostPath`, sorted and without duplicates.
    pub fn volume_types(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (record, start) = (self.record, Self::WORDS + (self.length(0) + self.length(1)) * 4);
        (0..self.length(2)).map(move |index| record.string(start + 2 * index))
    }

    /// App containers first, then init containers and sidecars, then ephemeral containers.
    pub fn containers(&self) -> impl Iterator<Item = Container<'a>> + use<'a> {
        let start = Self::WORDS + (self.length(0) + self.length(1)) * 4 + self.length(2) * 2;
        let mut rest = self.record.split(start).1;
        (0..self.length(3)).map(move |_| {
            let (record, after) = rest.split(Container::WORDS + rest.words[1] as usize);
            rest = after;
            Container { record }
        })
    }
}

fn pairs<'a>(record: Words<'a>, start: usize, count: usize) -> impl Iterator<Item = (&'a str, &'a str)> {
    (0..count).map(move |index| {
        let place = start + 4 * index;
        (record.string(place), record.string(place + 2))
    })
}

/// A container.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// The facts but the ports, and the ports.
    record: Words<'a>,
}

impl<'a> Container<'a> {
    /// The words of a container without ports.
    const WORDS: usize = 17;

    /// All facts but the ports.
    pub fn facts(&self) -> ContainerFacts<'a> {
        ContainerFacts {
            name: self.name(),
            kind: self.kind(),
            image: self.image(),
            has_liveness_probe: self.has_liveness_probe(),
            has_readiness_probe: self.has_readiness_probe(),
            has_startup_probe: self.has_startup_probe(),
            has_resource_requests: self.has_resource_requests(),
            has_resource_limits: self.has_resource_limits(),
            requests: self.requests(),
            limits: self.limits(),
            security_context: self.security_context(),
            restart_count: self.restart_count(),
        }
    }

    /// The name.
    pub fn name(&self) -> &'a str {
        self.record.string(2)
    }

    /// The image reference as written; empty if there is none.
    pub fn image(&self) -> &'a str {
        self.record.string(4)
    }

    /// The kind.
    pub fn kind(&self) -> ContainerKind {
        match self.flags() >> bits_of_container::KIND & 0b11 {
            0 => ContainerKind::App,
            1 => ContainerKind::Init,
            2 => ContainerKind::Sidecar,
            _ => ContainerKind::Ephemeral,
        }
    }

    /// Whether there is a liveness probe.
    pub fn has_liveness_probe(&self) -> bool {
        self.has(bits_of_container::LIVENESS_PROBE)
    }

    /// Whether there is a readiness probe.
    pub fn has_readiness_probe(&self) -> bool {
        self.has(bits_of_container::READINESS_PROBE)
    }

    /// Whether there is a startup probe.
    pub fn has_startup_probe(&self) -> bool {
        self.has(bits_of_container::STARTUP_PROBE)
    }

    /// Whether any resource request is set.
    pub fn has_resource_requests(&self) -> bool {
        self.has(bits_of_container::RESOURCE_REQUESTS)
    }

    /// Whether any resource limit is set.
    pub fn has_resource_limits(&self) -> bool {
        self.has(bits_of_container::RESOURCE_LIMITS)
    }

    /// The requests of CPU and memory.
    pub fn requests(&self) -> Quantities {
        Quantities {
            cpu_millicores: self.number(bits_of_container::HAS_CPU_REQUEST, 9),
            memory_bytes: self.number(bits_of_container::HAS_MEMORY_REQUEST, 11),
        }
    }

    /// The limits of CPU and memory.
    pub fn limits(&self) -> Quantities {
        Quantities {
            cpu_millicores: self.number(bits_of_container::HAS_CPU_LIMIT, 13),
            memory_bytes: self.number(bits_of_container::HAS_MEMORY_LIMIT, 15),
        }
    }

    /// The security context, with the values of the pod where the container has none.
    pub fn security_context(&self) -> SecurityContext {
        use bits_of_container as bits;
        SecurityContext {
            privileged: self.has(bits::PRIVILEGED),
            read_only_root_filesystem: self.has(bits::READ_ONLY_ROOT_FILESYSTEM),
            allow_privilege_escalation: self
                .has(bits::HAS_ALLOW_PRIVILEGE_ESCALATION)
                .then(|| self.has(bits::ALLOW_PRIVILEGE_ESCALATION)),
            run_as_non_root: self.has(bits::HAS_RUN_AS_NON_ROOT).then(|| self.has(bits::RUN_AS_NON_ROOT)),
            run_as_user: self.number(bits::HAS_RUN_AS_USER, 7).map(|number| number as i64),
        }
    }

    /// The number of restarts; `None` if the container has not run yet, in a manifest or an admission request.
    pub fn restart_count(&self) -> Option<u32> {
        self.has(bits_of_container::HAS_RESTART_COUNT).then(|| self.record.words[6])
    }

    fn flags(&self) -> u32 {
        self.record.words[0]
    }

    fn has(&self, bit: u32) -> bool {
        self.flags() & 1 << bit != 0
    }

    fn number(&self, bit: u32, place: usize) -> Option<u64> {
        self.has(bit).then(|| self.record.number(place))
    }

    /// The declared container ports, in order.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.record.words[Self::WORDS..].iter().map(|&port| port as u16)
    }
}

/// A part of the words, with the text of all strings.
#[derive(Debug, Clone, Copy)]
struct Words<'a> {
    words: &'a [u32],
    text: &'a str,
}

impl<'a> Words<'a> {
    #[inline]
    fn split(self, place: usize) -> (Self, Self) {
        let (words, rest) = self.words.split_at(place);
        (Self { words, ..self }, Self { words: rest, ..self })
    }

    #[inline]
    fn string(self, place: usize) -> &'a str {
        let (offset, length) = (self.words[place] as usize, self.words[place + 1] as usize);
        &self.text[offset..offset + length]
    }

    fn number(self, place: usize) -> u64 {
        u64::from(self.words[place]) | u64::from(self.words[place + 1]) << 32
    }
}
