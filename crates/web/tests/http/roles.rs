//! Roles, of which there are none, and the switch that has Determined's clients ask for them (R36).

use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_sqlite};

on_sqlite!(r36_the_switch_shows_in_what_the_master_says_of_itself, there_are_no_roles);

async fn r36_the_switch_shows_in_what_the_master_says_of_itself(database: Database) {
    for on in [false, true] {
        let configure = |config: &mut master::Config| config.security.authz.rbac_ui_enabled = on;
        let master = TestMaster::configured(database, configure).await;
        assert_eq!(master.anon().get("/api/v1/master").await.ok()["rbacEnabled"], on);
    }
}

async fn there_are_no_roles(database: Database) {
    let master = TestMaster::start(database).await;
    let (admin, alice) = (master.admin().await, master.user("alice").await);
    admin.post("/api/v1/groups").json(json!({"name": "lab"})).await.ok();
    let nothing = json!({"roles": [], "assignments": []});
    assert_eq!(alice.get("/api/v1/permissions/summary").await.ok(), nothing);
    assert_eq!(alice.get("/api/v1/roles/search/by-group/1").await.ok(), nothing);
    assert_eq!(alice.get("/api/v1/roles/search/by-user/1").await.ok(), json!({"roles": []}));
    alice.get("/api/v1/roles/search/by-group/9").await.refused(404);
    alice.get("/api/v1/roles/search/by-user/9").await.refused(404);
    for path in ["search", "search/by-assignability", "search/by-ids"] {
        let answer = alice.post(&format!("/api/v1/roles/{path}")).json(json!({"limit": 200})).await.ok();
        assert_eq!(answer["roles"], json!([]));
    }
    for path in ["add-assignments", "remove-assignments"] {
        let path = format!("/api/v1/roles/{path}");
        assert_eq!(alice.post(&path).await.refused(403), "access denied");
        assert!(admin.post(&path).await.refused(400).contains("role-based access is off"));
    }
}
