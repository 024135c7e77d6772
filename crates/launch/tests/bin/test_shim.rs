//! `launch-test-shim TASKDIR`: the entry that `muster shim` has, for the tests of this crate alone.
//!
//! Its unpacking writes a file `unpacked` that tells who unpacked and where; a context that begins with `bad` fails, and one
//! that begins with `launched` has a file of that name tell of the process that unpacks.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use launch::{Fault, NotUnpacked};

fn main() {
    let task_dir = std::env::args_os().nth(1).unwrap_or_default();
    std::process::exit(launch::shim::main(Path::new(&task_dir), unpack));
}

fn unpack(mut context: File) -> Result<(), NotUnpacked> {
    let no = |why: String| NotUnpacked { fault: Fault::Task, why };
    let mut text = String::new();
    context.read_to_string(&mut text).map_err(|e| no(e.to_string()))?;
    if text.starts_with("bad") {
        return Err(no("the archive is damaged".into()));
    }
    if text.starts_with("launched") {
        std::fs::copy("/proc/self/status", "launched").map_err(|e| no(e.to_string()))?;
    }
    std::fs::write("unpacked", text).map_err(|e| no(e.to_string()))
}
