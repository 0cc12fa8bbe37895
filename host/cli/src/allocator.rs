//! The allocator: most of the work is short-lived small strings on all cores.
//!
//! The only unsafe code of the program is the call that sets an option of mimalloc, which the `mimalloc` crate does not
//! wrap. The call neither takes nor stores a pointer, mimalloc validates the number of the option, and the options are
//! atomics that can be set at any time.

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the crate does not define.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// The number of milliseconds after which free memory is returned to the system. The default of mimalloc 3 is one second,
/// so the memory used to read manifests would still be allocated during their evaluation.
const PURGE_DELAY_MILLISECONDS: std::ffi::c_long = 10;

/// Sets the options of the allocator, unless the environment (`MIMALLOC_PURGE_DELAY`) overrides them.
pub fn set_up() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        #[allow(unsafe_code)]
        // SAFETY: see the module documentation.
        unsafe {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MILLISECONDS);
        }
    }
}
