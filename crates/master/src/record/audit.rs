//! The audit log: changes are written by their services, in the change's own transaction; refusals are written here, a
//! moment later, so that who is refused can't make others wait.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::audit::{Broken, By, Chain, Entry, Spender, Who};
use domain::authz::{Permit, ReadAudit, System};
use domain::id::UserId;
use domain::user::{Password, User};
use serde_json::{Value, json};
use store::Store;
pub use store::audit::{Filter as AuditFilter, Line};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::system::Clock;

/// Refusals that wait to be written; more than that at once are only counted.
const WAITING: usize = 4096;
/// Refusals of one account or address that are written out each minute; more are only counted.
const PER_MINUTE: u64 = 60;
/// Refusals of all who aren't known that are written out each minute, however many addresses they have: the log is kept
/// for long (KX4).
const OF_STRANGERS: u64 = 120;
/// Of these, how many may be about accounts that aren't there: names can be invented, so they would hide what is tried with
/// those that are (KX4).
const OF_NO_ACCOUNT: u64 = OF_STRANGERS / 4;
/// Accounts that have an entry of their own each minute about what wasn't written, those first that it was most often about.
const ACCOUNTS: usize = 20;
/// Networks that such an entry names, those first that it came from most often.
const NETWORKS: usize = 8;
/// Accounts and networks that are told apart while a minute lasts.
const TOLD_APART: usize = 4096;
/// A request that was stopped before its handler. Of those with credentials that are nobody's there is only a number.
pub const STOPPED: &str = "request.refuse";
/// Entries that are read at once to verify them.
const BATCH: i64 = 1000;

/// The audit log.
#[derive(Clone)]
pub struct Audit {
    store: Store,
    clock: Arc<dyn Clock>,
    refusals: mpsc::Sender<Entry>,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Audit")
    }
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Up to where the log is sound.
    pub chain: Chain,
    /// What is wrong behind that.
    pub broken: Option<Broken>,
}

impl Audit {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Entry>) {
        let (refusals, receiver) = mpsc::channel(WAITING);
        (Self { store, clock, refusals }, receiver)
    }

    /// Whether an account may change something now that is written down, asked before anything is done for it (KX4).
    ///
    /// # Errors
    /// When it has made the log grow too fast.
    pub fn may_change(&self, user: UserId) -> Result<(), Error> {
        Ok(self.store.may_grow(Spender::Change(user), self.clock.now())?)
    }

    /// Notes that something was not allowed. Never waits.
    pub fn refused(&self, by: &By, action: &'static str, target: Who, reason: String) {
        if self.refusals.try_send(Entry::refused(by, action, target, reason)).is_err() {
            tracing::warn!("more refusals at once than the audit log takes");
        }
    }

    /// The entries that match: after number `after`, oldest first; or before it, newest first.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn list(
        &self,
        _permit: &Permit<ReadAudit>,
        filter: &AuditFilter,
        after: i64,
        newest_first: bool,
        limit: i64,
    ) -> Result<Vec<Line>, Error> {
        let mut conn = self.store.read().await?;
        Ok(store::audit::list(&mut conn, filter, after, newest_first, limit).await?)
    }

    /// Whether a reader who has got to number `after` lacks what came next: it was removed while they read (`retention`).
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn is_cut(&self, _permit: &Permit<ReadAudit>, after: i64) -> Result<bool, Error> {
        let oldest = store::audit::oldest(&mut self.store.read().await?).await?;
        Ok(after > 0 && oldest.is_some_and(|(seq, _)| seq > after + 1))
    }

    /// Goes through the whole log and checks that nothing was changed, taken out or put in.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn verify(&self, permit: &Permit<ReadAudit>) -> Result<Verified, Error> {
        loop {
            let verified = self.verify_once().await?;
            // Begun before something was removed, it lacks that.
            if verified.broken.is_none() || !self.is_cut(permit, verified.chain.count).await? {
                return Ok(verified);
            }
        }
    }

    async fn verify_once(&self) -> Result<Verified, Error> {
        let mut chain = Chain::default();
        loop {
            let mut conn = self.store.read().await?;
            let all = AuditFilter::default();
            let lines = store::audit::list(&mut conn, &all, chain.count, false, BATCH).await?;
            drop(conn);
            if lines.is_empty() {
                let broken = chain.whole().err();
                return Ok(Verified { chain, broken });
            }
            for line in lines {
                let seq = line.seq;
                let broken = match chain.follow(&line.body, &line.hash) {
                    Ok(record) if line.fits(&record) => continue,
                    Ok(_) => Broken::Changed { seq },
                    Err(broken) => broken,
                };
                return Ok(Verified { chain, broken: Some(broken) });
            }
        }
    }

    /// Writes refusals until the master stops; those that are waiting then are written too.
    pub(crate) async fn keep(
        self,
        mut receiver: mpsc::Receiver<Entry>,
        system: System,
        stop: CancellationToken,
    ) {
        let by = system.by("too many refusals in a minute to write them all");
        let mut minute = tokio::time::interval(Duration::from_secs(60));
        let mut counts = Counts::default();
        let mut batch = Vec::new();
        loop {
            let mut over = false;
            tokio::select! {
                _ = receiver.recv_many(&mut batch, 256) => {}
                _ = minute.tick() => batch.extend(counts.over(&by)),
                () = stop.cancelled() => {
                    receiver.close();
                    while let Ok(entry) = receiver.try_recv() {
                        batch.push(entry);
                    }
                    over = true;
                }
            }
            batch.retain(|entry| counts.take(entry));
            if over {
                batch.extend(counts.over(&by));
            }
            if let Err(error) = self.write(&batch).await {
                tracing::error!(%error, refusals = batch.len(), "the audit log could not be written");
            }
            batch.clear();
            if over {
                return;
            }
        }
    }

    async fn write(&self, entries: &[Entry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.write_urgent().await?;
        for entry in entries {
            store::audit::append(&mut tx, entry, self.clock.now()).await?;
        }
        tx.commit_unaudited("the entries are the change").await?;
        Ok(())
    }
}

/// What was refused within a minute.
#[derive(Default)]
struct Counts {
    by: HashMap<String, u64>,
    /// Of strangers: what was written, and what of that was about nobody.
    written: u64,
    about_nobody: u64,
    /// And what wasn't: in all, and about each account.
    omitted: Omitted,
    about: HashMap<String, (Who, Omitted)>,
}

/// What wasn't written, and from which networks it came.
#[derive(Default)]
struct Omitted {
    count: u64,
    from: HashMap<String, u64>,
}

impl Omitted {
    fn add(&mut self, network: &str) {
        self.count += 1;
        if self.from.len() < TOLD_APART || self.from.contains_key(network) {
            *self.from.entry(network.to_owned()).or_default() += 1;
        }
    }

    /// As an entry about `target`.
    fn entry(self, by: &By, target: Who) -> Entry {
        let mut from: Vec<_> = self.from.into_iter().collect();
        from.sort_unstable_by(|(one, few), (other, many)| many.cmp(few).then_with(|| one.cmp(other)));
        from.truncate(NETWORKS);
        omitted_entry(
            by,
            target,
            json!({ "count": self.count, "from": from.into_iter().collect::<HashMap<_, _>>() }),
        )
    }
}

/// The widest network that one may have, as far as its form tells.
fn network(by: &By) -> String {
    let By::Anonymous { address: Some(address) } = by else { return "unknown".to_owned() };
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            format!("{a}.{b}.0.0/16")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

impl Counts {
    /// Whether an entry is written out. Of strangers, nothing else is kept than is written, so that they can't make this
    /// grow either.
    fn take(&mut self, entry: &Entry) -> bool {
        if matches!(entry.by(), By::System { .. }) {
            return true;
        }
        if !entry.is_strangers() {
            let count = self.by.entry(entry.whose()).or_default();
            *count += 1;
            return *count <= PER_MINUTE;
        }
        let nobody = entry.target().id.is_empty();
        let room = self.written < OF_STRANGERS && !(nobody && self.about_nobody >= OF_NO_ACCOUNT);
        if entry.action() != STOPPED && room {
            let count = self.by.entry(entry.whose()).or_default();
            if *count < PER_MINUTE {
                *count += 1;
                self.written += 1;
                self.about_nobody += u64::from(nobody);
                return true;
            }
        }
        let network = network(entry.by());
        self.omitted.add(&network);
        let (target, key) = (entry.target(), entry.target().key());
        let is_account = target.kind == "user" && !target.id.is_empty();
        if is_account && (self.about.len() < TOLD_APART || self.about.contains_key(&key)) {
            let about = self.about.entry(key).or_insert_with(|| (target.clone(), Omitted::default()));
            about.1.add(&network);
        }
        false
    }

    /// The minute is over: what wasn't written.
    fn over(&mut self, by: &By) -> Vec<Entry> {
        let all = std::mem::take(self);
        let of = |who: &str| Who::named("refusals", &who, "");
        let more = |(who, count): (String, u64)| (who, count.saturating_sub(PER_MINUTE));
        let known = all.by.into_iter().map(more).filter(|(_, count)| *count > 0);
        let known = known.map(|(who, count)| omitted_entry(by, of(&who), json!({ "count": count })));
        let mut about: Vec<_> = all.about.into_values().collect();
        about.sort_unstable_by_key(|(who, omitted)| (Reverse(omitted.count), who.key()));
        about.truncate(ACCOUNTS);
        let strangers = std::iter::once((of("anonymous"), all.omitted)).filter(|(_, all)| all.count > 0);
        let strangers = strangers.chain(about).map(|(who, omitted)| omitted.entry(by, who));
        known.chain(strangers).collect()
    }
}

fn omitted_entry(by: &By, target: Who, facts: Value) -> Entry {
    Entry::done(by, "audit.omit", target).made(facts)
}

/// An account as an entry's target.
pub(crate) fn account(user: &User) -> Who {
    Who::named("user", &user.id, &user.username)
}

/// What an entry says of an account: all but secrets.
pub(crate) fn account_facts(user: &User) -> Value {
    json!({
        "username": user.username,
        "displayName": user.display_name,
        "email": user.email,
        "admin": user.admin,
        "status": user.status,
        "remote": user.remote,
        "service": user.service,
        "deleted": user.deleted_at.is_some(),
        "unixIdentity": user.identity.as_ref().map(ToString::to_string),
        "password": match user.password {
            Password::Blank => "blank",
            Password::Hash(_) => "set",
            Password::Impossible => "none",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> By {
        System::at_start().by("a test")
    }

    fn stranger(address: [u16; 8], action: &'static str) -> Entry {
        guess(address, action, "7")
    }

    /// By a stranger, at an account.
    fn guess(address: [u16; 8], action: &'static str, id: &str) -> Entry {
        let by = By::Anonymous { address: Some(IpAddr::from(address)) };
        Entry::refused(&by, action, Who::named("user", &id, ""), "wrong password".to_owned())
    }

    #[test]
    fn r47_names_that_are_not_there_hide_no_guess_at_those_that_are() {
        let mut counts = Counts::default();
        let taken = |counts: &mut Counts, entry: &Entry| counts.take(entry);
        let at = |n| [10, n, 0, 0, 0, 0, 0, 1];
        let invented = (0..500).filter(|n| taken(&mut counts, &guess(at(*n), "session.open", ""))).count();
        assert_eq!(invented, 30, "a quarter of the sum");
        assert!(taken(&mut counts, &guess(at(1000), "session.open", "5")), "room for an account");
        while taken(&mut counts, &guess(at(1001), "session.open", "6")) {}
        while taken(&mut counts, &guess(at(1002), "session.open", "6")) {}
        for n in 0..8 {
            assert!(!taken(&mut counts, &guess([0x2001, 0xdb8, n / 4, 9, 9, 9, 9, n], "session.open", "5")));
        }
        let entries: Vec<_> = counts.over(&ours()).iter().map(|entry| format!("{entry:?}")).collect();
        let victim = entries.iter().find(|entry| entry.contains("kind: \"user\", id: \"5\""));
        let victim = victim.expect("what was tried with account 5 is told");
        assert!(victim.contains("\"count\": Number(8)"), "{victim}");
        assert!(victim.contains("2001:db8:0::/48") && victim.contains("2001:db8:1::/48"), "{victim}");
        // However many there are, a minute has few entries, and each is small.
        for n in 0..9000 {
            counts.take(&guess([n, n, n, n, 0, 0, 0, 1], "session.open", &n.to_string()));
        }
        let entries = counts.over(&ours());
        assert!(entries.len() <= 1 + ACCOUNTS, "{}", entries.len());
    }

    #[test]
    fn r47_strangers_cannot_make_the_log_grow() {
        let mut counts = Counts::default();
        let taken = |counts: &mut Counts, address, action| counts.take(&stranger(address, action));
        let one = (0..100).filter(|n| taken(&mut counts, [1, 2, 3, 4, *n, 0, 0, 1], "session.open")).count();
        assert_eq!(one, 60, "a network is one");
        let all =
            (0..1000).filter(|n| taken(&mut counts, [1, 2, 3, 5 + n, 0, 0, 0, 1], "session.open")).count();
        assert_eq!(all, 60, "and there is a sum");
        assert!(!taken(&mut counts, [9; 8], STOPPED), "these are only counted");
        assert!(counts.by.len() <= 61);
        let known = By::Task {
            task: domain::id::TaskId(uuid::Uuid::nil()),
            owner: domain::id::UserId(1),
            username: "alice".to_owned(),
            address: None,
        };
        let known = Entry::refused(&known, STOPPED, Who::named("route", &"", ""), String::new());
        assert_eq!((0..70).filter(|_| counts.take(&known)).count(), 60, "who is known has their own number");
        let mut omitted: Vec<_> = counts.over(&ours()).iter().map(|entry| format!("{entry:?}")).collect();
        omitted.sort_unstable();
        assert_eq!(
            omitted.len(),
            3,
            "of all strangers, of their guesses at one account, of who is known: {omitted:?}"
        );
        assert!(
            omitted.iter().any(|entry| entry.contains("anonymous") && entry.contains("981")),
            "{omitted:?}"
        );
        assert!(counts.over(&ours()).is_empty());
    }
}
