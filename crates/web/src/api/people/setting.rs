//! What clients keep for their user over the API.

use ::api::user::{Setting, UserSettings};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::State;
use domain::authz::{Act, ChangeSettings, Permit, SeeSettings};
use domain::id::UserId;
use master::Error;
use master::open::may;

use crate::App;
use crate::access::Access;
use crate::extract::User;
use crate::late::Body;
use crate::respond::Answer;
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/users/setting", Access::User, list)
            .says("What clients keep for the caller")
            .grows()
            .asks::<SeeSettings>()
            .answers::<UserSettings>(),
        Endpoint::post("/api/v1/users/setting", Access::User, set)
            .says("Keep something for the caller; an empty value deletes")
            .limited(2 << 20)
            .asks::<ChangeSettings>()
            .takes::<UserSettings>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/users/setting/reset", Access::User, reset)
            .says("Delete what clients keep for the caller")
            .asks::<ChangeSettings>()
            .answers::<Empty>(),
        Endpoint::post("/api/v1/users/activity", Access::User, activity)
            .says("Taken and not kept: nobody's steps are followed")
            .reads()
            .answers::<Empty>(),
    ]
}

fn own<A: Act<Target = UserId>>(User(caller): &User) -> Result<Permit<A>, Error> {
    may(caller, caller.actor.user)
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

pub(crate) async fn set(State(app): State<App>, caller: User, request: Body<UserSettings>) -> Answer<Empty> {
    let permit = own::<ChangeSettings>(&caller)?;
    let taken = |setting: Setting| domain::setting::Setting {
        path: setting.storage_path,
        key: setting.key,
        value: setting.value,
    };
    let changes = request.after(&permit).await?.settings.into_iter().map(taken);
    app.master.settings.set(permit, changes).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn reset(State(app): State<App>, caller: User) -> Answer<Empty> {
    app.master.settings.reset(own::<ChangeSettings>(&caller)?).await?;
    Ok(Json(Empty {}))
}

/// Which project a person looks at: Muster keeps no track of people.
pub(crate) async fn activity(User(_): User) -> Json<Empty> {
    Json(Empty {})
}
