//! Streams that can be resumed and that bound what they hold.
//!
//! - [`follow`]: a growing file, by byte offset, to its end.
//! - [`utf8`]: chunks of text without torn characters.
//! - [`range`]: one HTTP byte range, parsed and resolved.
//! - [`hub`]: one sender, many readers, each with a bounded mailbox; a slow one is told, nobody waits.
//!
//! ```no_run
//! use forebay_streams::follow::{Follower, Item, Options};
//!
//! # async fn example() -> std::io::Result<()> {
//! let mut follower = Follower::open("/home/anna/jobs/stdout", 0, Options::default());
//! let finish = follower.finisher(); // call `finish.finish()` once the job has ended
//! while let Some(item) = follower.next().await? {
//!     match item {
//!         Item::Chunk { offset, bytes } => println!("{offset}: {} bytes", bytes.len()),
//!         Item::Skipped { from, to } => println!("{} bytes left out", to - from),
//!         Item::Restarted => println!("the file began anew"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod follow;
pub mod hub;
pub mod range;
pub mod utf8;
