//! Real servers for tests and for `cargo xtask up`.
//!
//! Everything is started in a directory of its own, on ports of its own, and ends with whoever
//! started it: a [`guard::Guard`] stands between a test process and its servers, and when the
//! test process ends, however it ends, the guard ends everything below it and removes the
//! directory. What a machine cannot give is said with [`need!`], never passed over in silence.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use forebay_testbed::slurm::{Options, Slurm};
//!
//! let user = forebay_testbed::accounts::test_account(1)?;
//! let slurm = Slurm::start(Options { users: vec![user.name.clone()], ..Options::default() }).await?;
//! let answer = slurm.exec("sbatch", ["--parsable", "--wrap", "hostname"], Some(&user)).await?;
//! assert!(answer.exit.success(), "{}", answer.stderr());
//! slurm.stop().await?;
//! # Ok(()) }
//! ```

// Denied as everywhere; `enter` (a constructor) and `process::identity` (between fork and
// exec) say at the place why they need it.
pub mod accounts;
pub mod bench;
pub mod browser;
pub mod dirs;
mod enter;
pub mod guard;
pub mod need;
pub mod packages;
pub mod ports;
pub mod postgres;
pub mod process;
mod procfs;
pub mod programs;
pub mod setup;
pub mod site;
pub mod slurm;
pub mod up;
