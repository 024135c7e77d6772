//! By which number machines know a task's account: whoever is in its tasks is an id by it, and what they leave on disks stays
//! that id's (F10, T6). It is drawn, and kept with the account: so neither two masters nor one whose back-up was restored (P2) give
//! the same to two accounts, but by a chance of one in half a million, and nobody has a say in it, an agent least.

use domain::id::UserId;
use domain::identity::MachineNumber;
use store::Tx;

use crate::Error;
use crate::system::Entropy;

/// How often it is drawn in one go before the account waits: seldom twice, while accounts are less than hundreds of thousands.
const TRIES: usize = 64;

/// Numbers that nobody gets: among their ids are those that earlier versions gave to accounts, one each, 4194304 in all. What
/// their tasks left on machines is nobody's.
const OF_BEFORE: u32 = (1 << 22) / 4096;

/// That of an account, drawn now if it has none. `None` when only numbers were drawn that others have.
pub(super) async fn of(
    tx: &mut Tx,
    owner: UserId,
    entropy: &dyn Entropy,
) -> Result<Option<MachineNumber>, Error> {
    if let Some(known) = store::user::machine_number(tx, owner).await? {
        return Ok(Some(known));
    }
    for _ in 0..TRIES {
        if let Some(drawn) = candidate(entropy.bytes())
            && store::user::set_machine_number(tx, owner, drawn).await?
        {
            return Ok(Some(drawn));
        }
    }
    tracing::error!(%owner, "no number was found by which machines would know this account: its tasks wait");
    Ok(None)
}

/// The number that such bytes tell, if somebody may have it.
fn candidate([a, b, c, d, ..]: [u8; 32]) -> Option<MachineNumber> {
    Some(MachineNumber::drawn([a, b, c, d])).filter(|drawn| drawn.get() >= OF_BEFORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first id of an account's is behind all that accounts had before.
    #[test]
    fn f10_what_earlier_versions_left_on_machines_is_nobodys() {
        let told = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            candidate(bytes).map(MachineNumber::get)
        };
        assert_eq!([0, 7, OF_BEFORE - 1].map(told), [None; 3]);
        assert_eq!(
            [OF_BEFORE, MachineNumber::SPACE - 1].map(told),
            [OF_BEFORE, MachineNumber::SPACE - 1].map(Some)
        );
    }
}
