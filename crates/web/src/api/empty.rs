//! Lists of what Muster doesn't run yet: Determined's clients ask for them, and get empty ones.

use ::api::job::{NoExperiments, NoNotebooks, NoShells, NoTensorboards};
use ::api::page::{PageQuery, Pagination};
use axum::Json;

use crate::access::Access;
use crate::extract::{User, paged};
use crate::query::Asked;
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/notebooks", Access::User, notebooks)
            .says("An empty list: these don't run yet")
            .query::<PageQuery>()
            .answers::<NoNotebooks>(),
        Endpoint::get("/api/v1/tensorboards", Access::User, tensorboards)
            .says("An empty list: these don't run yet")
            .query::<PageQuery>()
            .answers::<NoTensorboards>(),
        Endpoint::get("/api/v1/shells", Access::User, shells)
            .says("An empty list: these don't run yet")
            .query::<PageQuery>()
            .answers::<NoShells>(),
        Endpoint::get("/api/v1/experiments", Access::User, experiments)
            .says("An empty list: these don't run yet")
            .answers::<NoExperiments>(),
    ]
}

fn page(query: PageQuery) -> Result<Pagination, Failure> {
    let (pagination, _, _) = paged(query)(0)?;
    Ok(pagination)
}

async fn notebooks(User(_): User, Asked(query): Asked<PageQuery>) -> Answer<NoNotebooks> {
    Ok(Json(NoNotebooks { notebooks: Vec::new(), pagination: page(query)? }))
}

async fn tensorboards(User(_): User, Asked(query): Asked<PageQuery>) -> Answer<NoTensorboards> {
    Ok(Json(NoTensorboards { tensorboards: Vec::new(), pagination: page(query)? }))
}

async fn shells(User(_): User, Asked(query): Asked<PageQuery>) -> Answer<NoShells> {
    Ok(Json(NoShells { shells: Vec::new(), pagination: page(query)? }))
}

/// An offset beyond the end is no error here (contract "identity", section 9).
async fn experiments(User(_): User) -> Json<NoExperiments> {
    Json(NoExperiments::default())
}
