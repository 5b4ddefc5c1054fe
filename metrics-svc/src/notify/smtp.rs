//! One mail to one recipient, step by step.
//!
//! `lettre`'s own transport answers "refused" without saying which command was; what happens next
//! depends on exactly that (a refused recipient is that recipient's affair, a refused login is
//! everybody's), and `ams alert test` shows every step. So the commands are issued one by one.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use lettre::transport::smtp::{Error as SmtpError, SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT};
use lettre::{Address, transport};
use tokio::net::TcpStream;

/// How the connection is protected; it must be named, there is no opportunistic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// `smtp://`: not at all.
    Plain,
    /// `smtp+starttls://`: STARTTLS, required.
    StartTls,
    /// `smtps://`: TLS from the first byte.
    Tls,
}

/// The relay that takes our mails, and as whom we speak to it.
#[derive(Clone)]
pub struct Relay {
    host: String,
    port: u16,
    security: Security,
    login: Option<(String, String)>,
    ca: Option<Certificate>,
    hello: ClientId,
    timeout: Duration,
    from: Mailbox,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .field("login", &self.login.is_some())
            .finish_non_exhaustive()
    }
}

/// The relay's settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The scheme is none of ours.
    #[error("smtp.url: the scheme must be smtp, smtp+starttls or smtps")]
    Scheme,
    /// No host, a bad port, a bad escape.
    #[error("smtp.url: expected SCHEME://[USER[:PASSWORD]@]HOST[:PORT]")]
    Form,
    /// The sender is no mailbox.
    #[error("smtp.from: `{0}` is not a mail address")]
    From(String),
    /// The CA file holds no certificate.
    #[error("smtp.ca_file: not a PEM certificate")]
    Ca,
}

impl Relay {
    /// Reads `SCHEME://[USER[:PASSWORD]@]HOST[:PORT]`. User and password may be percent-escaped;
    /// `password` replaces the one in the URL. `ca` is PEM and is trusted beside the system's.
    ///
    /// # Errors
    /// The URL, the sender or the certificate cannot be read.
    pub fn new(
        url: &str,
        password: Option<&str>,
        ca: Option<&[u8]>,
        from: &str,
        timeout: Duration,
    ) -> Result<Self, RelayError> {
        let (scheme, rest) = url.split_once("://").ok_or(RelayError::Form)?;
        let (security, port) = match scheme {
            "smtp" => (Security::Plain, SMTP_PORT),
            "smtp+starttls" => (Security::StartTls, SUBMISSION_PORT),
            "smtps" => (Security::Tls, SUBMISSIONS_PORT),
            _ => return Err(RelayError::Scheme),
        };
        let rest = rest.trim_end_matches('/');
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(u, p)| (Some(u), p));
        let (host, port) = host_and_port(place, port).ok_or(RelayError::Form)?;
        let login = match user {
            None => None,
            Some(user) => {
                let (name, own) = user.split_once(':').unwrap_or((user, ""));
                let name = unescape(name).ok_or(RelayError::Form)?;
                let own = unescape(own).ok_or(RelayError::Form)?;
                Some((name, password.map_or(own, str::to_owned)))
            }
        };
        let from: Mailbox = from.parse().map_err(|_| RelayError::From(from.to_owned()))?;
        let ca = match ca {
            None => None,
            Some(pem) => Some(Certificate::from_pem(pem).map_err(|_| RelayError::Ca)?),
        };
        Ok(Self { host, port, security, login, ca, hello: ClientId::default(), timeout, from })
    }

    /// The sender of every mail.
    pub const fn from(&self) -> &Mailbox {
        &self.from
    }

    /// Sends one message to one recipient; every step is told to `progress` as it ends.
    ///
    /// # Errors
    /// The first step that failed. After an error in or after `Data` the relay may have taken the
    /// message all the same: send it again with the same `Message-ID`.
    pub async fn deliver(
        &self,
        to: &Address,
        message: &[u8],
        progress: &mut (dyn FnMut(&Step) + Send),
    ) -> Result<(), Failure> {
        let mut told = Told { progress, timeout: self.timeout };
        let mut line = self.connect(&mut told).await?;
        let sent = self.transact(&mut line, to, message, &mut told).await;
        // The message is settled; a relay that hangs on QUIT changes nothing of that.
        match &sent {
            Ok(()) => drop(told.step(Stage::Quit, line.quit()).await),
            Err(_) => drop(tokio::time::timeout(self.timeout, line.abort()).await),
        }
        sent
    }

    async fn connect(&self, told: &mut Told<'_>) -> Result<AsyncSmtpConnection, Failure> {
        let place = (self.host.as_str(), self.port);
        if self.security == Security::Tls {
            let tls = self.tls().map_err(|error| told.failed(Stage::Tls, &error))?;
            let opening =
                AsyncSmtpConnection::connect_tokio1(place, None, &self.hello, Some(tls), None);
            // One call for three steps: the error says how far it came.
            return match tokio::time::timeout(self.timeout, opening).await {
                Ok(Ok(line)) => {
                    for stage in [Stage::Connect, Stage::Tls, Stage::Greeting] {
                        (told.progress)(&Step { stage, outcome: Ok(String::from("ok")) });
                    }
                    Ok(line)
                }
                Ok(Err(error)) => Err(told.failed(stage_of(&error), &error)),
                Err(_) => Err(told.timed_out(Stage::Connect)),
            };
        }
        let stream = match tokio::time::timeout(self.timeout, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(told.failure(Stage::Connect, false, error.to_string())),
            Err(_) => return Err(told.timed_out(Stage::Connect)),
        };
        let peer = stream.peer_addr().map_or_else(|_| String::from("ok"), |peer| peer.to_string());
        (told.progress)(&Step { stage: Stage::Connect, outcome: Ok(peer) });
        let greeting = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello);
        let mut line = told.step(Stage::Greeting, greeting).await?;
        if self.security == Security::StartTls {
            let tls = self.tls().map_err(|error| told.failed(Stage::Tls, &error))?;
            told.step(Stage::Tls, line.starttls(tls, &self.hello)).await?;
        }
        Ok(line)
    }

    async fn transact(
        &self,
        line: &mut AsyncSmtpConnection,
        to: &Address,
        message: &[u8],
        told: &mut Told<'_>,
    ) -> Result<(), Failure> {
        if let Some((user, password)) = &self.login {
            let login = Credentials::new(user.clone(), password.clone());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            told.step(Stage::Auth, line.auth(&mechanisms, &login)).await?;
        }
        let mut parameters = Vec::new();
        if !is_ascii(&self.from.email) || !is_ascii(to) {
            if !line.server_info().supports_feature(Extension::SmtpUtfEight) {
                let why = String::from("the relay takes no internationalised addresses");
                return Err(told.failure(Stage::RcptTo, true, why));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !message.is_ascii() && line.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let from = Mail::new(Some(self.from.email.clone()), parameters);
        told.step(Stage::MailFrom, line.command(from)).await?;
        told.step(Stage::RcptTo, line.command(Rcpt::new(to.clone(), Vec::new()))).await?;
        let body = async {
            line.command(Data).await?;
            line.message(message).await
        };
        told.step(Stage::Data, body).await.map(drop)
    }

    fn tls(&self) -> Result<TlsParameters, SmtpError> {
        let mut builder = TlsParametersBuilder::new(self.host.clone());
        if let Some(ca) = &self.ca {
            builder = builder.add_root_certificate(ca.clone());
        }
        builder.build()
    }
}

fn is_ascii(address: &Address) -> bool {
    let text: &str = address.as_ref();
    text.is_ascii()
}

/// A step of the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// TCP.
    Connect,
    /// The relay's greeting and EHLO.
    Greeting,
    /// STARTTLS or the TLS handshake.
    Tls,
    /// The login.
    Auth,
    /// The sender.
    MailFrom,
    /// The recipient.
    RcptTo,
    /// The message itself, up to the relay's 250.
    Data,
    /// The farewell.
    Quit,
}

impl Stage {
    /// Whether a refusal here concerns this recipient alone; earlier ones concern every mail.
    pub const fn is_personal(self) -> bool {
        matches!(self, Self::RcptTo | Self::Data)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting and EHLO",
            Self::Tls => "TLS",
            Self::Auth => "AUTH",
            Self::MailFrom => "MAIL FROM",
            Self::RcptTo => "RCPT TO",
            Self::Data => "DATA",
            Self::Quit => "QUIT",
        })
    }
}

/// A step that has ended, with what the relay said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// The relay's answer, or why the step failed.
    pub outcome: Result<String, String>,
}

/// The step that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {text}")]
pub struct Failure {
    /// Which.
    pub stage: Stage,
    /// Whether trying again is pointless (a 5yz reply).
    pub permanent: bool,
    /// What the relay or the network said.
    pub text: String,
}

struct Told<'a> {
    progress: &'a mut (dyn FnMut(&Step) + Send),
    timeout: Duration,
}

impl Told<'_> {
    async fn step<T: Answer>(
        &mut self,
        stage: Stage,
        work: impl Future<Output = Result<T, SmtpError>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(answer)) => {
                (self.progress)(&Step { stage, outcome: Ok(answer.said()) });
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.failed(stage, &error)),
            Err(_) => Err(self.timed_out(stage)),
        }
    }

    fn failed(&mut self, stage: Stage, error: &SmtpError) -> Failure {
        self.failure(stage, error.is_permanent(), with_sources(error))
    }

    fn timed_out(&mut self, stage: Stage) -> Failure {
        let waited = humantime::format_duration(self.timeout);
        self.failure(stage, false, format!("no answer for {waited}"))
    }

    fn failure(&mut self, stage: Stage, permanent: bool, text: String) -> Failure {
        (self.progress)(&Step { stage, outcome: Err(text.clone()) });
        Failure { stage, permanent, text }
    }
}

/// What a finished step leaves to show.
trait Answer {
    fn said(&self) -> String;
}

impl Answer for Response {
    fn said(&self) -> String {
        let text: Vec<&str> = self.message().collect();
        format!("{} {}", self.code(), text.join(" ")).trim_end().to_owned()
    }
}

impl Answer for AsyncSmtpConnection {
    fn said(&self) -> String {
        self.server_info().to_string()
    }
}

impl Answer for () {
    fn said(&self) -> String {
        String::from("ok")
    }
}

fn with_sources(error: &SmtpError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// How far a one-call TLS connection came before this error.
fn stage_of(error: &transport::smtp::Error) -> Stage {
    if error.is_permanent() || error.is_transient() || error.is_response() {
        return Stage::Greeting;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let handshake = [std::io::ErrorKind::InvalidData, std::io::ErrorKind::UnexpectedEof];
            return if handshake.contains(&io.kind()) { Stage::Tls } else { Stage::Connect };
        }
        source = cause.source();
    }
    Stage::Connect
}

fn host_and_port(place: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else {
        place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)))
    };
    let lawful = !host.is_empty() && !host.contains(['/', '?', '#', ' ']);
    let port = port.map_or(Some(default), |port| port.parse().ok())?;
    lawful.then(|| (host.to_owned(), port))
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(url: &str) -> Result<Relay, RelayError> {
        Relay::new(url, None, None, "AMS <ams@example.org>", Duration::from_secs(1))
    }

    #[test]
    fn urls_name_security_place_and_login() {
        let read = relay("smtp+starttls://us%40er:p%3Aw%25@mail.example.org").unwrap();
        assert_eq!(read.security, Security::StartTls);
        assert_eq!((read.host.as_str(), read.port), ("mail.example.org", 587));
        assert_eq!(read.login, Some((String::from("us@er"), String::from("p:w%"))));
        let read = relay("smtp://[::1]:2525/").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.login), ("::1", 2525, None));
        assert_eq!(relay("smtps://h").unwrap().port, 465);
    }

    #[test]
    fn a_password_given_apart_replaces_the_one_in_the_url() {
        let from = "ams@example.org";
        let read = Relay::new("smtp://u:old@h", Some("new"), None, from, Duration::ZERO).unwrap();
        assert_eq!(read.login, Some((String::from("u"), String::from("new"))));
        assert!(!format!("{read:?}").contains("new"));
    }

    #[test]
    fn what_is_no_url_is_refused_by_name() {
        assert_eq!(relay("http://h").unwrap_err(), RelayError::Scheme);
        for bad in ["", "smtp:h", "smtp://", "smtp://h:port", "smtp://u:%zz@h", "smtp://[::1"] {
            assert_eq!(relay(bad).unwrap_err(), RelayError::Form, "{bad}");
        }
        let bad = Relay::new("smtp://h", None, None, "nobody", Duration::ZERO).unwrap_err();
        assert_eq!(bad, RelayError::From(String::from("nobody")));
    }
}
