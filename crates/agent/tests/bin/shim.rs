//! `agent-test-shim shim TASKDIR`: what `muster shim` does, for this crate's tests. With `plain` in place of `shim` there is no
//! sandbox.

mod plain;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(verb), Some(dir), None) = (args.next(), args.next(), args.next()) else {
        return ExitCode::from(2);
    };
    match verb.to_str() {
        Some("shim") => {
            let code = launch::shim::main(Path::new(&dir), agent::launcher::sandbox::unpack);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Some("plain") => match plain::main(Path::new(&dir)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                let _ = writeln!(std::io::stderr(), "{e}");
                ExitCode::FAILURE
            }
        },
        _ => ExitCode::from(2),
    }
}
