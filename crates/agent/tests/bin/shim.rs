//! `agent-test-shim shim TASKDIR`: what `muster shim` does, for this crate's tests.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(verb), Some(dir), None) = (args.next(), args.next(), args.next()) else {
        return ExitCode::from(2);
    };
    if verb != "shim" {
        return ExitCode::from(2);
    }
    let code = launch::shim::main(Path::new(&dir), agent::context::unpack);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
