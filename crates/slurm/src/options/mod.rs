//! `sbatch`'s options: the table, how `getopt_long` resolves a name, and which are refused.

mod directives;
mod policy;
mod resolve;
mod table;

pub(crate) use directives::parse_located;
pub use directives::{Directive, DirectiveError, DirectiveProblem, parse_directives, parse_words};
pub use policy::{Mode, Policy};
pub use resolve::{Resolution, nearest, resolve_long, resolve_short};
pub use table::{Argument, OPTIONS, OptionSpec, Release};
