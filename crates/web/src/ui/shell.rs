//! What stands around every page: the header with its tabs and user menu, and what an administrator is urged to do.

use std::net::SocketAddr;

use askama::Template;
use axum::response::Html;
use master::Error;
use master::session::Caller;

use crate::ui::redirect::login_for;

/// For the templates. Without a caller there is the product's name and nothing to click.
#[derive(Debug, Default)]
pub(crate) struct Shell {
    pub(crate) caller: Option<ShownCaller>,
    pub(crate) urge: Option<Urge>,
    /// What administrators tell everybody.
    pub(crate) message: Option<String>,
}

/// Who asked for the page, as it shows them.
#[derive(Debug)]
pub(crate) struct ShownCaller {
    /// As people call them.
    pub(crate) name: String,
    /// The account's name.
    pub(crate) username: String,
    pub(crate) admin: bool,
    /// Came in without a login (P2).
    pub(crate) is_default: bool,
    /// The login page, which leads back here.
    pub(crate) login: String,
}

/// The first administrator has no password yet (P4).
#[derive(Debug)]
pub(crate) struct Urge {
    /// That account's name.
    pub(crate) admin: String,
    /// Where the master listens, when others can reach it there (R15).
    pub(crate) exposed: Option<SocketAddr>,
}

impl ShownCaller {
    pub(crate) fn of(caller: &Caller, here: &str) -> Self {
        let user = &caller.user;
        let name = if user.display_name.is_empty() { &user.username } else { &user.display_name };
        Self {
            name: name.clone(),
            username: user.username.clone(),
            admin: user.admin,
            is_default: caller.is_default(),
            login: login_for(here),
        }
    }

    /// What stands in the circle.
    pub(crate) fn initial(&self) -> String {
        self.name.chars().next().map(|c| c.to_uppercase().collect()).unwrap_or_default()
    }
}

/// A template's page. Templates write to memory only: failing is a fault of ours.
pub(crate) fn render(template: &impl Template) -> Result<Html<String>, Error> {
    template.render().map(Html).map_err(|e| Error::io("a page")(std::io::Error::other(e)))
}
