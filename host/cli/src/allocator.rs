//! The allocator: much of the work is small texts that come and go on all cores.
//!
//! The only unsafe code of the program is the call that sets an option of mimalloc, which its crate does not wrap. It takes and
//! keeps no pointer, mimalloc checks the number of the option, and the options are atomics that may be set at any time.

/// See the module.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, which the crate does not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// How many milliseconds free memory is kept before the system gets it back. The default of mimalloc 3 is a second, and so
/// what was needed to read manifests would still be there when they are evaluated.
const MILLISECONDS: std::ffi::c_long = 10;

/// Sets the options of the allocator, unless the environment (`MIMALLOC_PURGE_DELAY`) does.
pub fn set_up() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        #[allow(unsafe_code)]
        // SAFETY: see the module.
        unsafe {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, MILLISECONDS);
        }
    }
}
