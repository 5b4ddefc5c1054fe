//! Connections that are kept for nothing: a client that trickles the head of its second request is
//! bounded by no timer of actix-http (GHSA-54pm-2wm5-hpmg, mended in versions later than ours), so
//! its socket is shut down from here.

use std::any::Any;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use rustix::net::{Shutdown, shutdown};
use tokio::time::{Instant, interval};

use super::settings::Settings;

/// How often the connections are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// One connection: a second handle of its socket, and since when nobody is at work for it.
pub(super) struct Connection {
    socket: OwnedFd,
    idle: Mutex<Option<Instant>>,
    dropped: AtomicBool,
}

impl Connection {
    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_if_idle(&self, longest: Duration) {
        let is_late = self.idle().is_some_and(|since| since.elapsed() >= longest);
        if is_late && !self.dropped.swap(true, Ordering::Relaxed) {
            // It may be gone already.
            let _gone = shutdown(&self.socket, Shutdown::Both);
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

    /// Remembers a connection in its own data, which ends with it. One that cannot be watched (no
    /// descriptor is left) is served all the same.
    pub(super) fn connected(&self, io: &dyn Any, data: &mut Extensions) {
        let plain = || io.downcast_ref::<TcpStream>();
        let tls = || io.downcast_ref::<TlsStream<TcpStream>>().map(|tls| tls.get_ref().0);
        let Some(stream) = plain().or_else(tls) else { return };
        // Large answers go out in pieces: Nagle's algorithm would hold each back until the client's
        // delayed acknowledgement of the one before. Where it cannot be turned off, that is all.
        let _slower = stream.set_nodelay(true);
        let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
        let idle = Mutex::new(Some(Instant::now()));
        let connection = Arc::new(Connection { socket, idle, dropped: AtomicBool::new(false) });
        self.list().push(Arc::downgrade(&connection));
        data.insert(connection);
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, longest: Duration) {
        self.list().retain(|connection| {
            let connection = connection.upgrade();
            connection.inspect(|connection| connection.drop_if_idle(longest)).is_some()
        });
    }
}

#[cfg(test)]
impl Watch {
    /// Of each connection, whether what is written to it leaves at once.
    pub(super) fn undelayed(&self) -> Vec<bool> {
        let open: Vec<_> = self.list().iter().filter_map(Weak::upgrade).collect();
        open.iter().map(|one| rustix::net::sockopt::tcp_nodelay(&one.socket).unwrap()).collect()
    }
}
