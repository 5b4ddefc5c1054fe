//! Listening: how many threads, how many connections, how long they may take.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

pub use actix_web::dev::{Server, ServerHandle};
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpServer};
use rustls::ServerConfig;

use super::gate::{Door, answer};
use super::settings::Settings;
use super::watch::Watch;
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
    let door = Door::new(broker, settings.clone());
    let mut server = HttpServer::new(move || App::new().configure(configure(door.clone())))
        .on_connect(move |io, data| watch.connected(io, data))
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.head_deadline)
        .client_disconnect_timeout(Duration::from_secs(2))
        .tls_handshake_timeout(settings.head_deadline)
        .max_connections(settings.connections_per_worker)
        .max_connection_rate(settings.handshakes_per_worker)
        .shutdown_timeout(settings.drain_deadline.as_secs())
        .disable_signals();
    if let Some(workers) = settings.workers {
        server = server.workers(workers.get());
    }
    for listener in plain.iter().chain(tls.iter().map(|(listener, _)| listener)) {
        drop_idle_readers(listener, settings.write_deadline)?;
    }
    if let Some(listener) = plain {
        server = server.listen(listener)?;
    }
    if let Some((listener, mut config)) = tls {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        server = server.listen_rustls_0_23(listener, config)?;
    }
    Ok(server.run())
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
