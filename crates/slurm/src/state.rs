//! Job states: Slurm's whole table, read from every form in which its tools print them.
//!
//! A Slurm state is one *base* state and any number of *flags*. `sacct`, the REST API and
//! `scontrol` (sometimes) show both; `squeue` shows one word, and that word is the flag when
//! there is one. Reading never fails: a word this crate does not know is kept as it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a job is doing, apart from what is being done to it ([`StateFlag`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BaseState {
    /// Waiting for resources, for its dependencies, or held.
    Pending,
    /// Has an allocation.
    Running,
    /// Has an allocation, its processes are stopped.
    Suspended,
    /// Ended by itself with exit code zero.
    Completed,
    /// Ended by a user or an administrator.
    Cancelled,
    /// Ended with a non-zero exit code or another failure.
    Failed,
    /// Ended at its time limit.
    Timeout,
    /// Ended because a node failed.
    NodeFail,
    /// Ended in favour of another job.
    Preempted,
    /// Ended because its nodes did not boot.
    BootFail,
    /// Ended because it could not finish before its deadline.
    Deadline,
    /// Ended because it used more memory than it had.
    OutOfMemory,
    /// Not told: the tool printed a flag that may stand on any base state, as `squeue` does
    /// with `COMPLETING`.
    Hidden,
    /// A word that this crate does not know.
    Unknown(String),
}

/// Something that is being done to a job, beside its [`BaseState`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateFlag {
    /// The launch of the batch script failed.
    LaunchFailed,
    /// Reading the user's environment failed (`--get-user-env`).
    GetenvFailed,
    /// Its processes have ended, or are being ended; the epilog has not.
    Completing,
    /// Its nodes are being booted or set up.
    Configuring,
    /// It is being requeued at once after a failed node (from 26.05).
    Expediting,
    /// Its nodes are powered up.
    PowerUpNode,
    /// Setting its nodes up failed; it is requeued.
    ReconfigFail,
    /// Its size changes.
    Resizing,
    /// It goes back to the queue.
    Requeued,
    /// It goes back to the queue of a federation.
    RequeueFed,
    /// It went back to the queue and is held there.
    RequeueHold,
    /// It ended with an exit code for which it is requeued and held.
    SpecialExit,
    /// Its processes got SIGSTOP; it keeps its allocation.
    Stopped,
    /// Another cluster of the federation started it.
    Revoked,
    /// Held because its reservation was deleted.
    ResvDelHold,
    /// A signal is on its way.
    Signaling,
    /// Its data is staged out.
    StageOut,
    /// Its start is sent to accounting again (22.05).
    UpdateDb,
    /// A word that this crate does not know.
    Unknown(String),
}

/// Base states: long word, short word.
const BASES: &[(BaseState, &str, &str)] = &[
    (BaseState::Pending, "PENDING", "PD"),
    (BaseState::Running, "RUNNING", "R"),
    (BaseState::Suspended, "SUSPENDED", "S"),
    (BaseState::Completed, "COMPLETED", "CD"),
    (BaseState::Cancelled, "CANCELLED", "CA"),
    (BaseState::Failed, "FAILED", "F"),
    (BaseState::Timeout, "TIMEOUT", "TO"),
    (BaseState::NodeFail, "NODE_FAIL", "NF"),
    (BaseState::Preempted, "PREEMPTED", "PR"),
    (BaseState::BootFail, "BOOT_FAIL", "BF"),
    (BaseState::Deadline, "DEADLINE", "DL"),
    (BaseState::OutOfMemory, "OUT_OF_MEMORY", "OOM"),
];

/// Flags: long word, short word (empty where Slurm has none), and the base state that a lone
/// flag implies.
const FLAGS: &[(StateFlag, &str, &str, BaseState)] = &[
    (
        StateFlag::LaunchFailed,
        "LAUNCH_FAILED",
        "",
        BaseState::Hidden,
    ),
    (
        StateFlag::GetenvFailed,
        "GETENV_FAILED",
        "",
        BaseState::Hidden,
    ),
    (StateFlag::Completing, "COMPLETING", "CG", BaseState::Hidden),
    (
        StateFlag::Configuring,
        "CONFIGURING",
        "CF",
        BaseState::Running,
    ),
    (
        StateFlag::Expediting,
        "EXPEDITING",
        "EX",
        BaseState::Pending,
    ),
    (
        StateFlag::PowerUpNode,
        "POWER_UP_NODE",
        "",
        BaseState::Running,
    ),
    (
        StateFlag::ReconfigFail,
        "RECONFIG_FAIL",
        "",
        BaseState::Hidden,
    ),
    (StateFlag::Resizing, "RESIZING", "RS", BaseState::Running),
    (StateFlag::Requeued, "REQUEUED", "RQ", BaseState::Pending),
    (
        StateFlag::RequeueFed,
        "REQUEUE_FED",
        "RF",
        BaseState::Pending,
    ),
    (
        StateFlag::RequeueHold,
        "REQUEUE_HOLD",
        "RH",
        BaseState::Pending,
    ),
    (
        StateFlag::SpecialExit,
        "SPECIAL_EXIT",
        "SE",
        BaseState::Pending,
    ),
    (StateFlag::Stopped, "STOPPED", "ST", BaseState::Running),
    (StateFlag::Revoked, "REVOKED", "RV", BaseState::Hidden),
    (
        StateFlag::ResvDelHold,
        "RESV_DEL_HOLD",
        "RD",
        BaseState::Pending,
    ),
    (StateFlag::Signaling, "SIGNALING", "SI", BaseState::Running),
    (StateFlag::StageOut, "STAGE_OUT", "SO", BaseState::Hidden),
    (StateFlag::UpdateDb, "UPDATE_DB", "", BaseState::Hidden),
];

impl BaseState {
    /// Every base state that Slurm has, in Slurm's order.
    pub fn all() -> impl Iterator<Item = Self> {
        BASES.iter().map(|(state, ..)| state.clone())
    }

    fn from_word(word: &str) -> Option<Self> {
        BASES
            .iter()
            .find(|(_, long, short)| {
                word.eq_ignore_ascii_case(long) || word.eq_ignore_ascii_case(short)
            })
            .map(|(state, ..)| state.clone())
    }

    /// Slurm's long word; `?` for [`BaseState::Hidden`].
    pub fn as_str(&self) -> &str {
        match self {
            Self::Hidden => "?",
            Self::Unknown(word) => word,
            known => BASES
                .iter()
                .find(|(state, ..)| state == known)
                .map_or("?", |(_, long, _)| long),
        }
    }

    /// Whether this base state is an end.
    pub fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::Cancelled
                | Self::Failed
                | Self::Timeout
                | Self::NodeFail
                | Self::Preempted
                | Self::BootFail
                | Self::Deadline
                | Self::OutOfMemory
        )
    }
}

impl StateFlag {
    /// Every flag that Slurm has.
    pub fn all() -> impl Iterator<Item = Self> {
        FLAGS.iter().map(|(flag, ..)| flag.clone())
    }

    fn from_word(word: &str) -> Option<(Self, BaseState)> {
        FLAGS
            .iter()
            .find(|(_, long, short, _)| {
                word.eq_ignore_ascii_case(long)
                    || (!short.is_empty() && word.eq_ignore_ascii_case(short))
            })
            .map(|(flag, _, _, implied)| (flag.clone(), implied.clone()))
    }

    /// Slurm's long word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown(word) => word,
            known => FLAGS
                .iter()
                .find(|(flag, ..)| flag == known)
                .map_or("?", |(_, long, ..)| long),
        }
    }
}

/// A job's state as a tool printed it.
///
/// ```
/// use forebay_slurm::{BaseState, JobState, StateFlag};
///
/// let state = JobState::parse("CANCELLED by 1000");
/// assert_eq!((state.base.clone(), state.cancelled_by), (BaseState::Cancelled, Some(1000)));
/// assert!(state.is_terminal());
///
/// let state = JobState::parse("COMPLETED,COMPLETING");
/// assert!(state.has(&StateFlag::Completing) && !state.is_terminal());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobState {
    /// What the job is doing.
    pub base: BaseState,
    /// What is being done to it; sorted, without repeats.
    pub flags: Vec<StateFlag>,
    /// The uid that cancelled it, where the tool told (`CANCELLED by 1000`).
    pub cancelled_by: Option<u32>,
}

impl From<BaseState> for JobState {
    fn from(base: BaseState) -> Self {
        Self {
            base,
            flags: Vec::new(),
            cancelled_by: None,
        }
    }
}

impl JobState {
    /// Reads any form: `RUNNING`, `R`, `CANCELLED by 1000`, `CANCELLED+` (cut by a column),
    /// `COMPLETED,COMPLETING`, `PENDING+SPECIAL_EXIT`. Never fails.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let (words, by) = match text.split_once(" by ") {
            Some((words, uid)) => (words, uid.trim().parse().ok()),
            None => (text, None),
        };
        let mut state = Self::from_words(words.split([',', '+', '|', ' ']));
        if matches!(state.base, BaseState::Cancelled) {
            state.cancelled_by = by;
        }
        state
    }

    /// Reads a list of words, as the REST API and `--json` print it
    /// (`["RUNNING", "CONFIGURING"]`). Never fails.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut base: Option<BaseState> = None;
        let mut implied: Option<BaseState> = None;
        let mut flags = Vec::new();
        for word in words
            .into_iter()
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            if let Some(known) = BaseState::from_word(word) {
                if base.is_none() {
                    base = Some(known);
                }
            } else if let Some((flag, implies)) = StateFlag::from_word(word) {
                if !matches!(implies, BaseState::Hidden) {
                    implied.get_or_insert(implies);
                }
                flags.push(flag);
            } else if base.is_none() && flags.is_empty() {
                base = Some(BaseState::Unknown(word.to_owned()));
            } else {
                flags.push(StateFlag::Unknown(word.to_owned()));
            }
        }
        flags.sort();
        flags.dedup();
        // COMPLETING may stand on any base: an implied one would be a guess.
        let hidden = flags
            .iter()
            .any(|flag| matches!(flag, StateFlag::Completing | StateFlag::StageOut));
        let base = match (base, implied) {
            (Some(base), _) => base,
            (None, Some(implied)) if !hidden => implied,
            (None, _) if flags.is_empty() => BaseState::Unknown(String::new()),
            (None, _) => BaseState::Hidden,
        };
        Self {
            base,
            flags,
            cancelled_by: None,
        }
    }

    /// Whether the flag is set.
    pub fn has(&self, flag: &StateFlag) -> bool {
        self.flags.contains(flag)
    }

    /// Whether the job has ended for good: an end state, and neither being completed nor on its
    /// way back to the queue. Unknown and hidden states are not ends.
    pub fn is_terminal(&self) -> bool {
        self.base.is_end()
            && !self.flags.iter().any(|flag| {
                matches!(
                    flag,
                    StateFlag::Completing
                        | StateFlag::StageOut
                        | StateFlag::Requeued
                        | StateFlag::RequeueFed
                        | StateFlag::RequeueHold
                        | StateFlag::SpecialExit
                        | StateFlag::Expediting
                )
            })
    }

    /// Whether its processes have ended, or are being ended, and the rest is cleaning up.
    pub fn is_completing(&self) -> bool {
        self.has(&StateFlag::Completing) || self.has(&StateFlag::StageOut)
    }

    /// Whether it waits in the queue.
    pub fn is_pending(&self) -> bool {
        matches!(self.base, BaseState::Pending) && !self.is_completing()
    }

    /// Whether it has started and not begun to end.
    pub fn is_active(&self) -> bool {
        matches!(self.base, BaseState::Running | BaseState::Suspended) && !self.is_completing()
    }

    /// Whether it waits until somebody releases it. `reason` is Slurm's reason for waiting
    /// (`JobHeldUser`, `JobHeldAdmin`, `launch failed requeued held`, …).
    pub fn is_held(&self, reason: &str) -> bool {
        let flagged = self.flags.iter().any(|flag| {
            matches!(
                flag,
                StateFlag::RequeueHold | StateFlag::SpecialExit | StateFlag::ResvDelHold
            )
        });
        let reason = reason.trim_matches(['(', ')']).to_ascii_lowercase();
        self.is_pending() && (flagged || reason.contains("held") || reason.ends_with("hold"))
    }
}

impl FromStr for JobState {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::parse(text))
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str())?;
        for flag in &self.flags {
            write!(f, ",{}", flag.as_str())?;
        }
        if let Some(uid) = self.cancelled_by {
            write!(f, " by {uid}")?;
        }
        Ok(())
    }
}

impl Serialize for JobState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            One(String),
            Many(Vec<String>),
        }
        Ok(match Shape::deserialize(deserializer)? {
            Shape::One(text) => Self::parse(&text),
            Shape::Many(words) => Self::from_words(words.iter().map(String::as_str)),
        })
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
