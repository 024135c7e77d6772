//! How handlers open what a path or a body names (`master::open`). What is no name of such a thing isn't there.

use std::str::FromStr;

use domain::authz::{Act, Asker, Permit};
use master::Error;
use master::open::{Changed, Key, Opened};

use crate::App;
use crate::access::AnyCaller;

/// What names the things that `A` is done to.
type KeyOf<A> = <<A as Act>::Target as Opened>::Key;

/// Opens the thing that a text names.
///
/// # Errors
/// As [`master::Master::open`].
pub(crate) async fn open<'a, A>(
    app: &App,
    asker: impl Into<Asker<'a>>,
    named: &str,
) -> Result<Permit<A>, Error>
where
    A: Act<Target: Opened<Key: FromStr>>,
{
    let key: KeyOf<A> = key(named)?;
    app.master.open(asker, key).await
}

/// Opens the thing that a text names for some change of it ([`master::Master::open_to_change`]).
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_to_change<'a, A>(
    app: &App,
    asker: impl Into<Asker<'a>>,
    named: &str,
) -> Result<Permit<A>, Error>
where
    A: Act<Target: Changed<Thing: Opened<Key: FromStr>>>,
{
    let key: <<A::Target as Changed>::Thing as Opened>::Key = key(named)?;
    app.master.open_to_change(asker, key).await
}

/// Reads what names a thing (R34).
///
/// # Errors
/// When nothing is named like that.
pub(crate) fn key<K: Key + FromStr>(named: &str) -> Result<K, Error> {
    named.parse().map_err(|_| Error::NotFound(K::missing(&named.escape_debug())))
}

impl<'a> From<&'a AnyCaller> for Asker<'a> {
    fn from(caller: &'a AnyCaller) -> Self {
        match caller {
            AnyCaller::User(caller) => Self::Account(&caller.actor),
            AnyCaller::Task(task) => Self::Task(&task.actor),
        }
    }
}
