//! Time and randomness, as parameters: tests put their own in.

use std::pin::Pin;
use std::time::Duration;

use domain::time::Timestamp;

/// More than clocks that are set while they run differ by in some seconds.
const A_LITTLE: Duration = Duration::from_millis(5);

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Returns when it is so late, or when it won't be for a long time because the clock was set back.
    fn until(&self, then: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(then.since(self.now()) + A_LITTLE))
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }
}

/// Where random bytes come from. They must be good enough for secrets.
pub trait Entropy: Send + Sync + 'static {
    /// 32 fresh bytes.
    fn bytes(&self) -> [u8; 32];
}

/// The process's cryptographic generator, seeded by the kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes);
        bytes
    }
}
