//! Lists of what Muster doesn't run yet: Determined's clients ask for them, and get empty ones.

use ::api::page::Pagination;
use axum::Json;
use serde_json::{Value, json};

use crate::extract::{Params, User, paged};
use crate::respond::{Answer, Failure};

fn none(kind: &str, params: &Params) -> Answer<Value> {
    let (pagination, _, _): (Pagination, _, _) = paged(params.page()?)(0).map_err(Failure)?;
    Ok(Json(json!({ kind: [], "pagination": pagination })))
}

pub(crate) async fn notebooks(User(_): User, params: Params) -> Answer<Value> {
    none("notebooks", &params)
}

pub(crate) async fn tensorboards(User(_): User, params: Params) -> Answer<Value> {
    none("tensorboards", &params)
}

pub(crate) async fn shells(User(_): User, params: Params) -> Answer<Value> {
    none("shells", &params)
}

/// An offset beyond the end is no error here (contract "identity", section 9).
pub(crate) async fn experiments(User(_): User) -> Json<Value> {
    Json(json!({ "experiments": [], "pagination": Pagination::default() }))
}
