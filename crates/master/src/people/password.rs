//! Hashing of passwords: argon2id, a bounded number at a time, the same time for unknown names.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version, password_hash};
use domain::audit::By;
use domain::password::Sent;
use domain::throttle::Origin;
use domain::user::Password;
use tokio::sync::oneshot;

use crate::fair::Fair;
pub use crate::fair::Lane;
use crate::secret::client_transform;
use crate::system::Entropy;
use crate::unbroken::while_there;
use crate::{Error, secret};

/// KiB of memory for one hash.
const MEMORY_KIB: u32 = 19_456;
/// Passes over it.
const PASSES: u32 = 2;
const ALGORITHM: Algorithm = Algorithm::Argon2id;
const VERSION: Version = Version::V0x13;
/// After so long without work a thread gives its memory back.
const IDLE: Duration = Duration::from_secs(5);
/// What is at least so large in bytes is a mapping of its own to the allocator, which is gone once it is freed; smaller
/// ones, of which a mapping is freed, are kept for the next time (`mallopt(3)`, `M_MMAP_THRESHOLD`). Only what is used of
/// it takes memory.
const OWN_MAPPING: usize = 33 << 20;
/// Hashes in each lane that wait for their turn; who comes on top of these is told to come again (R21). A second or two of
/// work.
const WAITING: usize = 64;
/// How much the hashing threads step back behind everything else (R21). Not the most: on a machine that is busy with
/// tasks, logging in must still go on.
const NICENESS: i32 = 10;

/// A password as it came: text or its client-side transform.
#[derive(Clone)]
pub struct Presented(String);

impl Presented {
    /// Takes what a client sent. Absent and empty are the blank password.
    #[must_use]
    pub fn new(password: Option<String>, is_hashed: bool) -> Self {
        let password = password.unwrap_or_default();
        Self(if is_hashed { password } else { client_transform(&password) })
    }

    /// To tell it from others.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// Whether it is the blank one.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&Sent> for Presented {
    fn from(sent: &Sent) -> Self {
        Self::new(Some(sent.text.clone()), sent.is_hashed)
    }
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented(…)")
    }
}

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

impl Lane {
    /// That of who asks for a change.
    pub(crate) fn of(by: &By) -> Self {
        match by {
            By::Account { username, .. } | By::Task { username, .. } => Self::Known(secret::digest(username)),
            By::Anonymous { address } => Self::Stranger(Origin::of(*address)),
            _ => Self::ours(),
        }
    }

    /// That of the master itself.
    pub(crate) fn ours() -> Self {
        Self::Known("the master".to_owned())
    }
}

/// What waits.
struct Waiting {
    turns: Fair<Work>,
    /// No more will come.
    over: bool,
}

struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    fn new() -> Self {
        let waiting = Waiting { turns: Fair::new(WAITING), over: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the threads when it is dropped.
struct Owner(Arc<Queue>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.waiting().over = true;
        self.0.changed.notify_all();
    }
}

/// Makes and checks hashes, on threads of their own: as many as there are processors, and less urgent than what answers
/// requests. They end with the last clone of this value.
#[derive(Clone)]
pub struct Hasher {
    owner: Arc<Owner>,
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher {
    /// As many hashes at a time as there are processors.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let queue = Arc::new(Queue::new());
        for _ in 0..cores {
            let queue = Arc::clone(&queue);
            let started = std::thread::Builder::new().name("hash".to_owned()).spawn(move || run(&queue));
            if let Err(error) = started {
                tracing::error!(%error, "a thread for hashing passwords could not be started");
            }
        }
        Self { owner: Arc::new(Owner(queue)) }
    }

    async fn turn<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |memory| {
            // Nothing is done for who has left meanwhile.
            if !answer.is_closed() {
                let _ = answer.send(work(memory));
            }
        });
        let queue = &self.owner.0;
        let too_much = queue.waiting().turns.push(lane, work);
        queue.changed.notify_one();
        drop(too_much);
        // It was too much then or later, when others came who wait for less.
        while_there(answered).await.and_then(Result::ok).ok_or_else(busy)
    }

    /// The stored form of a new password.
    ///
    /// # Errors
    /// When too many wait for their turn.
    pub async fn store(
        &self,
        presented: Presented,
        lane: Lane,
        entropy: &dyn Entropy,
    ) -> Result<Password, Error> {
        if presented.is_blank() {
            return Ok(Password::Blank);
        }
        let salt = entropy.bytes();
        let hash = self
            .turn(lane, move |memory| -> password_hash::Result<String> {
                let params = Params::new(MEMORY_KIB, PASSES, 1, None)?;
                let salt = Salt::new(salt.get(..16).unwrap_or_default())?;
                let hash = memory.hash(params.clone(), presented.0.as_bytes(), &salt)?;
                let (version, params) = (Some(VERSION.into()), ParamsString::try_from(&params)?);
                let (salt, hash) = (Some(salt), Some(hash));
                Ok(PasswordHash { algorithm: ALGORITHM.ident(), version, params, salt, hash }.to_string())
            })
            .await?;
        hash.map(Password::Hash).map_err(|e| Error::Io {
            what: "hashing a password",
            source: std::io::Error::other(e.to_string()),
        })
    }

    /// Whether a password is the stored one. `None` stands for an account that isn't there: it takes as long as one
    /// that is (R17).
    ///
    /// # Errors
    /// When too many wait for their turn.
    pub async fn check(
        &self,
        stored: Option<Password>,
        presented: Presented,
        lane: Lane,
    ) -> Result<bool, Error> {
        let hash = match stored {
            Some(Password::Blank) if presented.is_blank() => return Ok(true),
            Some(Password::Hash(hash)) => Some(hash),
            _ => None,
        };
        self.turn(lane, move |memory| {
            let real = hash.is_some();
            let text = hash.unwrap_or_else(|| DUMMY.to_owned());
            let matches = memory.verify(presented.0.as_bytes(), &text).unwrap_or(false);
            // A dummy's match is still a refusal (R27).
            matches && real
        })
        .await
    }
}

/// What is said to who is too much.
pub(crate) fn busy() -> Error {
    Error::Busy("too many logins at once: try again in a moment".to_owned())
}

/// What each thread does.
fn run(queue: &Queue) {
    // Of this thread alone. Where it isn't allowed, hashing is as urgent as everything else.
    let _ = rustix::process::nice(NICENESS);
    let mut memory = Memory::default();
    loop {
        let mut waiting = queue.waiting();
        let work = loop {
            if let Some(work) = waiting.turns.pop() {
                break work;
            }
            if waiting.over {
                return;
            }
            let woken = queue.changed.wait_timeout(waiting, IDLE).unwrap_or_else(PoisonError::into_inner);
            waiting = woken.0;
            if woken.1.timed_out() {
                memory = Memory::default();
            }
        };
        drop(waiting);
        work(&mut memory);
    }
}

/// What a thread hashes in. Kept from one hash to the next: to get and clear it anew takes a tenth of the time.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    fn hash(&mut self, params: Params, password: &[u8], salt: &[u8]) -> password_hash::Result<Output> {
        if self.0.len() != params.block_count() {
            self.0 = Vec::with_capacity(params.block_count().max(OWN_MAPPING / size_of::<Block>()));
            self.0.resize(params.block_count(), Block::new());
        }
        let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
        let argon2 = Argon2::new(ALGORITHM, VERSION, params);
        argon2.hash_password_into_with_memory(password, salt, &mut out, &mut self.0)?;
        Ok(Output::new(&out)?)
    }

    /// Anything but a hash of our own kind matches nothing (R27).
    fn verify(&mut self, password: &[u8], stored: &str) -> password_hash::Result<bool> {
        let stored = PasswordHash::new(stored)?;
        let ours = stored.algorithm == ALGORITHM.ident() && stored.version == Some(VERSION.into());
        let (Some(salt), Some(expected), true) = (&stored.salt, stored.hash, ours) else {
            return Ok(false);
        };
        // Outputs are compared in constant time.
        Ok(self.hash(Params::try_from(&stored)?, password, salt)? == expected)
    }
}

/// A well-formed hash that no password has: salt and digest are all zeros.
const DUMMY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemEntropy;

    #[tokio::test]
    async fn r20_passwords_are_compared_whole() {
        let hasher = Hasher::new();
        let long = "x".repeat(99);
        let presented = |end: char| Presented::new(Some(format!("{long}{end}")), false);
        let stored = hasher.store(presented('a'), Lane::ours(), &SystemEntropy).await.expect("hashed");
        assert!(hasher.check(Some(stored.clone()), presented('a'), Lane::ours()).await.expect("checked"));
        assert!(!hasher.check(Some(stored), presented('b'), Lane::ours()).await.expect("checked"));
    }

    #[tokio::test]
    async fn blank_matches_blank_only() {
        let hasher = Hasher::new();
        let blank = || Presented::new(None, false);
        let text = || Presented::new(Some("a quiet lake".to_owned()), false);
        assert!(hasher.check(Some(Password::Blank), blank(), Lane::ours()).await.expect("checked"));
        for (stored, presented) in [
            (Some(Password::Blank), text()),
            (Some(Password::Impossible), blank()),
            (None, blank()),
            (None, text()),
        ] {
            assert!(!hasher.check(stored, presented, Lane::ours()).await.expect("checked"));
        }
        assert!(PasswordHash::new(DUMMY).is_ok());
    }
}
