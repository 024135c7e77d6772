//! Web pages.

use super::{REGISTER, Sample};

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new("GET", "/commands/{task}", "in a private workspace")
        .at("/commands/{hidden}")
        .asks(&[("ReadTask", "in a private workspace")]),
    Sample::new("GET", "/assets/{name}", "the style sheet").at("{asset}"),
    Sample::new("GET", "/login", ""),
    Sample::new("POST", "/login", "the owner's name")
        .form("username={ownername}&password=&redirect=/commands"),
    Sample::new("POST", "/logout", "own session").spoils(),
    Sample::new("GET", "/users/register", ""),
    Sample::new("GET", "/users/register/", ""),
    Sample::new("POST", "/users/register", "with an invitation").form(REGISTER),
    Sample::new("POST", "/users/register/", "with an invitation").form(REGISTER),
    Sample::new("GET", "/users/register/complete", ""),
    Sample::new("GET", "/users/register/complete/", ""),
    Sample::new("GET", "/account", ""),
    Sample::new("POST", "/account/password", "own, blank before")
        .form("new=a+quiet+lake&again=a+quiet+lake")
        .asks(&[("ChangeUser", "one's own password")])
        .spoils(),
    Sample::new("POST", "/account/sessions/{session}/end", "one of the owner's")
        .asks(&[("EndSession", "the owner's")]),
    Sample::new("GET", "/det", ""),
    Sample::new("GET", "/det/", ""),
    Sample::new("GET", "/det/login", ""),
    Sample::new("GET", "/", ""),
    Sample::new("GET", "/commands", ""),
    Sample::new("GET", "/commands/{task}", "the owner's").asks(&[("ReadTask", "in the shared workspace")]),
    Sample::new("POST", "/commands/{task}/kill", "the owner's")
        .asks(&[("ChangeTask", "in the shared workspace")]),
    Sample::new("GET", "/commands/{task}/log", "the owner's")
        .asks(&[("ReadTask", "in the shared workspace")]),
    Sample::new("GET", "/commands/{task}/log.txt", "the owner's")
        .asks(&[("ReadTask", "in the shared workspace")]),
];
