//! Listening: how many threads, how many connections, how long they may take.

use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_server::GracefulShutdownSignal;
use actix_service::{
    IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_tls::accept::max_concurrent_tls_connect;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_web::dev::AppConfig;
pub use actix_web::dev::{Server, ServerHandle};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, Error};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Guarded, Watch};
use super::gate::{Door, answer};
use super::settings::Settings;
use crate::service::Broker;

/// Serves `broker` on `plain` without and on `tls` with encryption; either may be absent. Nothing
/// runs until the answer is awaited; [`Server::handle`] stops it: with `stop(true)` open requests
/// may finish within the drain deadline. It takes no signals: whoever awaits it does.
///
/// # Errors
/// When a listener cannot be used.
pub fn serve(
    plain: Option<TcpListener>,
    tls: Option<(TcpListener, ServerConfig)>,
    settings: &Settings,
    broker: Broker,
) -> io::Result<Server> {
    watched(plain, tls, settings, broker, Watch::start(settings))
}

fn watched(
    plain: Option<TcpListener>,
    tls: Option<(TcpListener, ServerConfig)>,
    settings: &Settings,
    broker: Broker,
    watch: Arc<Watch>,
) -> io::Result<Server> {
    max_concurrent_tls_connect(settings.handshakes_per_worker);
    let mut server = Server::build()
        .max_concurrent_connections(settings.connections_per_worker)
        .shutdown_timeout(settings.drain_deadline.as_secs())
        .disable_signals();
    if let Some(workers) = settings.workers {
        server = server.workers(workers.get());
    }
    let shared = Shared {
        door: Door::new(broker, settings.clone()),
        watch,
        stopping: server.graceful_shutdown_signal(),
        settings: settings.clone(),
    };
    for listener in plain.iter().chain(tls.iter().map(|(listener, _)| listener)) {
        drop_idle_readers(listener, settings.write_deadline)?;
    }
    if let Some(listener) = plain {
        let shared = shared.clone();
        server = server.listen("plain", listener, move || shared.plain())?;
    }
    if let Some((listener, mut config)) = tls {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        server = server.listen("tls", listener, move || shared.tls(config.clone()))?;
    }
    Ok(server.run())
}

/// What the connections of one server share.
#[derive(Clone)]
struct Shared {
    door: Door,
    watch: Arc<Watch>,
    stopping: GracefulShutdownSignal,
    settings: Settings,
}

impl Shared {
    fn plain(&self) -> impl ServiceFactory<TcpStream, Config = (), InitError = ()> + use<> {
        let watch = Arc::clone(&self.watch);
        let accept =
            fn_service(move |stream: TcpStream| ready(Ok(watch.guard(stream, |stream| stream))));
        accept.and_then(self.http())
    }

    fn tls(
        &self,
        config: ServerConfig,
    ) -> impl ServiceFactory<TcpStream, Config = (), InitError = ()> + use<> {
        let watch = Arc::clone(&self.watch);
        let mut acceptor = Acceptor::new(config);
        acceptor.set_handshake_timeout(self.settings.head_deadline);
        let guarded = acceptor.map_err(drop).map(move |stream: TlsStream<TcpStream>| {
            watch.guard(stream, |stream| stream.get_ref().0)
        });
        guarded.and_then(self.http())
    }

    /// HTTP/1.1 on a stream: the door behind actix.
    fn http<S>(
        &self,
    ) -> impl ServiceFactory<
        (Guarded<S>, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = (),
        InitError = (),
    > + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stopping = self.stopping.clone();
        let app = App::new().configure(configure(self.door.clone())).into_factory();
        let app = app.map_err(|error: Error| error.error_response());
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(self.settings.keep_alive)
            .client_request_timeout(self.settings.head_deadline)
            .client_disconnect_timeout(Duration::from_secs(2))
            .on_connect_ext(|stream: &Guarded<S>, data| {
                data.insert(Arc::clone(stream.connection()));
            })
            .h1(map_config(app, |()| AppConfig::default()))
            .map_err(drop)
    }
}

/// Lets the kernel drop connections whose client takes nothing for so long, window closed or gone;
/// actix waits for ever. Connections inherit it from their listener.
fn drop_idle_readers(listener: &TcpListener, after: Duration) -> io::Result<()> {
    let millis = i32::try_from(after.as_millis()).unwrap_or(i32::MAX).max(1);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(listener, millis.unsigned_abs())?)
}

/// Puts the door into an actix application: what [`serve`] runs, and tests run in process.
pub fn configure(door: Door) -> impl FnOnce(&mut ServiceConfig) {
    move |app| {
        app.app_data(web::Data::new(door)).default_service(web::to(answer));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::Time;
    use crate::http::tls::{Certificates, Settings as TlsSettings};

    async fn broker(clock: Arc<ManualClock>) -> Broker {
        let settings = crate::config::Settings::default().service().unwrap();
        let store = crate::store::memory();
        Broker::open(store, clock, [7; 32], settings, TaskTracker::new()).await.unwrap()
    }

    #[actix_web::test]
    async fn what_is_answered_leaves_at_once_on_every_connection() {
        let home = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Time::parse_rfc3339("2026-11-22T10:00:00Z").unwrap());
        let certificates =
            Certificates::open(&TlsSettings::default(), home.path(), clock.clone()).unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (plain, tls) = (listen(), listen());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ways = [
            format!("http://127.0.0.1:{}", port(&plain)),
            format!("https://127.0.0.1:{}", port(&tls)),
        ];
        let settings = Settings { workers: std::num::NonZeroUsize::new(1), ..Settings::default() };
        let watch = Watch::start(&settings);
        let tls = Some((tls, certificates.server_config().unwrap()));
        let server =
            watched(Some(plain), tls, &settings, broker(clock).await, Arc::clone(&watch)).unwrap();
        let handle = server.handle();
        let running = actix_web::rt::spawn(server);
        for (way, connections) in ways.iter().zip(1..) {
            let client =
                reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
            let client = client.build().unwrap();
            let answer = client.get(format!("{way}/v1/version")).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            // Whoever was answered is connected.
            assert_eq!(watch.undelayed(), [true], "{way} {connections}");
            drop((answer, client));
            while !watch.undelayed().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        handle.stop(false).await;
        running.await.unwrap().unwrap();
    }
}
