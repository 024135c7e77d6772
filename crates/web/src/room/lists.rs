//! What an answer costs, and who makes those that grow with the number of things (A5, R47): few at a time in all and fewer
//! for each account, off the threads that answer everybody, and only for who has room for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::id::UserId;
use http_body::Body as _;
use master::Error;
use master::session::Caller;

use crate::access::Access;
use crate::bodies::{Bodies, Came, Charge, Payer};
use crate::extract::Params;
use crate::respond::{Failure, PageFailure};
use crate::server::Holder;
use crate::whole::lost;
use crate::{App, polyaxon};

/// What an answer costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cost {
    /// As much as what was sent and a sum that doesn't depend on how many things there are.
    Bounded,
    /// It grows with the number of things, or with what somebody has stored of one, and is made as a whole: in a turn, once
    /// there is room for it.
    Grows,
    /// It grows, and is written in steps, each of which takes a turn, as the beginning does.
    Steps,
    /// A page of few rows is bounded and made at once, few at a time for each account; all else is as for [`Self::Steps`].
    Pages,
    /// A log or a file, in bounded pieces.
    Pieces,
}

/// Most answers whose size is remembered.
const REMEMBERED: usize = 4096;

/// From this size on, in bytes, an answer's is.
const SMALL: u64 = 64 << 10;

/// How large answers were, by who asked for what. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sizes(Arc<Mutex<HashMap<(UserId, &'static str), u64>>>);

impl Sizes {
    fn of(&self, user: UserId, path: &'static str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&(user, path)).copied().unwrap_or(0)
    }

    fn was(&self, user: UserId, path: &'static str, size: u64) {
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if size <= SMALL {
            sizes.remove(&(user, path));
            return;
        }
        if sizes.len() >= REMEMBERED {
            sizes.clear();
        }
        sizes.insert((user, path), size);
    }
}

/// Room for an answer that isn't made yet: for as much as the last one was, until its own size is known (`answers` settles
/// that).
fn room(bodies: &Bodies, payer: Option<Payer>, expected: u64) -> Result<Option<Charge>, Error> {
    let none: Came = Arc::new(|| 0);
    payer.filter(|_| expected > 0).map(|payer| bodies.keep(payer, expected, &none)).transpose()
}

/// A row that grows.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) app: App,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) cost: Cost,
}

/// Most rows of a page that is made at once, …
const FEW: i64 = 50;
/// … and of those that are passed over before it (MF13).
const NEAR: i64 = 1000;

/// Whether a page of few rows is asked for that isn't far down.
fn asks_for_few(uri: &Uri) -> bool {
    let number = |name: &str| Params::of(uri).and_then(|params| params.parse::<i64>(name));
    matches!((number("limit"), number("offset")), (Ok(Some(1..=FEW)), Ok(None | Some(0..=NEAR))))
}

/// Makes the answer of a row that grows, or begins it.
pub(crate) async fn in_turn(
    State(Listing { app, path, access, cost }): State<Listing>,
    request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>();
    let Some((user, admin)) = caller.map(|caller| (caller.actor.user, caller.actor.admin)) else {
        return next.run(request).await;
    };
    let told = |error| match access {
        Access::Page => PageFailure::from(error).respond(),
        Access::Polyaxon => polyaxon::Refusal::from(error).into_response(),
        _ => Failure(error).into_response(),
    };
    if cost == Cost::Pages && asks_for_few(request.uri()) {
        let made = app.pages.make_little(user, next.run(request)).await;
        return made.unwrap_or_else(|error| told(lost(error)));
    }
    let (bodies, sizes) = (app.bodies.clone(), app.sizes.clone());
    let making = async move {
        let payer = Payer::of(Holder::Account { user, admin });
        let room = room(&bodies, payer, sizes.of(user, path))?;
        let response = next.run(request).await;
        drop(room);
        sizes.was(user, path, response.body().size_hint().exact().unwrap_or(0));
        Ok(response)
    };
    let made = app.searches.make(user, making).await.map_err(lost).flatten();
    made.unwrap_or_else(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/api/v1/users";

    #[tokio::test]
    async fn a05_who_has_no_room_has_nothing_made() {
        let (bodies, sizes) = (Bodies::new(1 << 30), Sizes::default());
        let [alice, bob] = [UserId(1), UserId(2)];
        let payer = |user| Payer::of(Holder::Account { user, admin: false });
        let begins = |user| room(&bodies, payer(user), sizes.of(user, PATH));
        assert!(begins(alice).expect("nothing is known yet").is_none());
        sizes.was(alice, PATH, 5 << 20);
        sizes.was(bob, PATH, 5 << 20);
        let held: Vec<_> = (0..3).map(|_| begins(alice).expect("her share")).collect();
        assert!(begins(alice).is_err(), "before a fourth is made");
        drop(begins(bob).expect("for others"));
        drop(held);
        begins(alice).expect("room again");
        sizes.was(alice, PATH, 100);
        assert!(begins(alice).expect("small ones need none").is_none());
    }

    #[test]
    fn a_page_of_few_rows_is_told_from_all_else() {
        let few = |query: &str| asks_for_few(&format!("{PATH}?{query}").parse().expect("an address"));
        assert!(few("limit=1") && few("offset=7&limit=50") && few("limit=&limit=10"));
        // What comes first counts, as for who reads it.
        for more in [
            "",
            "limit=",
            "limit=0",
            "limit=-1",
            "limit=51",
            "limit=x",
            "limit=51&limit=1",
            "limit=9&offset=1001",
        ] {
            assert!(!few(more), "{more}");
        }
    }
}
