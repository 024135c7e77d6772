//! What an answer costs is said of every row of the table, and this is whether it is true: an answer that is bounded
//! doesn't grow when there are more things of every kind (A5). A new list fails here until its row says what it is.

use serde_json::json;
use testkit::{Database, Method, Requests as _, on_sqlite};
use web::Cost;

use super::samples::all;
use super::{World, request_to, shown_by};

on_sqlite!(a05_an_answer_that_grows_with_the_number_of_things_says_so);

/// How many things of each kind there are in the end.
const MORE: usize = 30;

/// Bytes by which an answer may change without growing: counts and times.
const SLACK: usize = 15 * MORE;

/// More of every kind of thing that there are lists of, most of them the owner's.
async fn fill_up(world: &World) {
    let (owner, admin) = (&world.cast.owner, &world.cast.admin);
    let mut users = Vec::new();
    for n in 0..MORE {
        let name = format!("more-{n}");
        let user = json!({"user": {"username": name, "active": false}});
        let made = admin.post("/api/v1/users").json(user).await.ok();
        users.push(made["user"]["id"].as_i64().expect("an id"));
        world.master.pending(&format!("waits-{n}")).await;
        world.master.code().await;
        owner.post("/api/v1/workspaces").json(json!({"name": format!("place {n}")})).await.ok();
        owner.post("/api/v1/projects/").json(json!({"name": name})).await.expect(201);
        owner.post(&format!("/api/v1/templates/{name}")).json(json!({"config": {}})).await.ok();
        owner.post("/api/v1/tokens").json(json!({})).await.ok();
        admin.post("/api/v1/tokens").json(json!({})).await.ok();
        owner.run_true().await;
        let group = json!({"name": name, "addUsers": [owner.id, admin.id]});
        admin.post("/api/v1/groups").json(group).await.ok();
    }
    let many = json!({"name": "many", "addUsers": users});
    admin.post("/api/v1/groups").json(many).await.ok();
}

async fn a05_an_answer_that_grows_with_the_number_of_things_says_so(_: Database) {
    let mut world = World::make().await;
    let mut asked = Vec::new();
    for row in web::rows() {
        let bounded = row.cost == Cost::Bounded && row.method == Method::GET;
        let sample = all().find(|sample| sample.is_for(&row) && sample.headers.is_empty());
        let Some(sample) = sample.filter(|_| bounded) else { continue };
        let path = world.fill(sample.path).await;
        asked.push((row, sample, path));
    }
    assert!(asked.len() > 30, "most are bounded: {}", asked.len());
    let anon = world.master.anon();
    let mut sizes = Vec::new();
    for (row, sample, path) in &asked {
        let request = request_to(&anon, row, sample, path, "");
        sizes.push(shown_by(request, row, &world.cast.admin.token).await.body.len());
    }
    fill_up(&world).await;
    for ((row, sample, path), before) in asked.iter().zip(sizes) {
        let request = request_to(&anon, row, sample, path, "");
        let after = shown_by(request, row, &world.cast.admin.token).await.body.len();
        let what =
            format!("{} {}, {}: {before} bytes before, {after} now", row.method, row.path, sample.what);
        assert!(after <= before + SLACK, "{what}: its row says that it is bounded");
    }
    world.agent.disconnect();
}
