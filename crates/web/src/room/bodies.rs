//! How much of requests' bodies is in memory at once (W10): a body is read as a whole before its handler runs, so its
//! size is paid for before a byte of it is taken, and given back when the handler is done with it. Answers that were made
//! as a whole are paid for until their reader has taken them (`web::answers`).
//!
//! Who pays decides when the last byte comes, so room that is taken is no right to keep it (KX3): small bodies have a purse
//! of their own, and where there is no room, what is still being read gives way, first what doesn't move, then whoever
//! holds most.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::id::UserId;
use master::Error;
use master::session::Caller;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::server::{Holder, STEADY};

/// How long somebody waits for room before being told to come again.
const PATIENCE: Duration = Duration::from_secs(5);

/// When to come again, in seconds.
const AGAIN: u64 = 10;

/// Longest body that is paid from the purse of the small ones, in bytes: whatever isn't a launch with files.
const SMALL: u64 = 1 << 20;

/// What becomes of a large body once it is there takes so many times its size beside it, for a moment: the files in it, and what
/// they are packed into (MC11). There is room of its own for that, which waits for no sender (MF8).
const BECOMES: u64 = 2;

/// Most bytes of that, …
const BECOMING_MOST: u64 = 256 << 20;

/// Most bytes of small bodies, …
const SMALL_MOST: u64 = 64 << 20;

/// Most bytes of answers that nobody has taken yet.
const ANSWERS: u64 = 128 << 20;

/// … and of all the room there is, this part at most; so much of either purse is kept for administrators, and so much is
/// one account's share.
const PART: u64 = 4;
const RESERVE: u64 = 8;
const SHARE: u64 = 8;

/// How long a large body has to move before others may take its room: uploads that go on are soon over.
const MEANWHILE: Duration = Duration::from_secs(1);

/// Room for bodies. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    small: Purse,
    large: Purse,
    /// For what becomes of bodies that are whole.
    becoming: Purse,
    answers: Purse,
}

impl Bodies {
    /// Room for `total` bytes.
    pub(crate) fn new(total: u64) -> Self {
        let small = (total / PART).min(SMALL_MOST);
        let becoming = ((total - small) / 2).min(BECOMING_MOST);
        Self {
            small: Purse::new(small, Duration::ZERO),
            large: Purse::new(total - small - becoming, MEANWHILE),
            becoming: Purse::new(becoming, Duration::ZERO),
            answers: Purse::new(ANSWERS, Duration::ZERO),
        }
    }

    /// Takes room for an answer of `size` bytes, which is there already, so that nobody waits for it. `came` tells how
    /// many of them its reader has taken.
    ///
    /// # Errors
    /// When there is none, to be tried again.
    pub(crate) fn keep(&self, payer: Payer, size: u64, came: &Came) -> Result<Charge, Error> {
        let kept = self.answers.try_charge(payer, size, came, Instant::now(), true);
        kept.ok_or(Error::TooMany { what: "too many large answers wait to be read", seconds: AGAIN })
    }

    /// Takes room for `size` bytes; waits a little for it. `came` tells how many of them have come.
    ///
    /// # Errors
    /// When there is none, to be tried again.
    pub(crate) async fn charge(&self, payer: Payer, size: u64, came: Came) -> Result<Charge, Error> {
        if size <= SMALL {
            return self.small.charge(payer, size, came).await;
        }
        self.large.charge(payer, size, came).await
    }

    /// Takes room for what becomes of a body of `size` bytes that is whole, if that is large; waits a little for it. It gives
    /// way to nobody.
    ///
    /// # Errors
    /// When there is none, to be tried again.
    pub(crate) async fn becoming(&self, payer: Payer, size: u64) -> Result<Option<Charge>, Error> {
        if size <= SMALL {
            return Ok(None);
        }
        let charge = self.becoming.charge(payer, size.saturating_mul(BECOMES), Arc::new(|| 0)).await?;
        charge.while_read(std::future::ready(())).await?;
        Ok(Some(charge))
    }
}

/// Tells how much of a body has come, in bytes.
pub(crate) type Came = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Who sends a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payer {
    account: UserId,
    rank: Rank,
}

/// In a crowd, a higher one goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Task,
    Person,
    Administrator,
}

impl Payer {
    /// Whoever a connection is known to be of; agents' and strangers' bodies are short.
    pub(crate) fn of(holder: Holder) -> Option<Self> {
        let rank = match holder {
            Holder::Task { .. } => Rank::Task,
            Holder::Account { admin: false, .. } => Rank::Person,
            Holder::Account { admin: true, .. } => Rank::Administrator,
            Holder::Agent => return None,
        };
        Some(Self { account: holder.account()?, rank })
    }

    /// Whoever asks.
    pub(crate) fn caller(caller: &Caller) -> Option<Self> {
        Self::of(Holder::Account { user: caller.actor.user, admin: caller.actor.admin })
    }
}

/// Room that several share.
#[derive(Debug, Clone)]
struct Purse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: u64,
    meanwhile: Duration,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    pieces: HashMap<u64, Piece>,
}

/// Room that one request has.
struct Piece {
    payer: Payer,
    size: u64,
    came: Came,
    /// How much had come when that was last looked at and was enough.
    moved: (Instant, u64),
    /// Fires when it has to give way; `None` once the body is whole: its handler is soon done.
    gives_way: Option<CancellationToken>,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Piece").field("payer", &self.payer).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Piece {
    /// Whether next to nothing came lately.
    fn is_stuck(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.moved.0);
        if passed < MEANWHILE {
            return false;
        }
        let came = (self.came)();
        let enough = came.saturating_sub(self.moved.1) >= STEADY.saturating_mul(passed.as_secs());
        if enough {
            self.moved = (now, came);
        }
        !enough
    }
}

/// Room that is taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    purse: Purse,
    number: u64,
    gives_way: CancellationToken,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.purse.taken().pieces.remove(&self.number);
        self.purse.0.freed.notify_waiters();
    }
}

impl Charge {
    /// Resolves when it has to give way to others.
    pub(crate) async fn gone(&self) {
        self.gives_way.cancelled().await;
    }

    /// Reads what was paid for, unless it has to give way to others meanwhile.
    ///
    /// # Errors
    /// Then, to be tried again.
    pub(crate) async fn while_read<T>(&self, read: impl Future<Output = T>) -> Result<T, Error> {
        let read = tokio::select! {
            biased;
            () = self.gives_way.cancelled() => return Err(too_much()),
            read = read => read,
        };
        match self.purse.taken().pieces.get_mut(&self.number) {
            Some(piece) => piece.gives_way = None,
            // Its room is somebody else's since a moment ago.
            None => return Err(too_much()),
        }
        Ok(read)
    }
}

fn too_much() -> Error {
    Error::TooMany { what: "too much is being sent at the moment", seconds: AGAIN }
}

impl Purse {
    fn new(total: u64, meanwhile: Duration) -> Self {
        Self(Arc::new(Inner { total, meanwhile, taken: Mutex::default(), freed: Notify::new() }))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn charge(&self, payer: Payer, size: u64, came: Came) -> Result<Charge, Error> {
        let begun = Instant::now();
        let until = begun + PATIENCE;
        loop {
            // Registered before it is looked, so that nothing is missed in between.
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            let now = Instant::now();
            let insists = now.saturating_duration_since(begun) >= self.0.meanwhile;
            if let Some(charge) = self.try_charge(payer, size, &came, now, insists) {
                return Ok(charge);
            }
            if now >= until {
                return Err(too_much());
            }
            // Who doesn't move is only seen by looking again.
            let _ = timeout_at(until.min(now + MEANWHILE / 2), freed).await;
        }
    }

    /// Takes room now, also from others; what they held is free as soon as they hear of it. `insists` says that others
    /// had time enough.
    fn try_charge(
        &self,
        payer: Payer,
        size: u64,
        came: &Came,
        now: Instant,
        insists: bool,
    ) -> Option<Charge> {
        let all = self.0.total;
        let room = if payer.rank == Rank::Administrator { all } else { all - all / RESERVE };
        // What is larger than all has all, as long as nobody else needs it.
        let size = size.min(room);
        let mut taken = self.taken();
        let leaving = taken.who_leaves(payer, size, room, (all / SHARE).max(SMALL), now, insists)?;
        for number in leaving {
            let left = taken.pieces.remove(&number);
            left.and_then(|piece| piece.gives_way).iter().for_each(CancellationToken::cancel);
        }
        let gives_way = CancellationToken::new();
        let number = taken.next;
        taken.next += 1;
        let (came, gives) = (Arc::clone(came), Some(gives_way.clone()));
        taken.pieces.insert(number, Piece { payer, size, came, moved: (now, 0), gives_way: gives });
        drop(taken);
        Some(Charge { purse: self.clone(), number, gives_way })
    }
}

impl Taken {
    /// Who has to go for `size` more bytes; `None` when there is no room even so.
    fn who_leaves(
        &mut self,
        payer: Payer,
        size: u64,
        room: u64,
        share: u64,
        now: Instant,
        insists: bool,
    ) -> Option<Vec<u64>> {
        let mut held: HashMap<UserId, u64> = HashMap::new();
        self.pieces.values().for_each(|piece| *held.entry(piece.payer.account).or_default() += piece.size);
        let of = |account: UserId| held.get(&account).copied().unwrap_or(0);
        let (all, own) = (held.values().sum::<u64>(), of(payer.account));
        let mut leaving = Vec::new();
        let mut freed = 0;
        if own > 0 && own.saturating_add(size) > share {
            // Nobody has more than their share but by one body and nothing else; tasks make room for their owner.
            let tasks = self
                .giving_way()
                .filter(|(_, piece)| piece.payer.account == payer.account && piece.payer.rank < payer.rank);
            for (number, piece) in tasks {
                leaving.push(*number);
                freed += piece.size;
            }
            let rest = own - freed;
            if rest > 0 && rest.saturating_add(size) > share {
                return None;
            }
        }
        let lacking = |freed: u64| (all - freed).saturating_add(size) > room;
        if lacking(freed) {
            let mine = own.saturating_add(size);
            let mut others = Vec::new();
            for (number, piece) in self.giving_way().filter(|(number, _)| !leaving.contains(number)) {
                let stuck = piece.is_stuck(now);
                let holds = of(piece.payer.account);
                // Among equals it goes by how much each holds.
                let lower = piece.payer.rank < payer.rank;
                if stuck || insists && (lower || piece.payer.rank == payer.rank && holds > mine) {
                    others.push((Reverse(stuck), piece.payer.rank, Reverse(holds), *number, piece.size));
                }
            }
            others.sort_unstable();
            for (_, _, _, number, gives) in others {
                if !lacking(freed) {
                    break;
                }
                leaving.push(number);
                freed += gives;
            }
        }
        (!lacking(freed)).then_some(leaving)
    }

    fn giving_way(&mut self) -> impl Iterator<Item = (&u64, &mut Piece)> {
        self.pieces.iter_mut().filter(|(_, piece)| piece.gives_way.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn person(account: i64) -> Payer {
        Payer { account: UserId(account), rank: Rank::Person }
    }

    fn administrator() -> Payer {
        Payer { account: UserId(1000), rank: Rank::Administrator }
    }

    fn came(bytes: u64) -> Came {
        Arc::new(move || bytes)
    }

    /// Nobody has had time to be called stuck.
    fn at_once(purse: &Purse, payer: Payer, size: u64, insists: bool) -> Option<Charge> {
        purse.try_charge(payer, size, &came(0), Instant::now(), insists)
    }

    #[tokio::test]
    async fn a06_bodies_share_the_memory() {
        let purse = Purse::new(80 * MIB, MEANWHILE);
        let [alice, bob] = [person(1), person(2)];
        let whole = at_once(&purse, alice, 50 * MIB, false).expect("one, however large");
        assert!(at_once(&purse, alice, MIB, true).is_none(), "and nothing beside it");
        assert!(at_once(&purse, bob, 21 * MIB, false).is_none(), "a part is kept for administrators");
        drop(at_once(&purse, administrator(), 30 * MIB, false).expect("for them"));
        let small: Vec<_> = (0..10).map(|_| at_once(&purse, bob, MIB, false).expect("an eighth")).collect();
        assert!(at_once(&purse, bob, 1, true).is_none());
        drop((whole, small));
        let all = at_once(&purse, bob, u64::MAX, false).expect("what is too large is alone");
        assert!(at_once(&purse, alice, 1, false).is_none());
        drop(all);
        assert!(purse.taken().pieces.is_empty());
    }

    #[tokio::test]
    async fn a06_who_finds_no_room_waits_for_it() {
        let purse = Purse::new(16 * MIB, MEANWHILE);
        let held = purse.charge(person(1), 14 * MIB, came(0)).await.expect("room");
        let (got, ()) = tokio::join!(purse.charge(person(2), 1, came(0)), async { drop(held) });
        got.expect("room again");
    }

    #[tokio::test]
    async fn a07_who_holds_most_gives_way() {
        let purse = Purse::new(80 * MIB, MEANWHILE);
        let mut crowd: Vec<_> =
            (0..7).map(|n| at_once(&purse, person(n), 10 * MIB, false).expect("room")).collect();
        assert!(at_once(&purse, person(8), 10 * MIB, true).is_none(), "not for an equal");
        let less = at_once(&purse, person(8), MIB, true).expect("for who holds less");
        let gone: Vec<_> = crowd.iter().map(|held| held.gives_way.is_cancelled()).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 1);
        // What is whole is only waited for.
        for held in &crowd {
            let _ = held.while_read(async {}).await;
        }
        less.while_read(async {}).await.expect("read");
        crowd.push(less);
        let _rest = at_once(&purse, administrator(), 10 * MIB, true).expect("what is kept");
        assert!(at_once(&purse, administrator(), 80 * MIB, true).is_none());
    }

    #[tokio::test]
    async fn a07_administrators_give_way_to_nobody_who_holds_less() {
        let purse = Purse::new(12 * MIB, MEANWHILE);
        let upload = at_once(&purse, administrator(), 15 * MIB, false).expect("all there is");
        assert!(at_once(&purse, person(1), MIB, true).is_none());
        assert!(!upload.gives_way.is_cancelled());
        let later = Instant::now() + MEANWHILE * 2;
        purse.try_charge(person(1), MIB, &came(0), later, true).expect("if nothing comes");
    }

    #[tokio::test]
    async fn a07_who_does_not_move_gives_way_to_an_equal() {
        let purse = Purse::new(80 * MIB, MEANWHILE);
        let moves: Vec<_> = [0, 0, MIB]
            .into_iter()
            .enumerate()
            .map(|(n, bytes)| {
                let payer = person(i64::try_from(n).expect("few"));
                let size = if n < 2 { 25 * MIB } else { 20 * MIB };
                purse.try_charge(payer, size, &came(bytes), Instant::now(), false).expect("room")
            })
            .collect();
        let later = Instant::now() + MEANWHILE * 2;
        purse.try_charge(person(8), 50 * MIB, &came(0), later, false).expect("both who are stuck");
        let gone: Vec<_> = moves.iter().map(|held| held.gives_way.is_cancelled()).collect();
        assert_eq!(gone, [true, true, false]);
    }

    #[tokio::test]
    async fn f07_tasks_make_room_for_people() {
        let purse = Purse::new(80 * MIB, MEANWHILE);
        let task = |owner| Payer { account: UserId(owner), rank: Rank::Task };
        let own = at_once(&purse, task(1), 10 * MIB, false).expect("room");
        at_once(&purse, person(1), 5 * MIB, false).expect("its owner's share isn't the task's");
        assert!(own.gives_way.is_cancelled());
        let all = at_once(&purse, task(2), u64::MAX, false).expect("room");
        at_once(&purse, person(3), 70 * MIB, true).expect("also as much");
        assert!(all.gives_way.is_cancelled());
    }

    /// MC11: four launches of 80 MiB took 966 MB. MF8: who sends slowly has no more room than what is sent.
    #[tokio::test]
    async fn a05_a_large_body_is_charged_for_what_becomes_of_it_once_it_is_there() {
        let bodies = Bodies::new(512 * MIB);
        let sizes = |purse: &Purse| purse.taken().pieces.values().map(|piece| piece.size).collect::<Vec<_>>();
        let _small = bodies.charge(person(1), MIB, came(0)).await.expect("room");
        let _large = bodies.charge(person(1), 66 * MIB, came(0)).await.expect("room");
        assert_eq!((sizes(&bodies.small), sizes(&bodies.large)), (vec![MIB], vec![66 * MIB]));
        let other = bodies.charge(person(2), 67 * MIB, came(0)).await.expect("room beside it");
        assert!(bodies.becoming(person(1), MIB).await.expect("nothing").is_none());
        let whole = bodies.becoming(person(2), 67 * MIB).await.expect("room");
        assert_eq!(sizes(&bodies.becoming), [67 * MIB * BECOMES]);
        assert!(at_once(&bodies.becoming, administrator(), 200 * MIB, true).is_none(), "it is waited for");
        drop((other, whole));
        assert!(sizes(&bodies.becoming).is_empty());
        bodies.becoming(person(3), 4096 * MIB).await.expect("what is too large is alone");
    }
}
