//! The installation over the API.

use ::api::DETERMINED_VERSION;
use ::api::cluster::{Info, Master, Telemetry};
use ::api::error::Code;
use axum::Json;
use axum::extract::State;
use domain::authz::{ReadMasterConfig, authorize};
use master::Error;
use serde_json::{Value, json};

use crate::App;
use crate::extract::User;
use crate::origin::Arrival;
use crate::respond::Answer;

pub(crate) async fn info(State(app): State<App>, arrival: Arrival) -> Answer<Info> {
    let cluster = &app.master.cluster;
    let default_user = cluster.default_user();
    let origin = arrival.asked(&app).await.origin;
    let caller = app.master.sessions.default_caller(default_user, origin).await?;
    Ok(Json(Info {
        version: DETERMINED_VERSION.to_owned(),
        master_id: cluster.id().to_owned(),
        cluster_id: cluster.id().to_owned(),
        cluster_name: cluster.name().to_owned(),
        telemetry: Telemetry::default(),
        sso_providers: None,
        muster_version: env!("CARGO_PKG_VERSION").to_owned(),
        default_user: caller.map(|caller| caller.actor.username),
        max_context_bytes: app.master.config.max_context_bytes,
    }))
}

/// 200 when the database answers.
pub(crate) async fn health(State(app): State<App>) -> Answer<Value> {
    app.master.cluster.check().await?;
    Ok(Json(json!({ "status": "up" })))
}

pub(crate) async fn master(State(app): State<App>) -> Json<Master> {
    let cluster = &app.master.cluster;
    Json(Master {
        version: DETERMINED_VERSION.to_owned(),
        master_id: cluster.id().to_owned(),
        cluster_id: cluster.id().to_owned(),
        cluster_name: cluster.name().to_owned(),
        strict_job_queue_control: false,
        has_custom_logo: false,
        telemetry_enabled: false,
        sso_providers: Vec::new(),
        external_login_uri: String::new(),
        external_logout_uri: String::new(),
        branding: "determined".to_owned(),
        rbac_enabled: app.master.config.security.authz.rbac_ui_enabled,
        product: "PRODUCT_UNSPECIFIED".to_owned(),
        feature_switches: Vec::new(),
        user_management_enabled: true,
        cluster_message: None,
    })
}

pub(crate) async fn telemetry() -> Json<Value> {
    Json(json!({ "enabled": false, "segmentKey": "" }))
}

pub(crate) async fn config(State(app): State<App>, User(caller): User) -> Answer<Value> {
    let permit = authorize::<ReadMasterConfig>(&caller.actor, ());
    let permit = permit.map_err(|refusal| Error::refused(refusal, Code::NotFound.reason().to_owned()))?;
    Ok(Json(json!({ "config": app.master.cluster.shown_config(permit, &app.master.config) })))
}
