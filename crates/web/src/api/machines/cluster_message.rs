//! What administrators tell everybody, over the API.

use ::api::cluster_message::{ClusterMessage, GetClusterMessage, SetClusterMessage as Request};
use ::api::wire::Empty;
use axum::Json;
use axum::extract::State;
use domain::authz::{ReadClusterMessage, SetClusterMessage};
use domain::cluster_message::{self, Draft};
use domain::time::Timestamp;
use master::open::may;

use crate::App;
use crate::access::Access;
use crate::extract::User;
use crate::late::Body;
use crate::respond::Answer;
use crate::table::Endpoint;

const PATH: &str = "/api/v1/master/cluster_message";

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(PATH, Access::User, get)
            .says("What everybody is told, or will be; for administrators")
            .asks::<ReadClusterMessage>()
            .answers::<GetClusterMessage>(),
        Endpoint::put(PATH, Access::User, set)
            .says("Tell everybody something, for a time; for administrators")
            .asks::<SetClusterMessage>()
            .takes::<Request>()
            .answers::<Empty>(),
        Endpoint::delete(PATH, Access::User, clear)
            .says("Tell everybody nothing any more; for administrators")
            .asks::<SetClusterMessage>()
            .answers::<Empty>(),
    ]
}

/// As clients read it.
pub(crate) fn shown(message: cluster_message::ClusterMessage) -> ClusterMessage {
    ClusterMessage {
        message: message.text,
        start_time: message.starts_at.rfc3339(),
        created_time: message.created_at.rfc3339(),
        end_time: message.ends_at.map(Timestamp::rfc3339),
    }
}

pub(crate) async fn get(State(app): State<App>, User(caller): User) -> Answer<GetClusterMessage> {
    let permit = may::<ReadClusterMessage>(&caller, ())?;
    let message = app.master.cluster_messages.get(&permit).await?;
    Ok(Json(GetClusterMessage { cluster_message: message.map(shown) }))
}

pub(crate) async fn set(State(app): State<App>, User(caller): User, request: Body<Request>) -> Answer<Empty> {
    let permit = may::<SetClusterMessage>(&caller, ())?;
    let request = request.after(&permit).await?;
    let draft = Draft {
        text: request.message.as_deref().unwrap_or_default(),
        start: request.start_time.as_deref(),
        end: request.end_time.as_deref(),
        duration: request.duration.as_deref(),
    };
    app.master.cluster_messages.set(&permit, draft).await?;
    Ok(Json(Empty {}))
}

pub(crate) async fn clear(State(app): State<App>, User(caller): User) -> Answer<Empty> {
    let permit = may::<SetClusterMessage>(&caller, ())?;
    app.master.cluster_messages.clear(&permit).await?;
    Ok(Json(Empty {}))
}
