//! Cumulative delivery, AMS's own: one window, one position, acknowledging moves the position.
//!
//! A plain state machine over [`Progress`] (`design.md` 4, `ams-contract.md` 10.3-10.4 with the
//! verdicts O1-O3 of its section 13). The caller folds time in first ([`Progress::facts`]).

use super::ids::Offset;
use super::progress::{HandedOut, Progress, Window};
use clock::Time;

/// What an acknowledgement of a highest offset comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckVerdict {
    /// The position moves from the first to the second offset.
    Moves(Offset, Offset),
    /// It is of this window and already behind the position: yes, and nothing changes.
    Repeats,
    /// The window's deadline has passed (408 `ack timeout`).
    TooLate,
    /// Nothing was handed out since the last seek (500 `no ack pending`).
    NothingPending,
    /// It was not handed out by the last pull (500 `wrong ack`).
    NotInWindow,
}

/// What a seek did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// This many messages were skipped.
    Forward(u64),
    /// This many messages will come again.
    Backward(u64),
    /// The position was there already.
    Nowhere,
}

impl Progress {
    /// Opens a window over the `count` > 0 messages from the position on, whose data texts have
    /// `ams_bytes` bytes. The position does not move.
    pub fn hand_out(&mut self, count: u64, ams_bytes: u64, now: Time) {
        let end = self.position.plus(count);
        self.counters.delivered += count;
        self.counters.delivered_bytes += ams_bytes;
        self.counters.redelivered += self.frontier.min(end).since(self.position);
        self.frontier = self.frontier.max(end);
        self.window =
            Some(Window { start: self.position, end, pulled_at: now, ams_bytes, expired: false });
        self.clocks.front_attempts += 1;
        self.last_handed_out = Some(HandedOut { messages: count, after: self.clocks.last_pull });
        self.clocks.last_pull = self.clocks.last_pull.max(now);
        self.clocks.last_delivery = now;
    }

    /// What acknowledging everything up to and including `highest` would come to. Changes nothing.
    pub fn judge_ack(&self, highest: Offset, deadline_seconds: i64, now: Time) -> AckVerdict {
        let Some(window) = &self.window else { return AckVerdict::NothingPending };
        if highest < window.start || highest >= window.end {
            return AckVerdict::NotInWindow;
        }
        if highest < self.position {
            return AckVerdict::Repeats;
        }
        if !window.holds(now, deadline_seconds) {
            return AckVerdict::TooLate;
        }
        AckVerdict::Moves(self.position, highest.plus(1))
    }

    /// Carries a verdict out and counts it. `ams_bytes` are those of the messages that the
    /// position passes; the window stays open.
    pub fn settle(&mut self, verdict: AckVerdict, ams_bytes: u64, now: Time) {
        match verdict {
            AckVerdict::Moves(from, to) => {
                self.counters.acked += to.since(from);
                self.counters.acked_bytes += ams_bytes;
                self.position = to;
                self.high_water = self.high_water.max(to);
                self.clocks.last_ack = now;
                self.clocks.last_progress = now;
                self.clocks.front_attempts = 0;
            }
            AckVerdict::Repeats => {}
            AckVerdict::TooLate => self.counters.late_acks += 1,
            AckVerdict::NothingPending | AckVerdict::NotInWindow => {
                self.counters.refused_acks += 1;
            }
        }
    }

    /// Moves the position to `to`, which lies within the topic, and closes the window.
    pub fn seek(&mut self, to: Offset, now: Time) -> Seek {
        let from = self.position;
        self.window = None;
        self.position = to;
        if to != from {
            self.clocks.front_attempts = 0;
        }
        if to > from {
            let skipped = to.since(from);
            self.counters.skipped += skipped;
            self.clocks.last_progress = now;
            Seek::Forward(skipped)
        } else if to < from {
            let replayed = from.since(to);
            self.counters.replayed += replayed;
            if self.clocks.last_progress >= self.clocks.last_backward_seek {
                self.clocks.excusing_seek = now;
            }
            self.clocks.last_backward_seek = now;
            Seek::Backward(replayed)
        } else {
            Seek::Nowhere
        }
    }
}

#[cfg(test)]
pub(super) mod laws;
#[cfg(test)]
mod tests;
