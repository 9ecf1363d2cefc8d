//! How many may read at once: in all, and for each user. Who sits here is asked for again by `rights`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use forebay_central::Caller;
use forebay_http::{Code, Problem};
use forebay_service::CancellationToken;
use forebay_wire::UserId;

use crate::config::Limits;

/// All seats. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    limits: Limits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by_number: BTreeMap<u64, (Caller, CancellationToken)>,
    by_user: HashMap<UserId, u32>,
}

/// A place for one connection; free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    number: u64,
    user: UserId,
    ended: CancellationToken,
}

impl Seats {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            taken: Arc::default(),
        }
    }

    /// A seat, if there is one.
    pub(crate) fn take(&self, caller: Caller) -> Result<Seat, Problem> {
        let mut taken = self.lock();
        let all = u32::try_from(taken.by_number.len()).unwrap_or(u32::MAX);
        if all >= self.limits.clients {
            let message = "As many as can be served are connected. Try again in a moment.";
            return Err(Problem::new(Code::Busy, message));
        }
        let user = caller.user;
        let of_user = taken.by_user.entry(user).or_default();
        if *of_user >= self.limits.clients_per_user {
            let message = format!(
                "You have {of_user} connections open, the most for one user. Close some first."
            );
            return Err(Problem::new(Code::Busy, message));
        }
        *of_user += 1;
        let number = taken.next;
        taken.next += 1;
        let ended = CancellationToken::new();
        taken.by_number.insert(number, (caller, ended.clone()));
        Ok(Seat {
            seats: self.clone(),
            number,
            user,
            ended,
        })
    }

    /// How many are taken.
    pub(crate) fn count(&self) -> usize {
        self.lock().by_number.len()
    }

    /// Who is here, each once.
    pub(crate) fn callers(&self) -> Vec<Caller> {
        let taken = self.lock();
        let mut callers: Vec<_> = taken.by_number.values().map(|(caller, _)| caller).collect();
        callers.sort_by_key(|caller| (caller.user, caller.token, caller.session));
        callers.dedup();
        callers.into_iter().cloned().collect()
    }

    /// Ends the connections of these.
    pub(crate) fn end(&self, callers: &[Caller]) {
        for (caller, ended) in self.lock().by_number.values() {
            if callers.contains(caller) {
                ended.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(crate) fn user(&self) -> UserId {
        self.user
    }

    /// Cancelled when its reader's credentials are no longer good.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.by_number.remove(&self.number);
        if let Some(count) = taken.by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forebay_wire::TokenId;

    use super::*;

    fn caller(name: &str) -> Caller {
        Caller {
            user: UserId::new(),
            name: name.into(),
            token: TokenId::new(),
            session: None,
        }
    }

    #[test]
    fn there_are_so_many_seats_and_no_more() {
        let seats = Seats::new(Limits {
            clients: 3,
            clients_per_user: 2,
            poll: Duration::from_secs(1),
        });
        let (ann, bob) = (caller("ann"), caller("bob"));
        let first = seats.take(ann.clone()).expect("a seat");
        let second = seats.take(ann.clone()).expect("a seat");
        assert_eq!(
            seats.take(ann.clone()).expect_err("hers are taken").code,
            Code::Busy
        );
        let third = seats.take(bob.clone()).expect("a seat");
        assert_eq!(
            seats.take(bob.clone()).expect_err("all are taken").code,
            Code::Busy
        );
        assert_eq!((seats.count(), seats.callers().len()), (3, 2));
        seats.end(std::slice::from_ref(&bob));
        assert!(third.ended().is_cancelled() && !first.ended().is_cancelled());
        drop((second, third));
        seats.take(ann).expect("free again");
        drop(first);
        assert_eq!(seats.count(), 0);
        assert!(seats.lock().by_user.is_empty());
    }
}
