//! Access tokens over the API.

use ::api::token::{
    ACCESS_TOKEN, CreateToken, CreatedToken, ListTokens, PatchToken, PatchedToken, TokenInfo, TokenQuery,
};
use axum::Json;
use axum::extract::{Path, State};
use domain::authz::{self, ChangeToken, SeeTokens, SeeUser};
use domain::id::{TokenId, UserId};
use domain::time::Timestamp;
use domain::token::{Scope, Token};
use master::Error;
use master::open::{AccountName, may};
use master::token::{NewToken, SortBy, TokenFilter};

use crate::App;
use crate::access::Access;
use crate::extract::{User, check_count, paged};
use crate::late::{Body, Query};
use crate::open::open;
use crate::query::{is_descending, page};
use crate::respond::{Answer, Failure};
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/tokens", Access::User, list)
            .says("Access tokens: one's own, for administrators everybody's")
            .grows()
            .asks::<SeeTokens>()
            .may_ask::<SeeUser>()
            .query::<TokenQuery>()
            .answers::<ListTokens>(),
        Endpoint::post("/api/v1/tokens", Access::User, create)
            .says("Make an access token; no other answer holds its secret")
            .asks::<domain::authz::CreateToken>()
            .takes::<CreateToken>()
            .answers::<CreatedToken>(),
        Endpoint::patch("/api/v1/tokens/{token}", Access::User, patch)
            .says("Say anew what an access token is for, or revoke it")
            .ends()
            .asks::<ChangeToken>()
            .takes::<PatchToken>()
            .answers::<PatchedToken>(),
    ]
}

fn shown(token: Token) -> TokenInfo {
    TokenInfo {
        id: token.id.0,
        user_id: token.user.0,
        username: token.username,
        expiry: token.expires_at.rfc3339(),
        created_at: token.created_at.rfc3339(),
        token_type: ACCESS_TOKEN.to_owned(),
        revoked: token.revoked_at.is_some(),
        description: token.description,
        scope: token.scope.as_str().to_owned(),
        last_used_at: token.last_used_at.map(Timestamp::rfc3339),
    }
}

fn scope(text: Option<&str>) -> Result<Scope, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Scope::Full) };
    let unknown = || Error::Invalid(format!("scope: '{}' is neither read nor full", text.escape_debug()));
    Scope::parse(text).ok_or_else(|| Failure(unknown()))
}

pub(crate) async fn create(
    State(app): State<App>,
    User(caller): User,
    request: Body<CreateToken>,
) -> Answer<CreatedToken> {
    // For oneself, if not for whom it says.
    let permit = may::<authz::CreateToken>(&caller, (*caller.user).clone())?;
    let request = request.after(&permit).await?;
    let new = NewToken {
        lifespan: request.lifespan,
        description: request.description.unwrap_or_default(),
        scope: scope(request.scope.as_deref())?,
    };
    let user = UserId(request.user_id.unwrap_or(caller.actor.user.0));
    let permit = app.master.open::<authz::CreateToken>(&caller, user).await?;
    let issued = app.master.tokens.create(permit, new).await?;
    let (token, token_id) = (issued.secret, issued.token.id.0);
    Ok(Json(CreatedToken { token, token_id, token_info: shown(issued.token) }))
}

/// Without a user these are everybody's for administrators, and one's own for others.
pub(crate) async fn list(
    State(app): State<App>,
    User(caller): User,
    query: Query<TokenQuery>,
) -> Answer<ListTokens> {
    let query = query.unasked("whose they are is in it").await?;
    let whose = match query.username {
        Some(name) => {
            let named = app.master.open::<SeeUser>(&caller, AccountName(name)).await?;
            Some(named.target().id)
        }
        None => (!caller.actor.admin).then_some(caller.actor.user),
    };
    let permit = may::<SeeTokens>(&caller, whose)?;
    let ids: Result<Vec<TokenId>, _> = query.token_ids.iter().map(|text| text.parse()).collect();
    let ids = ids.map_err(|error| Error::Invalid(format!("tokenIds: {error}")))?;
    check_count(ids.len())?;
    let filter = TokenFilter {
        ids,
        sort: sort_by(query.sort_by.as_deref().unwrap_or("")),
        descending: is_descending(query.order_by.as_deref()),
        ..TokenFilter::default()
    };
    let show_inactive = query.show_inactive.unwrap_or(false);
    let page = paged(page(query.offset, query.limit));
    let (tokens, pagination) = app.master.tokens.list(permit, filter, show_inactive, page).await?;
    Ok(Json(ListTokens { token_info: tokens.into_iter().map(shown).collect(), pagination }))
}

fn sort_by(text: &str) -> SortBy {
    match text.trim_start_matches("SORT_BY_") {
        "USER_ID" => SortBy::User,
        "EXPIRY" => SortBy::Expiry,
        "CREATED_AT" => SortBy::CreatedAt,
        "REVOKED" => SortBy::Revoked,
        "DESCRIPTION" => SortBy::Description,
        // All are of one type.
        _ => SortBy::Id,
    }
}

pub(crate) async fn patch(
    State(app): State<App>,
    User(caller): User,
    Path(token): Path<String>,
    change: Body<PatchToken>,
) -> Answer<PatchedToken> {
    let permit = open::<ChangeToken>(&app, &caller, &token).await?;
    let change = change.after(&permit).await?;
    let revoke = change.set_revoked.unwrap_or(false);
    let changed = app.master.tokens.change(permit, change.description, revoke).await?;
    Ok(Json(PatchedToken { token_info: shown(changed) }))
}
