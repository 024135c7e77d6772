//! The installation over the API.

use ::api::DETERMINED_VERSION;
use ::api::cluster::{Health, Info, Master, MasterConfig, NoTelemetry, Telemetry};
use axum::Json;
use axum::extract::State;
use domain::authz::ReadMasterConfig;
use master::open::may;

use crate::App;
use crate::access::Access;
use crate::api::cluster_message;
use crate::extract::User;
use crate::origin::Arrival;
use crate::respond::Answer;
use crate::table::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/info", Access::Public, info),
        Endpoint::get("/health", Access::Public, health),
        Endpoint::get("/api/v1/master", Access::Public, master)
            .says("What anybody may know of the installation")
            .answers::<Master>(),
        Endpoint::get("/api/v1/master/telemetry", Access::Public, telemetry)
            .says("Nothing is reported to anybody")
            .answers::<NoTelemetry>(),
        Endpoint::get("/api/v1/master/config", Access::User, config)
            .says("The configuration without secrets; for administrators")
            .asks::<ReadMasterConfig>()
            .answers::<MasterConfig>(),
    ]
}

pub(crate) async fn info(State(app): State<App>, arrival: Arrival) -> Answer<Info> {
    let cluster = &app.master.cluster;
    let default_user = cluster.default_user();
    let origin = arrival.asked(&app).await.origin;
    let caller = app.master.sessions.default_caller(default_user, origin).await?;
    let message = app.master.cluster_messages.shown().await?;
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
        cluster_message: message.map(|message| message.text),
    }))
}

/// 200 when the database answers.
pub(crate) async fn health(State(app): State<App>) -> Answer<Health> {
    app.master.cluster.check().await?;
    Ok(Json(Health { status: "up".to_owned() }))
}

pub(crate) async fn master(State(app): State<App>) -> Answer<Master> {
    let cluster = &app.master.cluster;
    let message = app.master.cluster_messages.shown().await?;
    Ok(Json(Master {
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
        cluster_message: message.map(cluster_message::shown),
    }))
}

pub(crate) async fn telemetry() -> Json<NoTelemetry> {
    Json(NoTelemetry::default())
}

pub(crate) async fn config(State(app): State<App>, User(caller): User) -> Answer<MasterConfig> {
    let permit = may::<ReadMasterConfig>(&caller, ())?;
    Ok(Json(MasterConfig { config: app.master.cluster.shown_config(permit, &app.master.config) }))
}
