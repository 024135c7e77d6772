//! What clients keep for their user over the API.

use ::api::user::{Setting, UserSettings};
use axum::Json;
use axum::extract::State;
use domain::authz::{Act, ChangeSettings, Permit, SeeSettings, authorize};
use domain::id::UserId;
use master::Error;
use master::account::NOT_FOUND;
use serde_json::{Value, json};

use crate::App;
use crate::extract::User;
use crate::late::Body;
use crate::respond::{Answer, Failure};

fn own<A: Act<Target = UserId>>(User(caller): &User) -> Result<Permit<A>, Failure> {
    let permit = authorize::<A>(&caller.actor, caller.actor.user);
    permit.map_err(|refusal| Failure(Error::refused(refusal, NOT_FOUND.to_owned())))
}

pub(crate) async fn list(State(app): State<App>, caller: User) -> Answer<UserSettings> {
    let settings = app.master.settings.list(own::<SeeSettings>(&caller)?).await?;
    let shown = |setting: domain::setting::Setting| Setting {
        key: setting.key,
        storage_path: setting.path,
        value: setting.value,
    };
    Ok(Json(UserSettings { settings: settings.into_iter().map(shown).collect() }))
}

pub(crate) async fn set(State(app): State<App>, caller: User, request: Body<UserSettings>) -> Answer<Value> {
    let permit = own::<ChangeSettings>(&caller)?;
    let taken = |setting: Setting| domain::setting::Setting {
        path: setting.storage_path,
        key: setting.key,
        value: setting.value,
    };
    let changes = request.after(&permit).await?.settings.into_iter().map(taken).collect();
    app.master.settings.set(permit, changes).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn reset(State(app): State<App>, caller: User) -> Answer<Value> {
    app.master.settings.reset(own::<ChangeSettings>(&caller)?).await?;
    Ok(Json(json!({})))
}

/// Which project a person looks at: Muster keeps no track of people.
pub(crate) async fn activity(User(_): User) -> Json<Value> {
    Json(json!({}))
}
