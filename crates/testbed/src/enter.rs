//! How a test binary becomes another process of the testbed's: a guard, or a database's supervisor.
//!
//! Both must outlive or be apart from the test process; a stranger's plain `cargo test -p
//! one-crate` builds no helper program for them, and a test binary's `main` belongs to the test
//! harness. So the helper is the running binary itself, started again, and a constructor takes
//! over before `main`.

#![allow(unsafe_code)] // `link_section` places the constructor; it has no other unsafe part.

use std::path::Path;

/// Set in a helper's own environment, nowhere else.
const VARIABLE: &str = "FOREBAY_TESTBED_HELPER";
/// The first argument. No test harness knows it, so that a binary without the constructor would
/// end at once with an error instead of running its tests again.
const ARGUMENT: &str = "--forebay-testbed-helper";
/// The running executable, also where it has been removed or replaced since.
const SELF: &str = "/proc/self/exe";

/// What to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Helper {
    Guard,
    Postgres,
}

/// How to start a helper: the program, its arguments (the last is `place`, the directory it works
/// in) and what its environment must have.
pub(crate) struct Start<'a> {
    pub(crate) program: &'static str,
    pub(crate) args: [&'a Path; 2],
    pub(crate) env: Vec<(String, String)>,
}

impl Helper {
    pub(crate) fn start(self, place: &Path) -> Start<'_> {
        // Named here, so that no linker leaves the constructor out.
        std::hint::black_box(&raw const ENTER);
        let mut env = vec![(VARIABLE.to_owned(), self.name().to_owned())];
        // Where the test binary itself found its libraries.
        env.extend(
            std::env::var("LD_LIBRARY_PATH")
                .ok()
                .map(|path| ("LD_LIBRARY_PATH".to_owned(), path)),
        );
        Start {
            program: SELF,
            args: [Path::new(ARGUMENT), place],
            env,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Postgres => "postgres",
        }
    }
}

extern "C" fn enter() {
    let Some(wanted) = std::env::var_os(VARIABLE) else {
        return;
    };
    if wanted == Helper::Guard.name() {
        crate::guard::helper_main();
    }
    if wanted == Helper::Postgres.name() {
        crate::postgres::helper_main();
    }
}

// SAFETY: the C library calls each function in this section before `main`, without conditions on
// it besides the signature; the helpers use only what works then (environment, files, threads,
// processes), and end the process themselves.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = enter;
