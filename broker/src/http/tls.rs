//! Certificates: our own from a local CA, or the operator's; re-read without a restart.
//!
//! AMS clients speak only https, so TLS is on from the first start and nothing has to be prepared.

mod local_ca;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::domain::Time;
use local_ca::LocalCa;

/// `[broker.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The operator's certificate, PEM, chain behind it; empty = one from the local CA.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Host names and addresses that the generated certificate holds beside `localhost`,
    /// `127.0.0.1`, `::1` and the machine's name, comma-separated.
    pub names: String,
}

/// TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the pair is set, the other is not.
    #[error("tls.cert_file and tls.key_file go together")]
    HalfAPair,
    /// A name for the generated certificate is none.
    #[error("tls.names: `{0}` is neither a host name nor an address")]
    Name(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path}: {reason}")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

impl TlsError {
    fn content(path: &Path, reason: impl ToString) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The pair of files in use, and the server's certificate read from them.
pub struct Certificates {
    files: Files,
    local: Option<LocalCa>,
    clock: Arc<dyn Clock>,
    current: RwLock<Arc<CertifiedKey>>,
    looked: Mutex<Looked>,
}

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// When the files were looked at last, and how old they were then.
#[derive(Debug, Clone, Copy)]
struct Looked {
    at: Time,
    stamps: [Option<SystemTime>; 2],
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the operator's certificate, or (in `dir`) makes what is missing of the local CA and
    /// its certificate.
    ///
    /// # Errors
    /// Settings that contradict each other, files that cannot be read or written or hold something
    /// else.
    pub fn open(
        settings: &Settings,
        dir: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, TlsError> {
        let own = !settings.cert_file.as_os_str().is_empty();
        if own == settings.key_file.as_os_str().is_empty() {
            return Err(TlsError::HalfAPair);
        }
        let (files, local) = if own {
            let certificate = settings.cert_file.clone();
            (Files { certificate, key: settings.key_file.clone() }, None)
        } else {
            let local = LocalCa::open(dir, &settings.names, clock.wall())?;
            local.renew_if_due(clock.wall())?;
            (Files { certificate: local.certificate(), key: local.key() }, Some(local))
        };
        let stamps = files.stamps();
        let current = RwLock::new(Arc::new(files.read()?));
        let looked = Mutex::new(Looked { at: clock.steady(), stamps });
        Ok(Arc::new(Self { files, local, clock, current, looked }))
    }

    /// The file of the CA that clients need to trust, when it is ours.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.local.as_ref().map(LocalCa::ca_certificate)
    }

    /// The listener's configuration: TLS 1.2 and 1.3, aws-lc-rs, HTTP/1.1.
    ///
    /// # Errors
    /// The provider knows none of these versions, which a build of ours never sees.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| TlsError::Make(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The certificate in force, looked for again if a minute has passed. A look that fails is
    /// logged and the one in force stays.
    fn current(&self) -> Arc<CertifiedKey> {
        if self.is_time_to_look() {
            match self.look() {
                Ok(false) => {}
                Ok(true) => {
                    let file = self.files.certificate.display();
                    tracing::info!(%file, "certificate read again");
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "certificate not renewed"
                    );
                }
            }
        }
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_time_to_look(&self) -> bool {
        let now = self.clock.steady();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.since(looked.at) >= LOOK_EVERY;
        if due {
            looked.at = now;
        }
        due
    }

    /// Renews what is ours and due, and reads the files if they changed; whether they did.
    fn look(&self) -> Result<bool, TlsError> {
        if let Some(local) = &self.local {
            local.renew_if_due(self.clock.wall())?;
        }
        let stamps = self.files.stamps();
        if self.looked.lock().unwrap_or_else(PoisonError::into_inner).stamps == stamps {
            return Ok(false);
        }
        let fresh = Arc::new(self.files.read()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).stamps = stamps;
        Ok(true)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl Files {
    fn stamps(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key]
            .map(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
    }

    /// Chain and key, which must belong together.
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| TlsError::content(&self.certificate, error))?;
        if chain.is_empty() {
            return Err(TlsError::content(&self.certificate, "no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| TlsError::content(&self.key, error))?;
        CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| TlsError::content(&self.key, error))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;
    use crate::clock::ManualClock;

    const DAY: Duration = Duration::from_secs(86_400);

    fn start() -> (tempfile::TempDir, Arc<ManualClock>) {
        let clock = ManualClock::at(Time::parse_rfc3339("2026-11-22T10:00:00Z").unwrap());
        (tempfile::tempdir().unwrap(), clock)
    }

    #[test]
    fn the_same_certificate_serves_until_a_third_of_its_life_is_left() {
        let (dir, clock) = start();
        let open = || Certificates::open(&Settings::default(), dir.path(), clock.clone()).unwrap();
        let certificates = open();
        let first = certificates.current().cert.clone();
        let ca = std::fs::read(certificates.ca_file().unwrap()).unwrap();
        assert_eq!(open().current().cert, first, "a second start finds it");
        clock.advance(DAY * 260);
        assert_eq!(certificates.current().cert, first);
        clock.advance(DAY * 10);
        let second = certificates.current().cert.clone();
        assert_ne!(second, first, "renewed without a restart");
        assert_eq!(certificates.current().cert, second);
        assert_eq!(std::fs::read(certificates.ca_file().unwrap()).unwrap(), ca, "same CA");
    }

    /// The local CA of `dir` as a start at this time leaves it.
    fn ca_after_start(dir: &Path, time: &str) -> Vec<u8> {
        let clock = ManualClock::at(Time::parse_rfc3339(time).unwrap());
        let certificates = Certificates::open(&Settings::default(), dir, clock).unwrap();
        std::fs::read(certificates.ca_file().unwrap()).unwrap()
    }

    #[test]
    fn a_ca_made_while_the_clock_was_ahead_is_replaced_and_kept() {
        let (dir, _) = start();
        let early = ca_after_start(dir.path(), "2031-01-01T00:00:00Z");
        let key = std::fs::read(dir.path().join("ca.key")).unwrap();
        // A day before, with what a CA is dated back, it might as well be another zone.
        assert_eq!(ca_after_start(dir.path(), "2030-12-30T23:30:00Z"), early);
        // A clock that cannot be right judges nothing.
        assert_eq!(ca_after_start(dir.path(), "1970-01-01T00:10:00Z"), early);
        let now = ca_after_start(dir.path(), "2026-11-22T10:00:00Z");
        assert_ne!(now, early);
        assert_eq!(std::fs::read(dir.path().join("ca.pem.old")).unwrap(), early);
        assert_eq!(std::fs::read(dir.path().join("ca.key.old")).unwrap(), key);
        assert_ne!(std::fs::read(dir.path().join("ca.key")).unwrap(), key);
        assert_eq!(ca_after_start(dir.path(), "2026-11-22T10:01:00Z"), now, "once");
        assert_eq!(ca_after_start(dir.path(), "2027-11-22T10:00:00Z"), now);
    }

    #[test]
    fn a_replacement_of_the_ca_that_was_cut_is_finished() {
        let (dir, _) = start();
        let early = ca_after_start(dir.path(), "2031-01-01T00:00:00Z");
        let key = std::fs::read(dir.path().join("ca.key")).unwrap();
        std::fs::rename(dir.path().join("ca.key"), dir.path().join("ca.key.old")).unwrap();
        let now = ca_after_start(dir.path(), "2026-11-22T10:00:00Z");
        assert_ne!(now, early);
        assert_eq!(std::fs::read(dir.path().join("ca.pem.old")).unwrap(), early);
        assert_eq!(std::fs::read(dir.path().join("ca.key.old")).unwrap(), key);
    }

    #[test]
    fn a_new_name_makes_a_new_certificate() {
        let (dir, clock) = start();
        let open = |names: &str| {
            let settings = Settings { names: names.to_owned(), ..Settings::default() };
            Certificates::open(&settings, dir.path(), clock.clone())
        };
        let first = open("").unwrap().current().cert.clone();
        let second = open("broker.example.org, 192.0.2.7").unwrap().current().cert.clone();
        assert_ne!(first, second);
        assert_eq!(open("192.0.2.7").unwrap().current().cert, second, "it holds that one too");
        assert!(matches!(open("not a name"), Err(TlsError::Name(_))));
    }

    #[test]
    fn the_operators_certificate_is_read_again_within_a_minute_of_its_change() {
        let (ours, clock) = start();
        let (theirs, _) = start();
        let make = |dir: &Path| {
            Certificates::open(&Settings::default(), dir, clock.clone()).unwrap().files.clone()
        };
        let source = make(ours.path());
        let own = Settings {
            cert_file: theirs.path().join("cert.pem"),
            key_file: theirs.path().join("key.pem"),
            names: String::new(),
        };
        let install = |files: &Files, age: u64| {
            for (from, to) in [(&files.certificate, &own.cert_file), (&files.key, &own.key_file)] {
                std::fs::copy(from, to).unwrap();
                let stamp = SystemTime::UNIX_EPOCH + Duration::from_secs(age);
                std::fs::File::options().write(true).open(to).unwrap().set_modified(stamp).unwrap();
            }
        };
        install(&source, 1_000);
        let certificates = Certificates::open(&own, ours.path(), clock.clone()).unwrap();
        assert_eq!(certificates.ca_file(), None);
        let first = certificates.current().cert.clone();
        let other = tempfile::tempdir().unwrap();
        install(&make(other.path()), 2_000);
        assert_eq!(certificates.current().cert, first, "looked at most once a minute");
        clock.advance(LOOK_EVERY);
        let second = certificates.current().cert.clone();
        assert_ne!(second, first);
        std::fs::write(&own.cert_file, "rubbish").unwrap();
        clock.advance(LOOK_EVERY);
        assert_eq!(certificates.current().cert, second, "the one in force stays");
        assert!(Certificates::open(&own, ours.path(), clock.clone()).is_err());
    }

    #[test]
    fn half_a_pair_and_a_foreign_key_are_refused() {
        let (dir, clock) = start();
        let half = Settings { cert_file: "a".into(), ..Settings::default() };
        assert!(matches!(
            Certificates::open(&half, dir.path(), clock.clone()),
            Err(TlsError::HalfAPair)
        ));
        let one = Certificates::open(&Settings::default(), dir.path(), clock.clone()).unwrap();
        let second = tempfile::tempdir().unwrap();
        let two = Certificates::open(&Settings::default(), second.path(), clock.clone()).unwrap();
        let mixed = Settings {
            cert_file: one.files.certificate.clone(),
            key_file: two.files.key.clone(),
            names: String::new(),
        };
        assert!(matches!(
            Certificates::open(&mixed, dir.path(), clock),
            Err(TlsError::Content { .. })
        ));
    }

    /// The greeting of a client that knows no version later than `version` and these suites.
    fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
        let suites = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect::<Vec<u8>>();
        // Groups, point formats, and signatures by ECDSA and RSA.
        let groups = [0, 10, 0, 6, 0, 4, 0, 29, 0, 23, 0, 11, 0, 2, 1, 0];
        let extensions = [&groups[..], &[0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1]].concat();
        let mut body = [&version.to_be_bytes()[..], &[7; 32], &[0]].concat();
        body.extend([&length(&suites)[..], &suites, &[1, 0]].concat());
        body.extend([&length(&extensions)[..], &extensions].concat());
        let message = [&[1, 0][..], &length(&body), &body].concat();
        [&[22, 3, 1][..], &length(&message), &message].concat()
    }

    /// Kind of the record that comes back, and its last byte: of an alert which one.
    fn answered(certificates: &Arc<Certificates>, hello: &[u8]) -> (Option<u8>, Option<u8>) {
        let config = Arc::new(certificates.server_config().unwrap());
        let mut connection = rustls::ServerConnection::new(config).unwrap();
        connection.read_tls(&mut &hello[..]).unwrap();
        drop(connection.process_new_packets());
        let mut answer = Vec::new();
        connection.write_tls(&mut answer).unwrap();
        (answer.first().copied(), answer.last().copied())
    }

    #[test]
    fn old_versions_and_weak_suites_are_refused() {
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        const HANDSHAKE_FAILURE: u8 = 40;
        const PROTOCOL_VERSION: u8 = 70;

        let (dir, clock) = start();
        let certificates = Certificates::open(&Settings::default(), dir.path(), clock).unwrap();
        // ECDHE with AES-GCM, for either kind of key.
        let good = [0xc02b, 0xc02f];
        let (kind, _) = answered(&certificates, &hello(0x0303, &good));
        assert_eq!(kind, Some(HANDSHAKE), "TLS 1.2 is spoken");
        for version in [0x0002, 0x0300, 0x0301, 0x0302] {
            let answer = answered(&certificates, &hello(version, &good));
            assert_eq!(answer, (Some(ALERT), Some(PROTOCOL_VERSION)), "version {version:#06x}");
        }
        for (suite, what) in [
            (0x0000, "none at all"),
            (0x0001, "no encryption"),
            (0x0005, "RC4"),
            (0x000a, "3DES"),
            (0x002f, "RSA key exchange"),
            (0x009c, "RSA key exchange with GCM"),
            (0x009e, "finite-field Diffie-Hellman"),
            (0xc009, "CBC with SHA-1, ECDSA"),
            (0xc013, "CBC with SHA-1, RSA"),
            (0xc018, "nobody authenticated"),
            (0xc023, "CBC with SHA-256"),
        ] {
            let answer = answered(&certificates, &hello(0x0303, &[suite]));
            assert_eq!(answer, (Some(ALERT), Some(HANDSHAKE_FAILURE)), "{what}");
        }
    }
}
