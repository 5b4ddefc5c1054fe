//! What needs a real connection: bodies too large, too slow, encoded or broken off; TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use broker::http::{ServerHandle, Settings, serve};
use broker::store::{Call, Fault, Gate};
use rustls::ServerConfig;

use crate::api::World;
use crate::tls::certify;

struct Listening {
    world: World,
    address: SocketAddr,
    handle: ServerHandle,
}

fn settings() -> Settings {
    Settings {
        body_limit: 1_000,
        workers: NonZeroUsize::new(1),
        body_deadline: Duration::from_millis(300),
        ..Settings::default()
    }
}

async fn listen(tls: Option<ServerConfig>) -> Listening {
    listen_with(&settings(), tls).await
}

async fn listen_with(settings: &Settings, tls: Option<ServerConfig>) -> Listening {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (plain, tls) = match tls {
        None => (Some(listener), None),
        Some(config) => (None, Some((listener, config))),
    };
    let server = serve(plain, tls, settings, world.api.broker.clone()).unwrap();
    let handle = server.handle();
    drop(actix_web::rt::spawn(server));
    Listening { world, address, handle }
}

impl Listening {
    /// Sends `parts` on one connection, a moment apart, and answers all that comes back until the
    /// server closes or `answers` answers came.
    async fn talk(&self, parts: Vec<Vec<u8>>, answers: usize) -> String {
        let address = self.address;
        let talk = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            for part in parts {
                stream.write_all(&part).unwrap();
            }
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let text = String::from_utf8_lossy(&seen).into_owned();
                if text.matches("\"status\": ").count() >= answers {
                    return text;
                }
                match stream.read(&mut buffer).unwrap() {
                    0 => return text,
                    n => seen.extend_from_slice(&buffer[..n]),
                }
            }
        };
        actix_web::rt::task::spawn_blocking(talk).await.unwrap()
    }

    fn publish(&self, headers: &str) -> Vec<u8> {
        let token = &self.world.api.admin;
        format!(
            "POST /v1/projects/P/topics/t:publish HTTP/1.1\r\nHost: x\r\nx-api-key: {token}\r\n\
             {headers}\r\n\r\n"
        )
        .into()
    }

    async fn stop(self) {
        self.handle.stop(false).await;
    }
}

const STATUS: &[u8] = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";

#[actix_web::test]
async fn a_body_beyond_the_limit_is_dropped_and_named_and_the_connection_lives() {
    let server = listen(None).await;
    let before = server.world.api.contents().await;
    let head = server.publish("Content-Length: 1001");
    let seen = server.talk(vec![head, vec![b' '; 1001], STATUS.to_vec()], 2).await;
    assert!(seen.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{seen}");
    let message = "\"message\": \"Message size is too large: 1001 bytes, the limit is 1000\"";
    assert!(seen.contains(message), "{seen}");
    assert!(seen.contains("HTTP/1.1 200 OK"), "{seen}");

    let chunk = [b"258\r\n".as_slice(), &[b' '; 600], b"\r\n"].concat();
    let head = server.publish("Transfer-Encoding: chunked");
    let body = [chunk.as_slice(), &chunk, b"0\r\n\r\n"].concat();
    let seen = server.talk(vec![head, body, STATUS.to_vec()], 2).await;
    assert!(seen.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{seen}");
    assert!(seen.contains("\"message\": \"Message size is too large: 1"), "{seen}");
    assert!(seen.contains("bytes, the limit is 1000\""), "{seen}");
    assert!(seen.contains("HTTP/1.1 200 OK"), "{seen}");

    // Far beyond: the rest is not read for ever, the answer comes and the connection ends.
    let start = Instant::now();
    let head = server.publish("Content-Length: 1000000000000");
    let seen = server.talk(vec![head, vec![b' '; 5_000]], usize::MAX).await;
    assert!(seen.contains("too large: 1000000000000 bytes, the limit is 1000\""), "{seen}");
    assert!(seen.contains("connection: close"), "{seen}");
    assert!(start.elapsed() < Duration::from_secs(8));
    assert_eq!(server.world.api.contents().await, before);
    server.stop().await;
}

#[actix_web::test]
async fn a_body_at_the_limit_is_taken() {
    let server = listen(None).await;
    let body = format!("{:1000}", "{}");
    let head = server.publish("Content-Length: 1000");
    let seen = server.talk(vec![head, body.into(), STATUS.to_vec()], 1).await;
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
    assert!(seen.contains("{\n   \"messageIds\": []\n}"), "{seen}");
    server.stop().await;
}

#[actix_web::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = listen(None).await;
    let head = server.publish("Content-Length: 10");
    let start = Instant::now();
    let seen = server.talk(vec![head, b"{".to_vec()], usize::MAX).await;
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(seen.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{seen}");
    assert!(seen.contains("\"message\": \"Request body timeout\""), "{seen}");
    assert!(seen.contains("connection: close"), "{seen}");
    server.stop().await;
}

#[actix_web::test]
async fn gzip_is_unpacked_and_every_other_encoding_is_refused() {
    let server = listen(None).await;
    for encoding in ["deflate", "br", "zstd", "identity, gzip", "gzip, gzip", "nonsense"] {
        let head = server.publish(&format!("Content-Encoding: {encoding}\r\nContent-Length: 4"));
        let seen = server.talk(vec![head, b"\x1f\x8b\x08\0".to_vec()], 1).await;
        assert!(seen.starts_with("HTTP/1.1 415 Unsupported Media Type\r\n"), "{seen}");
        assert!(seen.contains("\"message\": \"Content-Encoding is not supported\""), "{seen}");
    }
    // A publish that is taken says no status; the request behind it does.
    let send = |encoding: &str, body: Vec<u8>, answers| {
        let length = body.len();
        let head =
            server.publish(&format!("Content-Encoding: {encoding}\r\nContent-Length: {length}"));
        server.talk(vec![head, body, STATUS.to_vec()], answers)
    };
    let seen = send("Identity", b"{}".to_vec(), 1).await;
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
    for encoding in ["gzip", "x-gzip", "GZIP"] {
        let seen = send(encoding, gzip(br#"{"messages": [{"data": "YQ=="}]}"#), 1).await;
        assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
        assert!(seen.contains("\"messageIds\": [\n"), "{seen}");
    }
    let seen = send("gzip", gzip(&[b' '; 1_001]), 2).await;
    assert!(seen.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{seen}");
    assert!(seen.contains("too large: 1001 bytes, the limit is 1000\""), "{seen}");
    assert!(seen.contains("HTTP/1.1 200 OK"), "the connection lives: {seen}");
    let seen = send("gzip", b"{}".to_vec(), 2).await;
    assert!(seen.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{seen}");
    assert!(seen.contains("\"message\": \"Invalid Request Body\""), "{seen}");
    server.stop().await;
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

#[actix_web::test]
async fn a_refusal_before_the_body_is_read_reaches_a_client_that_still_writes() {
    let server = listen(None).await;
    let head =
        b"POST /v1/projects/P/topics/t:publish HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n";
    let seen = server.talk(vec![head.to_vec(), vec![b' '; 3_000], STATUS.to_vec()], 2).await;
    assert!(seen.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{seen}");
    assert!(seen.contains("HTTP/1.1 200 OK"), "{seen}");
    server.stop().await;
}

#[actix_web::test]
async fn a_body_that_breaks_off_publishes_nothing() {
    let server = listen(None).await;
    let before = server.world.api.contents().await;
    let (head, address) = (server.publish("Content-Length: 100"), server.address);
    let hang_up = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&head).unwrap();
        stream.write_all(b"{\"messages\": [{}]}").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut seen = String::new();
        stream.read_to_string(&mut seen).unwrap();
        seen
    };
    let seen = actix_web::rt::task::spawn_blocking(hang_up).await.unwrap();
    assert!(!seen.contains("200 OK"), "{seen}");
    assert_eq!(server.world.api.contents().await, before);
    server.stop().await;
}

#[actix_web::test]
async fn the_door_speaks_tls() {
    let (config, certificate) = certify("127.0.0.1");
    let server = listen(Some(config)).await;
    let root = reqwest::Certificate::from_der(certificate.der()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let url = format!("https://127.0.0.1:{}/v1/status", server.address.port());
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("\"status\": \"ok\""));
    server.stop().await;
}

/// Sends one request and reads until its answer has ended.
fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    while !seen.ends_with('}') {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "{seen}");
        seen += &String::from_utf8_lossy(&buffer[..count]);
    }
    seen
}

#[actix_web::test]
async fn connections_beyond_the_cap_wait_for_one_to_end() {
    let server = listen_with(&Settings { connections_per_worker: 1, ..settings() }, None).await;
    let address = server.address;
    let talk = move || {
        let mut first = TcpStream::connect(address).unwrap();
        assert!(ask(&mut first, STATUS).starts_with("HTTP/1.1 200 OK"));
        let mut second = TcpStream::connect(address).unwrap();
        second.write_all(STATUS).unwrap();
        for _ in 0..50 {
            ask(&mut first, STATUS);
        }
        second.set_nonblocking(true).unwrap();
        let early = second.read(&mut [0; 1]).unwrap_err();
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
        drop(first);
        second.set_nonblocking(false).unwrap();
        assert!(ask(&mut second, b"").starts_with("HTTP/1.1 200 OK"));
    };
    actix_web::rt::task::spawn_blocking(talk).await.unwrap();
    server.stop().await;
}

#[actix_web::test]
async fn a_publish_in_flight_when_the_server_stops_is_answered() {
    let server = listen(None).await;
    let gate = Gate::default();
    server.world.api.store.fail(Call::Commit, 1, Fault::Hold(gate.clone()));
    let body = br#"{"messages": [{"data": "bQ=="}]}"#;
    let mut request = server.publish(&format!("Content-Length: {}", body.len()));
    request.extend_from_slice(body);
    let address = server.address;
    let client = actix_web::rt::task::spawn_blocking(move || {
        ask(&mut TcpStream::connect(address).unwrap(), &request)
    });
    gate.arrived(1).await;
    // As the program ends: verbs are refused, then the server stops.
    server.world.api.broker.drain();
    let stopped = server.handle.stop(true);
    let closed = move || {
        let start = Instant::now();
        while TcpStream::connect(address).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(10), "it still listens");
        }
    };
    actix_web::rt::task::spawn_blocking(closed).await.unwrap();
    gate.open();
    let seen = client.await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
    assert!(seen.ends_with("{\n   \"messageIds\": [\n      \"0\"\n   ]\n}"), "{seen}");
    stopped.await;
}
