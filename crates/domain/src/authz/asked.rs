//! Which acts the policy was asked for: for tests, which hold a route's row against what its handler does.

use std::cell::RefCell;

use super::{Act, name};

thread_local! {
    static ASKED: RefCell<Option<Vec<&'static str>>> = const { RefCell::new(None) };
}

/// Does something, and gives the names of the acts that [`super::authorize`] was asked for on this thread meanwhile.
pub fn during<T>(work: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
    let outer = ASKED.replace(Some(Vec::new()));
    let done = work();
    (done, ASKED.replace(outer).unwrap_or_default())
}

pub(super) fn note<A: Act>() {
    ASKED.with_borrow_mut(|asked| {
        if let Some(asked) = asked {
            asked.push(name::<A>());
        }
    });
}
