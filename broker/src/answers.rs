//! Answers to many who wait for one thing: each of their threads is woken once, and whoever wakes
//! there wakes the others of that thread.
//!
//! To wake a task of another thread costs a system call, and that thread one more to notice it; to
//! wake one of its own costs nothing. A commit answers dozens of tasks of two or three threads.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

/// A way for one answer.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Arc::new(Slot(Mutex::new(State::Open(None))));
    (Sender(Some(Arc::clone(&slot))), Receiver(slot))
}

/// Whoever answers. Dropped, it tells that there will be no answer.
#[derive(Debug)]
pub(crate) struct Sender<T>(Option<Arc<Slot<T>>>);

/// Whoever waits: a future of the answer, `None` when there will be none.
#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Slot<T>>);

#[derive(Debug)]
struct Slot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    /// Nobody has answered. Who looked last, and on which thread.
    Open(Option<(ThreadId, Waker)>),
    /// The answer, and whom its receiver is to wake when it takes it.
    Told(Option<T>, Vec<Waker>),
    /// The answer was taken, or nobody waits for it any more.
    Over,
}

impl<T> Slot<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the answer; who is to be woken for it.
    fn tell(&self, answer: Option<T>) -> Option<(ThreadId, Waker)> {
        let mut state = self.state();
        match &mut *state {
            State::Open(waiting) => {
                let waiting = waiting.take();
                *state = State::Told(answer, Vec::new());
                waiting
            }
            State::Told(..) | State::Over => None,
        }
    }

    /// Lets its receiver wake `others`; false if that has gone on already.
    fn lead(&self, others: &mut Vec<Waker>) -> bool {
        match &mut *self.state() {
            State::Told(_, led) => {
                led.append(others);
                true
            }
            State::Open(_) | State::Over => false,
        }
    }
}

impl<T> Sender<T> {
    /// Answers at once.
    pub(crate) fn send(mut self, answer: T) {
        if let Some((_, waker)) = self.0.take().and_then(|slot| slot.tell(Some(answer))) {
            waker.wake();
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waiting = self.0.take().and_then(|slot| slot.tell(None));
        if let Some((_, waker)) = waiting {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.state();
        match &mut *state {
            State::Open(waiting) => {
                let known = waiting.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker()));
                let thread = thread::current().id();
                match waiting {
                    Some((of, _)) if known => *of = thread,
                    _ => *waiting = Some((thread, cx.waker().clone())),
                }
                Poll::Pending
            }
            State::Told(answer, others) => {
                let (answer, others) = (answer.take(), std::mem::take(others));
                *state = State::Over;
                drop(state);
                others.into_iter().for_each(Waker::wake);
                Poll::Ready(answer)
            }
            State::Over => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
impl<T> Receiver<T> {
    /// The answer, if it is there.
    pub(crate) fn try_recv(&mut self) -> Option<T> {
        use futures_util::FutureExt as _;
        self.now_or_never().flatten()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.0.state(), State::Over);
        if let State::Told(_, others) = before {
            others.into_iter().for_each(Waker::wake);
        }
    }
}

/// Answers that are given together; those who wait are woken when it is dropped.
#[derive(Debug)]
pub(crate) struct Round<T>(Vec<Group<T>>);

/// Those of one thread.
#[derive(Debug)]
struct Group<T> {
    thread: ThreadId,
    first: Arc<Slot<T>>,
    waker: Waker,
    others: Vec<Waker>,
}

impl<T> Default for Round<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Round<T> {
    /// Answers one. Whoever does not wait any more does not mind.
    pub(crate) fn send(&mut self, mut sender: Sender<T>, answer: T) {
        let Some(slot) = sender.0.take() else { return };
        let Some((thread, waker)) = slot.tell(Some(answer)) else { return };
        match self.0.iter_mut().find(|group| group.thread == thread) {
            Some(group) => group.others.push(waker),
            None => self.0.push(Group { thread, first: slot, waker, others: Vec::new() }),
        }
    }
}

impl<T> Drop for Round<T> {
    fn drop(&mut self) {
        for mut group in self.0.drain(..) {
            if !group.first.lead(&mut group.others) {
                group.others.into_iter().for_each(Waker::wake);
            }
            group.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Bell {
        fn rung(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// Receivers that were polled once on this thread, each with a bell of its own.
    struct Waiting {
        senders: Vec<Sender<usize>>,
        receivers: Vec<Receiver<usize>>,
        bells: Vec<Arc<Bell>>,
    }

    fn waiting(count: usize) -> Waiting {
        let mut all = Waiting { senders: Vec::new(), receivers: Vec::new(), bells: Vec::new() };
        for _ in 0..count {
            let (sender, receiver) = channel();
            all.senders.push(sender);
            all.receivers.push(receiver);
            all.bells.push(Arc::default());
        }
        for at in 0..count {
            assert!(all.poll(at).is_pending());
        }
        all
    }

    impl Waiting {
        fn poll(&mut self, at: usize) -> Poll<Option<usize>> {
            let waker = Waker::from(Arc::clone(&self.bells[at]));
            Pin::new(&mut self.receivers[at]).poll(&mut Context::from_waker(&waker))
        }

        fn answer_all(&mut self) {
            let mut round = Round::default();
            for (at, sender) in self.senders.drain(..).enumerate() {
                round.send(sender, at);
            }
        }

        fn rung(&self) -> Vec<usize> {
            self.bells.iter().map(|bell| bell.rung()).collect()
        }
    }

    #[test]
    fn of_one_thread_the_first_is_woken_and_wakes_the_others() {
        let mut all = waiting(3);
        all.answer_all();
        assert_eq!(all.rung(), [1, 0, 0]);
        assert_eq!(all.poll(0), Poll::Ready(Some(0)));
        assert_eq!(all.rung(), [1, 1, 1]);
        assert_eq!(all.poll(2), Poll::Ready(Some(2)));
        assert_eq!(all.poll(1), Poll::Ready(Some(1)));
        assert_eq!(all.rung(), [1, 1, 1]);
    }

    #[test]
    fn a_first_one_that_gives_up_wakes_the_others() {
        let mut all = waiting(3);
        all.answer_all();
        drop(all.receivers.remove(0));
        assert_eq!(all.rung(), [1, 1, 1]);
    }

    #[test]
    fn one_that_looks_before_it_is_woken_leaves_nobody_asleep() {
        let mut all = waiting(3);
        let mut round = Round::default();
        for (at, sender) in std::mem::take(&mut all.senders).into_iter().enumerate() {
            round.send(sender, at);
        }
        assert_eq!(all.poll(0), Poll::Ready(Some(0)));
        drop(round);
        assert_eq!(all.rung(), [1, 1, 1]);
    }

    #[test]
    fn each_thread_is_woken() {
        let mut here = waiting(2);
        let mut there = thread::spawn(|| waiting(2)).join().unwrap();
        here.senders.append(&mut there.senders);
        here.answer_all();
        assert_eq!((here.rung(), there.rung()), (vec![1, 0], vec![1, 0]));
    }

    #[test]
    fn a_sender_that_is_gone_is_an_answer() {
        let mut all = waiting(1);
        all.senders.clear();
        assert_eq!(all.rung(), [1]);
        assert_eq!(all.poll(0), Poll::Ready(None));
    }

    #[test]
    fn an_answer_before_the_first_look_is_found() {
        let (sender, receiver) = channel();
        sender.send(7);
        assert_eq!(receiver.now_or_never(), Some(Some(7)));
    }

    proptest! {
        /// Whatever gives up, looks early, or is answered in which of two rounds: whoever waits is
        /// woken after its answer, if those who were woken do look.
        #[test]
        fn nobody_is_left_asleep(deeds in prop::collection::vec(0..4_u8, 1..12)) {
            let mut all = waiting(deeds.len());
            let senders = std::mem::take(&mut all.senders);
            let mut rounds = [Round::default(), Round::default()];
            for (at, sender) in senders.into_iter().enumerate() {
                rounds[at % 2].send(sender, at);
            }
            let mut done = vec![false; deeds.len()];
            for (at, deed) in deeds.iter().enumerate() {
                match deed {
                    0 => done[at] = all.poll(at).is_ready(),
                    1 => {
                        let (_, fresh) = channel();
                        drop(std::mem::replace(&mut all.receivers[at], fresh));
                        done[at] = true;
                    }
                    _ => {}
                }
            }
            drop(rounds);
            loop {
                let due = (0..done.len()).find(|at| !done[*at] && all.bells[*at].rung() > 0);
                let Some(at) = due else { break };
                prop_assert_eq!(all.poll(at), Poll::Ready(Some(at)));
                done[at] = true;
            }
            prop_assert!(done.iter().all(|done| *done), "{:?}", done);
        }
    }
}
