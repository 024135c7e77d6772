//! Accounts as the unmodified `det` makes and uses them.

use super::{Muster, Person};

/// A blank answer to whatever `det` asks for.
pub(crate) const BLANK: &str = "\n\n\n";
/// Good enough for `det`, which makes no accounts without a password.
pub(crate) const PASSWORD: &str = "Correct0\n";

/// What `det LINE` prints when all goes well.
#[track_caller]
pub(crate) fn det(person: &Person, line: &str) -> String {
    person.det_with(line, BLANK).ok()
}

/// Makes an account and logs in with it.
#[track_caller]
pub(crate) fn created(muster: &Muster, admin: &Person, name: &str) -> Person {
    det(admin, &format!("-u admin user create {name} --password Correct0"));
    let person = muster.person(name);
    person.det_with(&format!("user login {name}"), PASSWORD).exits(0);
    person
}

/// Somebody who has a token as admin already, so that only what is under test asks for passwords.
pub(crate) fn administrator(muster: &Muster) -> Person {
    let admin = muster.person("admin");
    assert_eq!(det(&admin, "-u admin user whoami"), "You are logged in as user 'admin'");
    admin
}

/// `det LINE` fails and says why.
#[track_caller]
pub(crate) fn refused(person: &Person, line: &str, reason: &str) {
    person.det_with(line, BLANK).exits(1).says(reason);
}
