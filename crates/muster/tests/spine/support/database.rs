//! A look into the database beside the program, and what only time would change there.

use std::path::Path;
use std::process::Command;

use super::run;

/// Runs statements on a SQLite file; gives the first column of what the last one found.
#[track_caller]
pub(crate) fn sql(file: &Path, statements: &str) -> String {
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  for text in sys.argv[2].split(';'):\n  rows = db.execute(text).fetchall()\n\
                  print(*(row[0] for row in rows))";
    let mut python = Command::new(testkit::env::python());
    run(python.args(["-c", script]).arg(file).arg(statements), "").ok()
}
