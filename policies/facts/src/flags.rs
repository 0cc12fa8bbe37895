//! The bits of the first word of a record after its length.

/// The bits of a subject.
pub mod subject {
    /// The restart policy: two bits.
    pub const RESTART_POLICY: u32 = 0;
    pub const HOST_NETWORK: u32 = 2;
    pub const HOST_PID: u32 = 3;
    pub const HOST_IPC: u32 = 4;
    pub const HAS_CONTROLLER: u32 = 5;
    pub const HAS_STATUS: u32 = 6;
    pub const HAS_PENDING_SECONDS: u32 = 7;
    /// The phase: three bits.
    pub const PHASE: u32 = 8;
}

/// The bits of a container. An optional value has a bit for its presence, and one for its value if it is a boolean.
pub mod container {
    /// The kind: two bits.
    pub const KIND: u32 = 0;
    pub const LIVENESS_PROBE: u32 = 2;
    pub const READINESS_PROBE: u32 = 3;
    pub const STARTUP_PROBE: u32 = 4;
    pub const RESOURCE_REQUESTS: u32 = 5;
    pub const RESOURCE_LIMITS: u32 = 6;
    pub const HAS_RESTART_COUNT: u32 = 7;
    pub const PRIVILEGED: u32 = 8;
    pub const READ_ONLY_ROOT_FILESYSTEM: u32 = 9;
    pub const HAS_ALLOW_PRIVILEGE_ESCALATION: u32 = 10;
    pub const ALLOW_PRIVILEGE_ESCALATION: u32 = 11;
    pub const HAS_RUN_AS_NON_ROOT: u32 = 12;
    pub const RUN_AS_NON_ROOT: u32 = 13;
    pub const HAS_RUN_AS_USER: u32 = 14;
    pub const HAS_CPU_REQUEST: u32 = 15;
    pub const HAS_MEMORY_REQUEST: u32 = 16;
    pub const HAS_CPU_LIMIT: u32 = 17;
    pub const HAS_MEMORY_LIMIT: u32 = 18;
}
