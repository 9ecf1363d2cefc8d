//! The feed table: rows written in the transactions that they tell of, read by others in an order that misses none.
//!
//! Numbering rows and reading `id > last` loses rows: numbers are given out when a row is written, but a transaction
//! that took a lower number may commit after a reader has seen a higher one. This reader orders rows by the
//! transaction that wrote them and stops before the oldest one that is still running, `pg_snapshot_xmin`. What it has
//! passed can never gain another row. The price is that one long transaction in the *instance* (not only in the
//! database) holds all readers back; hence the short `idle_in_transaction_session_timeout` of the
//! [pool](crate::pool::Config), and [`Reader::lag_ms`].
//!
//! A [`Cursor`] marks a position. It stops being good when rows after it were [pruned](Reader::prune), or when the
//! database became another one (restored from a dump or backup, failed over): then the reader says so, and the caller
//! takes a [snapshot](Reader::snapshot) and goes on from there.
//!
//! # Why a cursor is always the position of a row
//!
//! A snapshot shows all transactions below its `xmin`, so `(xmin, 0)` would seem the place to resume. After a crash it
//! is not: the ids of transactions that wrote nothing durable are given out again, and `xmin` may have counted some.
//! A row written after the crash can then have a *lower* transaction id than a cursor made before. The transaction id
//! of a row that was read is durable and never given out again, so cursors stand on the last row that could be read
//! (of any topic), or on the last one pruned.

mod append;
mod cursor;
mod prune;
mod reader;

pub use append::{BODY_BYTES_MAX, NAME_BYTES_MAX, Row, append};
pub use cursor::{Cursor, ParseCursorError};
pub use reader::{Delta, PAGE_ROWS_MAX, Page, ReadError, Reader, Topics};

/// The tables of the feed, for one of the caller's [migrations](crate::migrate). Never changes.
pub const SCHEMA_SQL: &str = include_str!("schema.sql");

/// SQL for the instance and timeline that this database lives in; compared with `feed_meta.instance`.
const INSTANCE: &str = "(SELECT system_identifier FROM pg_control_system()) || '.' \
     || left(pg_walfile_name(pg_current_wal_lsn()), 8)";
