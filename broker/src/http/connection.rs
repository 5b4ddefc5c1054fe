//! What stands between a socket and actix-http: a bound on what is read ahead, and an end for
//! connections that are kept for nothing.
//!
//! actix-http reads whatever has come, up to 128 KiB at once into a buffer that doubles, before it
//! hands any of it on; and a client that trickles the head of its second request is bounded by none
//! of its timers (GHSA-54pm-2wm5-hpmg, mended in versions later than ours).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, interval};

use super::settings::Settings;

/// How often the connections are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// About so many bytes are read before actix-http is to do something with them.
const STRIDE: usize = 16 * 1024;

/// The stream of one connection, encrypted or not.
pub(super) struct Guarded<S> {
    stream: S,
    connection: Arc<Connection>,
    /// Bytes since the last pause.
    read: usize,
}

impl<S> Guarded<S> {
    /// What the watch knows of it.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, connection, read } = self.get_mut();
        if connection.is_over() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if *read >= STRIDE {
            *read = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(stream).poll_read(cx, buf);
        *read += buf.filled().len() - before;
        if polled.is_pending() {
            *read = 0;
            connection.waker.register(cx.waker());
            // It may have been given up before there was anybody to wake.
            if connection.is_over() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// One connection: since when nobody is at work for it, and whether that was too long.
pub(super) struct Connection {
    idle: Mutex<Option<Instant>>,
    over: AtomicBool,
    waker: AtomicWaker,
    /// What is written to it leaves at once.
    #[cfg(test)]
    undelayed: bool,
}

impl Connection {
    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn end_if_idle(&self, longest: Duration) {
        let is_late = self.idle().is_some_and(|since| since.elapsed() >= longest);
        if is_late {
            self.over.store(true, Ordering::Release);
            self.waker.wake();
        }
    }
}

/// A request under way on a connection, until dropped: then the connection is idle.
pub(super) struct Busy(Arc<Connection>);

impl Busy {
    pub(super) fn on(connection: &Arc<Connection>) -> Self {
        *connection.idle() = None;
        Self(Arc::clone(connection))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.idle() = Some(Instant::now());
    }
}

/// Looks after all connections of one server.
#[derive(Default)]
pub(super) struct Watch(Mutex<Vec<Weak<Connection>>>);

impl Watch {
    /// A watch over the connections of a server with these settings, as long as that holds it.
    /// Needs a runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with its server and leaves nothing undone"
    )]
    pub(super) fn start(settings: &Settings) -> Arc<Self> {
        let watch = Arc::new(Self::default());
        let (weak, longest) =
            (Arc::downgrade(&watch), settings.keep_alive.saturating_add(settings.head_deadline));
        tokio::spawn(async move {
            let mut ticks = interval(LOOK);
            loop {
                ticks.tick().await;
                let Some(watch) = weak.upgrade() else { return };
                watch.look(longest);
            }
        });
        watch
    }

    /// Guards the stream of a new connection, which goes through `socket`; and who is there.
    pub(super) fn guard<S>(
        &self,
        stream: S,
        socket: impl Fn(&S) -> &TcpStream,
    ) -> (Guarded<S>, Option<SocketAddr>) {
        // Large answers go out in pieces: Nagle's algorithm would hold each back until the client's
        // delayed acknowledgement of the one before. Where it cannot be turned off, that is all.
        let _slower = socket(&stream).set_nodelay(true);
        let peer = socket(&stream).peer_addr().ok();
        let connection = Arc::new(Connection {
            idle: Mutex::new(Some(Instant::now())),
            over: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            #[cfg(test)]
            undelayed: socket(&stream).nodelay().unwrap_or_default(),
        });
        self.list().push(Arc::downgrade(&connection));
        (Guarded { stream, connection, read: 0 }, peer)
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, longest: Duration) {
        self.list().retain(|connection| {
            let connection = connection.upgrade();
            connection.inspect(|connection| connection.end_if_idle(longest)).is_some()
        });
    }
}

#[cfg(test)]
impl Watch {
    /// Of each connection, whether what is written to it leaves at once.
    pub(super) fn undelayed(&self) -> Vec<bool> {
        let open: Vec<_> = self.list().iter().filter_map(Weak::upgrade).collect();
        open.iter().map(|one| one.undelayed).collect()
    }
}
