//! The same exchange behind TLS: the relay's certificate is checked, the login travels inside.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use metrics_svc::clock::Time;
use metrics_svc::notify::{Failure, Relay, Stage, Step, test_mail};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A relay with a certificate for 127.0.0.1; it tells the commands it got inside TLS.
struct TlsRelay {
    addr: SocketAddr,
    ca: String,
    said: Receiver<String>,
}

fn relay(starttls: bool) -> TlsRelay {
    let made = rcgen::generate_simple_self_signed([String::from("127.0.0.1")]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, said) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if starttls && !offer(&mut stream) {
                continue;
            }
            let connection = ServerConnection::new(Arc::new(config.clone())).unwrap();
            talk(StreamOwned::new(connection, stream), !starttls, |line| drop(tell.send(line)));
        }
    });
    TlsRelay { addr, ca: made.cert.pem(), said }
}

/// Greets in clear; whether STARTTLS was asked for.
fn offer(stream: &mut TcpStream) -> bool {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    stream.write_all(b"220 relay.test\r\n").unwrap();
    lines.next();
    stream.write_all(b"250-relay.test\r\n250 STARTTLS\r\n").unwrap();
    let asked = lines.next().is_some_and(|line| line.is_ok_and(|line| line == "STARTTLS"));
    stream.write_all(b"220 go on\r\n").unwrap();
    asked
}

/// Speaks until either side has enough. A client that does not trust us hangs up in the handshake,
/// so every read and write may fail.
fn talk(stream: impl Read + Write, greet: bool, tell: impl Fn(String)) {
    let mut line = BufReader::new(stream);
    let mut alive = !greet || say(&mut line, b"220 relay.test\r\n");
    let mut in_data = false;
    while alive {
        let mut command = String::new();
        if !matches!(line.read_line(&mut command), Ok(n) if n > 0) {
            return;
        }
        let command = command.trim_end();
        if in_data {
            if command == "." {
                in_data = false;
                alive = say(&mut line, b"250 taken\r\n");
            }
            continue;
        }
        tell(command.to_owned());
        in_data = command == "DATA";
        alive = match command.split(' ').next().unwrap() {
            "EHLO" => say(&mut line, b"250-relay.test\r\n250 AUTH PLAIN\r\n"),
            "AUTH" if command.ends_with("AG1lAHNlY3JldA==") => say(&mut line, b"235 hello\r\n"),
            "AUTH" => say(&mut line, b"535 5.7.8 wrong password\r\n"),
            "DATA" => say(&mut line, b"354 go on\r\n"),
            "QUIT" => return,
            _ => say(&mut line, b"250 ok\r\n"),
        };
    }
}

fn say<S: Read + Write>(line: &mut BufReader<S>, text: &[u8]) -> bool {
    line.get_mut().write_all(text).is_ok()
}

async fn send(url: &str, ca: Option<&str>) -> (Vec<Stage>, Result<(), Failure>) {
    let timeout = Duration::from_secs(5);
    let ca = ca.map(str::as_bytes);
    let relay = Relay::new(url, None, ca, "ams@example.org", timeout).unwrap();
    let mut stages = Vec::new();
    let mut keep = |step: &Step| stages.push(step.stage);
    let sent = test_mail(&relay, "ann@example.org", Time::from_secs(1), &mut keep).await;
    (stages, sent)
}

const STEPS: [Stage; 7] = [
    Stage::Connect,
    Stage::Greeting,
    Stage::Tls,
    Stage::Auth,
    Stage::MailFrom,
    Stage::RcptTo,
    Stage::Data,
];

#[tokio::test]
async fn starttls_hides_the_login_and_trusts_the_ca_that_was_given() {
    let relay = relay(true);
    let url = format!("smtp+starttls://me:secret@{}", relay.addr);
    let (stages, sent) = send(&url, Some(&relay.ca)).await;
    assert_eq!(sent, Ok(()));
    assert_eq!(stages[..7], STEPS);
    let said: Vec<String> = relay.said.try_iter().collect();
    assert!(said.iter().any(|line| line.starts_with("AUTH PLAIN")), "{said:?}");
}

#[tokio::test]
async fn a_relay_nobody_vouches_for_gets_neither_login_nor_mail() {
    for starttls in [true, false] {
        let relay = relay(starttls);
        let scheme = if starttls { "smtp+starttls" } else { "smtps" };
        let (_, sent) = send(&format!("{scheme}://me:secret@{}", relay.addr), None).await;
        let failure = sent.unwrap_err();
        assert_eq!((failure.stage, failure.permanent), (Stage::Tls, false), "{failure}");
        assert_eq!(relay.said.try_iter().count(), 0);
    }
}

#[tokio::test]
async fn tls_from_the_first_byte_works_and_a_wrong_password_is_named() {
    let relay = relay(false);
    let ca = Some(relay.ca.as_str());
    let (_, sent) = send(&format!("smtps://me:secret@{}", relay.addr), ca).await;
    assert_eq!(sent, Ok(()));
    let (_, sent) = send(&format!("smtps://me:wrong@{}", relay.addr), ca).await;
    let failure = sent.unwrap_err();
    assert_eq!((failure.stage, failure.permanent), (Stage::Auth, true));
    assert!(failure.text.contains("wrong password") && !failure.text.contains("me"), "{failure}");
}
