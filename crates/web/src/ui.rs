//! The web pages.

use axum::response::Redirect;

pub(crate) async fn home() -> Redirect {
    Redirect::to("/commands")
}
