//! What tests are made with: a real master in the test's own process, behind a real listener, on either
//! database; roles that send requests; an agent without processes; a clock that stands still.
//!
//! Nothing here is part of the product, and no test is here. `env` and `postgres` also serve the end-to-end
//! tests, which drive the real binary.

pub mod agent;
pub mod batch;
pub mod clock;
pub mod database;
pub mod env;
pub mod http;
pub mod log;
pub mod master;
pub mod postgres;
pub mod role;

use std::time::Duration;

pub use agent::FakeAgent;
pub use batch::Batch;
pub use clock::FakeClock;
pub use database::{Database, Storage};
pub use http::{Method, Requests, Response};
pub use master::TestMaster;
pub use role::{Anon, Task, User};

/// Longest wait for an event. Generous: it is reached only when the event never comes.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Longest run of one test.
const TEST_DEADLINE: Duration = Duration::from_secs(840);

/// Waits for an event and panics if it doesn't come.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s in vain: {what}", DEADLINE.as_secs()),
    }
}

/// Runs the body of a test to its end; for the macros of this crate.
///
/// # Panics
/// When the test hangs.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ended = tokio::time::timeout(TEST_DEADLINE, test).await;
        ended.expect("the test ends in time");
    });
    // What a test leaves open may not keep it from ending.
    runtime.shutdown_background();
}

/// Makes two tests of each function that takes a [`Database`]: `name::sqlite` and `name::postgres`.
///
/// The functions stand outside the macro, where rustfmt sees them; one that is left out is dead code, which
/// the compiler tells.
#[macro_export]
macro_rules! on_both_databases {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn sqlite() {
                $crate::run(super::$name($crate::Database::Sqlite));
            }
            #[test]
            fn postgres() {
                $crate::run(super::$name($crate::Database::Postgres));
            }
        }
    )+};
}

/// Makes a test of each asynchronous function: for what has nothing to do with the database.
#[macro_export]
macro_rules! on_sqlite {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn sqlite() {
                $crate::run(super::$name($crate::Database::Sqlite));
            }
        }
    )+};
}
