//! The web pages: one module per noun, with its templates in the directory of the same name; the shell around them all,
//! and the files that they load. Handlers read through the same services and the same policy as the API's.

pub(crate) mod account;
pub(crate) mod asset;
pub(crate) mod command;
pub(crate) mod display;
pub(crate) mod log;
pub(crate) mod page;
pub(crate) mod redirect;
pub(crate) mod register;
pub(crate) mod session;
pub(crate) mod shell;

use axum::response::Redirect;

use crate::access::Access;
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/det", Access::Public, det),
        Endpoint::get("/det/", Access::Public, det),
        Endpoint::get("/", Access::Page, home),
    ]
}

/// There is no dashboard: the first tab is the first page. Determined's clients print `/det` addresses.
pub(crate) async fn home() -> Redirect {
    Redirect::to("/commands")
}

/// `/det` and `/det/`: where Determined's own pages began.
pub(crate) async fn det() -> Redirect {
    Redirect::to("/")
}
