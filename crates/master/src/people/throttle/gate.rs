//! Who is judged next: attempts begin one after the other, and no flood of strangers' is in the way of somebody who is
//! known (A8, R21).

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::Error;
use crate::fair::{Fair, Lane};
use crate::password::busy;
use crate::unbroken::while_there;

/// Most who wait in each lane. One takes less than a millisecond.
const WAITING: usize = 256;

/// The gate. One is in it at a time.
#[derive(Clone)]
pub(super) struct Gate(Arc<Mutex<State>>);

struct State {
    taken: bool,
    waiting: Fair<oneshot::Sender<Pass>>,
}

/// Who has it is in the gate.
pub(super) struct Pass(Option<Gate>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { taken: false, waiting: Fair::new(WAITING) })))
    }
}

impl Gate {
    /// Waits until it is one's turn.
    ///
    /// # Errors
    /// When too many wait, or whoever asks has left.
    pub(super) async fn pass(&self, lane: Lane) -> Result<Pass, Error> {
        let (call, called) = oneshot::channel();
        let too_much = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.taken {
                state.taken = true;
                return Ok(Pass(Some(self.clone())));
            }
            state.waiting.push(lane, call)
        };
        drop(too_much);
        while_there(called).await.and_then(Result::ok).ok_or_else(busy)
    }

    fn next(&self) -> Option<oneshot::Sender<Pass>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.waiting.pop();
        state.taken = next.is_some();
        next
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(gate) = self.0.take() else { return };
        while let Some(next) = gate.next() {
            match next.send(Self(Some(gate.clone()))) {
                Ok(()) => return,
                // Who waited has left.
                Err(mut pass) => pass.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use domain::throttle::Origin;

    use super::*;

    fn stranger(uid: usize) -> Lane {
        Lane::Stranger(Origin::local(u32::try_from(uid).expect("small")))
    }

    #[tokio::test]
    async fn a08_strangers_at_the_gate_are_in_nobodys_way() {
        let gate = Gate::default();
        let first = gate.pass(stranger(0)).await.expect("in");
        let mut strangers: Vec<_> =
            (0..WAITING).map(|number| Box::pin(gate.pass(stranger(number)))).collect();
        for stranger in &mut strangers {
            assert!(futures_poll(stranger.as_mut()).is_none());
        }
        let mut known = pin!(gate.pass(Lane::Known("alice".to_owned())));
        assert!(futures_poll(known.as_mut()).is_none());
        drop(first);
        let inside = futures_poll(known.as_mut()).expect("she is next").expect("in");
        // Who leaves is passed over, and the gate isn't lost.
        strangers.drain(1..);
        drop(inside);
        let inside = strangers.remove(0).await.expect("in");
        drop(inside);
        gate.pass(Lane::Known("alice".to_owned())).await.expect("in");
    }

    #[tokio::test]
    async fn a08_who_is_too_much_is_told() {
        let gate = Gate::default();
        let _inside = gate.pass(stranger(0)).await.expect("in");
        let mut held: Vec<_> = (0..WAITING).map(|_| Box::pin(gate.pass(stranger(0)))).collect();
        for one in &mut held {
            assert!(futures_poll(one.as_mut()).is_none());
        }
        assert!(matches!(gate.pass(stranger(0)).await, Err(Error::Busy(_))));
        let mut other = pin!(gate.pass(stranger(1)));
        assert!(futures_poll(other.as_mut()).is_none(), "in place of one who has many");
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
