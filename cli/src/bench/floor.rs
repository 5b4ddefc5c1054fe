//! The floor that a broker is measured against: a process that serves the same requests on the
//! same stack and does nothing with them. Hidden; it never runs beside a production broker.

use std::io::{self, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::failure::Failure;
use crate::print;

/// Serves until standard input ends. `tls` holds the certificate that the broker uses.
pub(super) async fn serve(tls: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::Other(format!("floor: {error}"));
    let http = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| failed(&error))?;
    let address = http.local_addr().map_err(|error| failed(&error))?;
    let server = HttpServer::new(|| App::new().default_service(web::to(sink)));
    let server = server.disable_signals().listen(http).map_err(|error| failed(&error))?.run();
    let echo = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let echo = echo.map_err(|error| failed(&error))?;
    let echo_address = echo.local_addr().map_err(|error| failed(&error))?;
    let acceptor =
        TlsAcceptor::from(Arc::new(certificate(tls).map_err(|error| failed(error.as_ref()))?));
    print::lines(&[format!("floor http://{address} | echo {echo_address}")])?;
    print::lines(&[String::from("ready")])?;
    let handle = server.handle();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(accept(echo, acceptor, tasks.clone()));
    tasks.spawn(stop_with_parent(handle));
    server.await.map_err(|error| failed(&error))
}

/// The starter holds our standard input open as long as it lives.
async fn stop_with_parent(server: ServerHandle) {
    let ended = tokio::task::spawn_blocking(|| io::stdin().read(&mut [0]));
    drop(ended.await);
    server.stop(false).await;
}

/// Reads the body, drops it, answers as many bytes as the path ends with.
async fn sink(request: HttpRequest, mut payload: web::Payload) -> HttpResponse {
    while let Some(Ok(chunk)) = payload.next().await {
        drop(chunk);
    }
    let wanted = request.path().rsplit('/').next().and_then(|text| text.parse().ok());
    let answer = vec![b' '; wanted.unwrap_or_default()];
    HttpResponse::Ok().content_type("application/json; charset=utf-8").body(answer)
}

fn certificate(dir: &Path) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(dir.join("server.pem"))?.collect();
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key"))?;
    Ok(ServerConfig::builder().with_no_client_auth().with_single_cert(chain?, key)?)
}

async fn accept(
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    tasks: tokio_util::task::TaskTracker,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tasks.spawn(async move {
            // A client that goes away is no concern of an echo.
            drop(echo(stream, acceptor).await);
        });
    }
}

/// One handshake, one request, one short answer.
async fn echo(stream: tokio::net::TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut heard = vec![0; 16 * 1_024];
    if stream.read(&mut heard).await? > 0 {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await?;
        stream.flush().await?;
    }
    stream.shutdown().await
}
