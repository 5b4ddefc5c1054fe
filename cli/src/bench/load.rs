//! The load: one thread, one connection per actor, nothing allocated per request but what an
//! answer needs. A closed loop, or paced by a timer of the kernel.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::connection::Connection;
use super::consume::{Consumer, consume};
use super::probe::{Reading, Usage};
use crate::failure::Failure;

/// What one phase of load consists of.
pub(super) struct Plan {
    /// Without TLS.
    pub(super) plain: SocketAddr,
    /// With TLS, and whom to trust.
    pub(super) tls: Option<(SocketAddr, Arc<rustls::ClientConfig>)>,
    pub(super) actors: Vec<Actor>,
    /// Requests per second of all [`Actor::Paced`] together.
    pub(super) pace: f64,
    /// Not measured.
    pub(super) warm_up: Duration,
    /// Measured.
    pub(super) length: Duration,
    /// Whose CPU is the server's.
    pub(super) server: u32,
    /// A directory on the disk that is watched.
    pub(super) data: PathBuf,
}

/// What one connection does.
#[derive(Clone)]
pub(super) enum Actor {
    /// Operations one after the other.
    Repeat(Script),
    /// The same, each over a TLS connection of its own.
    Churn(Script),
    /// Operations when they are due, each with its due time in its body.
    Paced { request: Vec<u8>, stamp: usize },
    /// Pulls and acknowledges.
    Consume(Box<Consumer>),
}

/// Operations of one or more requests each.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) operations: Arc<[Vec<Vec<u8>>]>,
    /// Which operation comes when, round and round.
    pub(super) order: Arc<[u16]>,
    /// Where in the order this connection begins.
    pub(super) first: usize,
    /// Messages of one operation.
    pub(super) messages: u64,
}

/// What the actors of one kind did.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Of each operation that ended while it was measured, ns.
    pub(super) latencies: Vec<u64>,
    /// Messages of those operations.
    pub(super) messages: u64,
    /// Messages of all operations, warm-up included.
    pub(super) all_messages: u64,
    /// From the due time of a paced message until it was pulled, ns.
    pub(super) delays: Vec<u64>,
}

/// What a phase came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    pub(super) sent: Tally,
    pub(super) received: Tally,
    pub(super) usage: Usage,
    /// Where each consumer is in its subscription.
    pub(super) positions: Vec<(String, u64)>,
}

/// What the actors share.
pub(super) struct Stage {
    begun: Instant,
    measured_from: Instant,
    measured_until: Instant,
    over: Cell<bool>,
    sent: RefCell<Tally>,
    pub(super) received: RefCell<Tally>,
    pub(super) positions: RefCell<Vec<(String, u64)>>,
    due: RefCell<VecDeque<Instant>>,
    some_due: Notify,
}

impl Stage {
    pub(super) const fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Enters an operation that ended just now.
    pub(super) fn enter(&self, tally: &RefCell<Tally>, begun: Instant, messages: u64) {
        let now = Instant::now();
        let mut tally = tally.borrow_mut();
        tally.all_messages += messages;
        if now >= self.measured_from && now < self.measured_until {
            tally.messages += messages;
            tally.latencies.push(nanos(now.saturating_duration_since(begun)));
        }
    }

    /// Enters the way of a paced message, which bears its due time.
    pub(super) fn arrived(&self, due: u64) {
        let now = Instant::now();
        if now >= self.measured_from && now < self.measured_until {
            let since_start = nanos(now.saturating_duration_since(self.begun));
            self.received.borrow_mut().delays.push(since_start.saturating_sub(due));
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs a phase on a thread of its own.
///
/// # Errors
/// The first answer that was not 200, or the first connection that broke.
pub(super) async fn run(plan: Plan) -> Result<Done, Failure> {
    let (told, done) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.and_then(|runtime| {
            let local = tokio::task::LocalSet::new();
            runtime.block_on(local.run_until(play(plan)))
        });
        // Nobody waits for it any more when the run was interrupted.
        drop(told.send(done));
    });
    let ended = done.await.map_err(|_| Failure::Other(String::from("the load thread died")))?;
    ended.map_err(|error| Failure::Other(format!("under load: {error}")))
}

async fn play(plan: Plan) -> io::Result<Done> {
    let begun = Instant::now();
    let measured_from = begun + plan.warm_up;
    let stage = Rc::new(Stage {
        begun,
        measured_from,
        measured_until: measured_from + plan.length,
        over: Cell::new(false),
        sent: RefCell::default(),
        received: RefCell::default(),
        positions: RefCell::default(),
        due: RefCell::default(),
        some_due: Notify::new(),
    });
    let mut playing = Vec::with_capacity(plan.actors.len());
    for actor in plan.actors {
        let act = act(actor, plan.plain, plan.tls.clone(), Rc::clone(&stage));
        playing.push(tokio::task::spawn_local(act));
    }
    if plan.pace > 0.0 {
        playing.push(tokio::task::spawn_local(pace(plan.pace, Rc::clone(&stage))));
    }
    tokio::time::sleep_until(stage.measured_from.into()).await;
    let first = Reading::take(plan.server, &plan.data);
    tokio::time::sleep_until(stage.measured_until.into()).await;
    let usage = Reading::take(plan.server, &plan.data).since(&first);
    stage.over.set(true);
    // Whoever waits for something due.
    stage.some_due.notify_waiters();
    for actor in playing {
        actor.await.map_err(io::Error::other)??;
    }
    let (sent, received) = (stage.sent.take(), stage.received.take());
    Ok(Done { sent, received, usage, positions: stage.positions.take() })
}

async fn act(
    actor: Actor,
    plain: SocketAddr,
    tls: Option<(SocketAddr, Arc<rustls::ClientConfig>)>,
    stage: Rc<Stage>,
) -> io::Result<()> {
    match actor {
        Actor::Repeat(script) => repeat(script, plain, &stage).await,
        Actor::Paced { request, stamp } => paced(request, stamp, plain, &stage).await,
        Actor::Consume(consumer) => consume(*consumer, plain, &stage).await,
        Actor::Churn(script) => {
            let (address, trust) = tls.ok_or_else(|| io::Error::other("no TLS address"))?;
            churn(script, address, trust, &stage).await
        }
    }
}

/// Refuses an answer that is not 200.
pub(super) fn check(status: u16, answer: &[u8]) -> io::Result<()> {
    if status == 200 {
        return Ok(());
    }
    let text = String::from_utf8_lossy(answer.get(..answer.len().min(300)).unwrap_or_default());
    Err(io::Error::other(format!("answered {status}: {text}")))
}

impl Script {
    fn operation(&self, at: usize) -> &[Vec<u8>] {
        let index = self.order.get((self.first + at) % self.order.len().max(1));
        let operation = self.operations.get(index.copied().map_or(0, usize::from));
        operation.map(Vec::as_slice).unwrap_or_default()
    }
}

async fn repeat(script: Script, address: SocketAddr, stage: &Stage) -> io::Result<()> {
    let mut connection = Connection::open(address).await?;
    let mut at = 0;
    while !stage.is_over() {
        let begun = Instant::now();
        for request in script.operation(at) {
            let status = connection.send(request).await?;
            check(status, connection.body())?;
        }
        stage.enter(&stage.sent, begun, script.messages);
        at += 1;
    }
    Ok(())
}

async fn churn(
    script: Script,
    address: SocketAddr,
    trust: Arc<rustls::ClientConfig>,
    stage: &Stage,
) -> io::Result<()> {
    let connector = tokio_rustls::TlsConnector::from(trust);
    let name = rustls::pki_types::ServerName::try_from("localhost").map_err(io::Error::other)?;
    while !stage.is_over() {
        let begun = Instant::now();
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection::over(connector.connect(name.clone(), stream).await?);
        for request in script.operation(0) {
            let status = connection.send(request).await?;
            check(status, connection.body())?;
        }
        stage.enter(&stage.sent, begun, script.messages);
    }
    Ok(())
}

/// Hands on what is due, whatever became of the operations before it.
async fn pace(rate: f64, stage: Rc<Stage>) -> io::Result<()> {
    let (due, mut heard) = mpsc::unbounded_channel();
    let metronome = std::thread::spawn(move || beat(rate, &due));
    while !stage.is_over()
        && let Some(due) = heard.recv().await
    {
        stage.due.borrow_mut().push_back(due);
        stage.some_due.notify_one();
    }
    drop(heard);
    metronome.join().unwrap_or_else(|_| Err(io::Error::other("the metronome died")))
}

/// Says `rate` times a second that something is due, until nobody listens. The kernel's timer is
/// finer than the runtime's, whose millisecond would show in the latencies.
fn beat(rate: f64, due: &mpsc::UnboundedSender<Instant>) -> io::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let tick = Timespec { tv_sec: 0, tv_nsec: 200_000 };
    let every = Itimerspec { it_interval: tick, it_value: tick };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
    let gap = Duration::from_secs_f64(1.0 / rate);
    let mut next = Instant::now();
    loop {
        // How often it fired does not matter: the clock says what is due.
        rustix::io::read(&timer, &mut [0; 8])?;
        let now = Instant::now();
        while next <= now {
            if due.send(next).is_err() {
                return Ok(());
            }
            next += gap;
        }
    }
}

async fn paced(
    mut request: Vec<u8>,
    stamp: usize,
    address: SocketAddr,
    stage: &Stage,
) -> io::Result<()> {
    let mut connection = Connection::open(address).await?;
    while !stage.is_over() {
        let due = stage.due.borrow_mut().pop_front();
        let Some(due) = due else {
            stage.some_due.notified().await;
            continue;
        };
        let text = format!("{:016x}", nanos(due.saturating_duration_since(stage.begun)));
        if let Some(place) = request.get_mut(stamp..stamp + text.len()) {
            place.copy_from_slice(text.as_bytes());
        }
        let status = connection.send(&request).await?;
        check(status, connection.body())?;
        stage.enter(&stage.sent, due, 1);
    }
    Ok(())
}
