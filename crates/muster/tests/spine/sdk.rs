//! The unmodified Python SDK of Determined.

use crate::support::Muster;

#[test]
fn p05_p12_p13_p14_d02_accounts_by_the_sdk() {
    let muster = Muster::up();
    let said = muster.person("me").sdk(include_str!("../sdk/user.py")).ok();
    let unauthenticated = "UnauthenticatedException Unauthenticated: Please use 'det user login <username>' for \
        password login, or for Enterprise users logging in with an SSO provider, use 'det auth login \
        --provider=<provider>'.";
    let contact = "Please contact your administrator in order to access this resource.";
    let expected = [
        "admin 1".to_owned(),
        "3 alice False True False  None None None None".to_owned(),
        "4 pupil True True True  None None None None".to_owned(),
        "again APIException user already exists".to_owned(),
        "weak ValueError ✓ password cannot be blank".to_owned(),
        "3 alicia False False False Alicia A 5001 5002 alice lab".to_owned(),
        "['admin', 'determined', 'pupil']".to_owned(),
        "['alicia']".to_owned(),
        "3 alicia False True False Alicia A 5001 5002 alice lab".to_owned(),
        "['admin', 'alicia', 'determined', 'pupil']".to_owned(),
        "missing NotFoundException user not found".to_owned(),
        format!("old password {unauthenticated}"),
        "alicia".to_owned(),
        format!(
            "not hers ForbiddenException Forbidden(only admin privileged users can create users): {contact}"
        ),
        format!(
            "not hers ForbiddenException Forbidden(only admin privileged users can update users): {contact}"
        ),
        "3 alicia False True False Al 5001 5002 alice lab".to_owned(),
        format!("logged out {unauthenticated}"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{said}");
}
