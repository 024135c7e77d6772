//! What of a run's log to send next, and when its end may be told: the whole protocol of one run, without any I/O.

use api::agent::{LOG_WINDOW, MAX_CHUNK};

/// Most bytes of records in one message: what surrounds them needs some too.
pub(crate) const MAX_PIECE: usize = MAX_CHUNK - 256;

/// An end that the master knows of, and nobody hurries, waits so many rests for its log.
const RESTS: u32 = 5;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for something to happen.
    Wait,
    /// Send records from this offset of the log.
    Piece(u64),
    /// Say how it ended; the log is this long.
    End(u64),
    /// Say how it ended before the log is there: the master doesn't take it.
    EarlyEnd,
}

/// How far the master and the agent are with one run.
#[derive(Debug, Default)]
pub(crate) struct Shipping {
    /// `None` until the master says where to go on, on each connection anew.
    position: Option<Position>,
    /// There may be records behind what was sent.
    unread: bool,
    /// The log won't grow any more.
    ended: bool,
    /// The master has no space for the log: it isn't sent for a while.
    resting: bool,
    /// The end is to be said although the log isn't there.
    early_end: bool,
    /// How often it rested since it ended.
    rests: u32,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    /// The master has everything before this.
    confirmed: u64,
    /// Everything before this was sent.
    sent: u64,
    /// The end was sent.
    end_sent: bool,
}

impl Shipping {
    /// What to do next.
    pub(crate) fn next(&self) -> Next {
        let Some(position) = self.position else {
            return Next::Wait;
        };
        if self.early_end {
            return Next::EarlyEnd;
        }
        if self.resting {
            return Next::Wait;
        }
        if self.unread {
            let on_the_way = position.sent.saturating_sub(position.confirmed);
            return if on_the_way + MAX_PIECE as u64 <= LOG_WINDOW {
                Next::Piece(position.sent)
            } else {
                Next::Wait
            };
        }
        if self.ended && !position.end_sent {
            return Next::End(position.sent);
        }
        Next::Wait
    }

    /// A connection is there. `from` is where to go on, when that is known already.
    pub(crate) fn connected(&mut self, from: Option<u64>) {
        self.position = from.map(Position::at);
        self.unread = true;
        (self.resting, self.early_end) = (false, false);
    }

    /// No connection any more.
    pub(crate) fn disconnected(&mut self) {
        self.position = None;
    }

    /// The master has the log up to `offset`.
    ///
    /// Less than it had means that it lost some, and everything from there is sent again. The same as it had says
    /// nothing new: it answers a piece that it had already. (Taking that for a loss would make each repeated piece
    /// cause another.)
    pub(crate) fn received(&mut self, offset: u64) {
        self.resting = false;
        match &mut self.position {
            Some(position) if offset >= position.confirmed => {
                position.confirmed = offset;
                position.sent = position.sent.max(offset);
            }
            position => {
                *position = Some(Position::at(offset));
                self.unread = true;
            }
        }
    }

    /// The master has the log up to `offset` and no space for more: the rest is sent again after a while. The end doesn't
    /// wait for that (A4): the space may be what the run holds. The master gives up what finds none when it hears the end twice:
    /// it does so later, unless the end is `hurried`.
    pub(crate) fn refused(&mut self, offset: u64, hurried: bool) {
        // What was on the way is refused as well, each piece with an answer of its own.
        if !self.resting {
            self.early_end = self.ended && (hurried || self.rests.is_multiple_of(RESTS));
            self.rests += 1;
        }
        self.position = Some(Position::at(offset));
        (self.resting, self.unread) = (true, true);
    }

    /// Whether the master has no space for the log.
    pub(crate) fn is_resting(&self) -> bool {
        self.resting
    }

    /// The end was said, without the log.
    pub(crate) fn early_end_sent(&mut self) {
        self.early_end = false;
    }

    /// There may be more in the log.
    pub(crate) fn grew(&mut self) {
        self.unread = true;
    }

    /// The log won't grow any more.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
        self.unread = true;
        self.early_end = self.resting;
        self.rests = u32::from(self.resting);
    }

    /// `bytes` of records from `offset` were sent; 0 when there were none.
    pub(crate) fn sent(&mut self, offset: u64, bytes: usize) {
        if bytes == 0 {
            self.unread = false;
        } else if let Some(position) = &mut self.position {
            position.sent = offset + bytes as u64;
        }
    }

    /// The end was sent.
    pub(crate) fn end_sent(&mut self) {
        if let Some(position) = &mut self.position {
            position.end_sent = true;
        }
    }

    /// Whether the master owes an answer.
    pub(crate) fn awaits_answer(&self) -> bool {
        let owed = |position: Position| position.end_sent || position.sent > position.confirmed;
        self.resting || self.position.is_some_and(owed)
    }

    /// The answer is overdue: everything that it would have been for is sent again; or the rest is over.
    pub(crate) fn repeat(&mut self) {
        // Who doesn't answer at all may take the end before the log.
        let unheard = |position: Position| position.sent > position.confirmed;
        self.early_end = self.ended && !self.resting && self.position.is_some_and(unheard);
        self.resting = false;
        if let Some(position) = &mut self.position {
            *position = Position::at(position.confirmed);
            self.unread = true;
        }
    }
}

impl Position {
    fn at(offset: u64) -> Self {
        Self { confirmed: offset, sent: offset, end_sent: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_shipped_to_its_end() {
        let mut run = Shipping::default();
        run.grew();
        assert_eq!(run.next(), Next::Wait, "no connection");
        run.connected(None);
        assert_eq!(run.next(), Next::Wait, "the master hasn't said from where");
        run.received(100);
        assert_eq!(run.next(), Next::Piece(100));
        run.sent(100, 50);
        run.sent(150, 0);
        assert_eq!(run.next(), Next::Wait);
        run.ended();
        assert_eq!(run.next(), Next::Piece(150), "the last records");
        run.sent(150, 7);
        run.sent(157, 0);
        assert_eq!(run.next(), Next::End(157));
        run.end_sent();
        assert_eq!(run.next(), Next::Wait);
        run.received(157);
        assert_eq!(run.next(), Next::Wait);
        run.disconnected();
        run.connected(None);
        run.received(157);
        run.sent(157, 0);
        assert_eq!(run.next(), Next::End(157), "repeated on each connection until it is forgotten");
    }

    #[test]
    fn a_master_that_lost_some_gets_it_again() {
        let mut run = Shipping::default();
        run.ended();
        run.connected(Some(0));
        run.sent(0, 80);
        run.sent(80, 0);
        run.end_sent();
        run.received(80);
        run.received(80);
        assert_eq!(run.next(), Next::Wait, "nothing new");
        run.received(30);
        assert_eq!(run.next(), Next::Piece(30));
        run.sent(30, 50);
        run.sent(80, 0);
        assert_eq!(run.next(), Next::End(80), "the end again, too");
    }

    #[test]
    fn the_window_is_never_exceeded() {
        let mut run = Shipping::default();
        run.connected(Some(0));
        let mut sent = 0;
        while let Next::Piece(from) = run.next() {
            run.sent(from, MAX_PIECE);
            sent = from + MAX_PIECE as u64;
        }
        assert!(sent <= LOG_WINDOW && sent > LOG_WINDOW / 2, "{sent}");
        assert!(run.awaits_answer());
        run.received(MAX_PIECE as u64);
        assert_eq!(run.next(), Next::Piece(sent));
        run.repeat();
        assert_eq!(run.next(), Next::Piece(MAX_PIECE as u64));
        run.received(sent);
        assert_eq!(run.next(), Next::Piece(sent), "what was lost turned up");
    }

    #[test]
    fn a04_the_end_does_not_wait_for_a_log_that_finds_no_space() {
        let mut run = Shipping::default();
        run.connected(Some(0));
        run.grew();
        run.sent(0, 80);
        run.refused(30, true);
        assert_eq!(run.next(), Next::Wait, "not at once again");
        run.grew();
        assert_eq!(run.next(), Next::Wait);
        assert!(run.awaits_answer());
        run.ended();
        assert_eq!(run.next(), Next::EarlyEnd);
        run.early_end_sent();
        assert_eq!(run.next(), Next::Wait);
        run.repeat();
        assert_eq!(run.next(), Next::Piece(30), "there may be space by now");
        run.sent(30, 50);
        run.sent(80, 0);
        run.refused(30, true);
        assert_eq!(run.next(), Next::EarlyEnd);
        run.early_end_sent();
        run.refused(30, true);
        assert_eq!(run.next(), Next::Wait, "once for each try");
        run.repeat();
        run.sent(30, 50);
        run.received(80);
        run.sent(80, 0);
        assert_eq!(run.next(), Next::End(80), "it has healed");
    }

    /// V3: there may be space at any time, but a log that nobody hurries isn't given up for a disk that was full for a moment.
    #[test]
    fn a04_a_log_is_tried_more_often_than_it_is_given_up() {
        let mut run = Shipping::default();
        run.connected(Some(0));
        run.grew();
        run.sent(0, 80);
        run.ended();
        run.refused(0, false);
        assert_eq!(run.next(), Next::EarlyEnd, "the master knows soon that it is over");
        run.early_end_sent();
        for _ in 1..RESTS {
            run.repeat();
            assert_eq!(run.next(), Next::Piece(0));
            run.sent(0, 80);
            run.refused(0, false);
            assert_eq!(run.next(), Next::Wait);
        }
        run.repeat();
        run.sent(0, 80);
        run.refused(0, false);
        assert_eq!(run.next(), Next::EarlyEnd);
    }

    #[test]
    fn a04_the_end_does_not_wait_for_a_master_that_says_nothing_to_the_log() {
        let mut run = Shipping::default();
        run.connected(Some(0));
        run.ended();
        run.sent(0, 80);
        run.repeat();
        assert_eq!(run.next(), Next::EarlyEnd);
        run.early_end_sent();
        assert_eq!(run.next(), Next::Piece(0));
    }

    #[test]
    fn a_master_that_has_more_than_the_disk_is_believed() {
        let mut run = Shipping::default();
        run.ended();
        run.connected(None);
        run.received(500);
        run.sent(500, 0);
        assert_eq!(run.next(), Next::End(500));
    }
}
