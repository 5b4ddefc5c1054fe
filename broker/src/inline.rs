//! Tasks that are carried on by the thread that wakes them, if it lets them.
//!
//! Whoever commits for a topic waits for the store's writer, then tells it what comes next. On a
//! thread of its own that is a wake there, a wake back, and a disk that rests meanwhile; on the
//! writer's thread it is neither, and the next entries of all topics go into one frame.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use async_task::{Runnable, ScheduleInfo, WithInfo};
use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

thread_local! {
    /// What was woken here and is to be carried on here; `None` where nothing is.
    static WOKEN: RefCell<Option<VecDeque<Runnable>>> = const { RefCell::new(None) };
}

/// Begins `work` at once, on this thread. Later it goes on where it is woken, within [`carry`], or
/// else on `home`, which it also waits with (timers, blocking reads). A panic ends it alone.
pub(crate) fn spawn(home: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    // Neither the thread that begins it nor the one that carries it on may die of it; the hook for
    // panics has told.
    let work = AssertUnwindSafe(work).catch_unwind();
    let work = TokioContext::new(work, home.clone());
    let home = home.clone();
    let schedule = move |runnable, info: ScheduleInfo| {
        // One that wakes itself would never let its host go on.
        let left = if info.woken_while_running { Some(runnable) } else { keep(runnable) };
        if let Some(runnable) = left {
            drop(home.spawn(async move { runnable.run() }));
        }
    };
    let (runnable, task) = async_task::spawn(work, WithInfo(schedule));
    task.detach();
    runnable.run();
}

/// Does `work`, then carries on here what it woke. Not to be nested, nor called with a lock held.
pub(crate) fn carry<R>(work: impl FnOnce() -> R) -> R {
    WOKEN.set(Some(VecDeque::new()));
    let done = work();
    while let Some(runnable) = WOKEN.with_borrow_mut(|woken| woken.as_mut()?.pop_front()) {
        runnable.run();
    }
    WOKEN.set(None);
    done
}

/// Keeps what was woken here, where it may be.
fn keep(runnable: Runnable) -> Option<Runnable> {
    WOKEN.with_borrow_mut(|woken| match woken {
        Some(woken) => {
            woken.push_back(runnable);
            None
        }
        None => Some(runnable),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used, reason = "a test may fail loudly")]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::sync::oneshot;

    use super::*;
    use crate::answers;

    /// A task that tells on which thread it is, at first and after each answer it gets.
    fn wanderer(
        turns: usize,
    ) -> (Vec<answers::Sender<()>>, UnboundedReceiver<ThreadId>, impl Future<Output = ()> + Send)
    {
        let (tell, told) = unbounded_channel();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..turns).map(|_| answers::channel()).unzip();
        let work = async move {
            tell.send(thread::current().id()).unwrap();
            for receiver in receivers {
                receiver.await;
                tell.send(thread::current().id()).unwrap();
            }
        };
        (senders, told, work)
    }

    #[tokio::test]
    async fn it_begins_at_once_and_goes_on_where_it_is_woken_after_what_woke_it() {
        let here = thread::current().id();
        let (mut senders, mut told, work) = wanderer(2);
        spawn(&Handle::current(), work);
        assert_eq!(told.try_recv(), Ok(here));
        let (second, first) = (senders.pop().unwrap(), senders.pop().unwrap());
        let host = move || {
            let early = carry(|| {
                first.send(());
                told.try_recv()
            });
            assert!(early.is_err(), "it waits for the end of what woke it");
            assert_eq!(told.try_recv(), Ok(thread::current().id()));
            // Where nobody lets it, it goes home.
            second.send(());
            told
        };
        let mut told = thread::spawn(host).join().unwrap();
        assert_eq!(told.recv().await, Some(here));
        assert_eq!(told.recv().await, None, "it is done");
    }

    #[tokio::test]
    async fn what_a_guest_wakes_is_a_guest_too() {
        let (one, mut told_one, first) = wanderer(1);
        let (other, mut told_other, second) = wanderer(1);
        let mut woken = one.into_iter().chain(other);
        let (one, other) = (woken.next().unwrap(), woken.next().unwrap());
        let home = Handle::current();
        spawn(&home, async move {
            first.await;
            other.send(());
        });
        spawn(&home, second);
        let host = move || {
            carry(|| one.send(()));
            let mut last = || (told_one.try_recv(), told_one.try_recv());
            let here = thread::current().id();
            assert_eq!(last().1, Ok(here));
            assert_eq!((told_other.try_recv().is_ok(), told_other.try_recv()), (true, Ok(here)));
        };
        thread::spawn(host).join().unwrap();
    }

    #[tokio::test]
    async fn one_that_wakes_itself_lets_its_host_go_on() {
        let (sender, receiver) = answers::channel::<()>();
        let (done, ended) = oneshot::channel();
        spawn(&Handle::current(), async move {
            receiver.await;
            let host = thread::current().id();
            while thread::current().id() == host {
                tokio::task::yield_now().await;
            }
            done.send(()).unwrap();
        });
        thread::spawn(move || carry(|| sender.send(()))).join().unwrap();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn one_that_dies_dies_alone_and_lets_go_of_what_it_held() {
        struct Held(Arc<AtomicUsize>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = answers::channel::<()>();
        let held = Held(Arc::clone(&dropped));
        spawn(&Handle::current(), async move {
            receiver.await;
            let _held = held;
            panic!("as the test wants");
        });
        let after = thread::spawn(move || {
            carry(|| sender.send(()));
            7
        });
        assert_eq!(after.join().unwrap(), 7);
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn it_may_wait_for_a_time_although_its_host_has_no_clock() {
        let (sender, receiver) = answers::channel::<()>();
        let (tell, told): (UnboundedSender<ThreadId>, _) = unbounded_channel();
        let mut told = told;
        spawn(&Handle::current(), async move {
            receiver.await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            tell.send(thread::current().id()).unwrap();
        });
        thread::spawn(move || carry(|| sender.send(()))).join().unwrap();
        assert_eq!(told.recv().await, Some(thread::current().id()));
    }
}
