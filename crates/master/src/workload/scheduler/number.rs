//! By which number machines know a task's account: whoever is in its tasks is an id by it, and what they leave on disks stays
//! that id's (F10, T6). It is drawn, and kept with the account: so neither two masters nor one whose back-up was restored (KP2) give
//! the same to two accounts, but by a chance of one in half a million, and nobody has a say in it, an agent least.

use domain::id::UserId;
use domain::identity::MachineNumber;
use store::Tx;

use crate::Error;
use crate::system::Entropy;

/// How often it is drawn in one go before the account waits: seldom twice, while accounts are less than hundreds of thousands.
const TRIES: usize = 64;

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
        let [a, b, c, d, ..] = entropy.bytes();
        let drawn = MachineNumber::drawn([a, b, c, d]);
        if store::user::set_machine_number(tx, owner, drawn).await? {
            return Ok(Some(drawn));
        }
    }
    tracing::error!(%owner, "no number was found by which machines would know this account: its tasks wait");
    Ok(None)
}
