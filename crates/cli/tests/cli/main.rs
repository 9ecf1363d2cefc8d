//! The built command, driven as people and scripts drive it, against an API
//! played over real HTTP ([`fake`]).

mod db;
mod fake;
mod help;
mod jobs;
mod login;
mod logs;
mod run;
mod submit;
mod terminal;
