//! A CA of one's own in the data directory, and the server certificate it issues.
//!
//! Strict clients (OpenSSL with `X509_STRICT`, the default of Python 3.13) want key usage, a
//! subject key id in the CA and an authority key id in what it issues.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::RngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::TlsError;
use crate::domain::Time;
use crate::files::{self, Readers};

/// Clients refuse server certificates of more than 398 days.
const LIFE: Duration = Duration::from_secs(396 * 86_400);
const CA_LIFE: Duration = Duration::from_secs(3_650 * 86_400);
/// For clients whose clock is behind ours.
const BACKDATED: Duration = Duration::from_secs(3_600);
/// A CA that becomes valid later than this was made under a clock that was ahead.
const AHEAD: Duration = Duration::from_secs(86_400);
/// 2026-11-01: a clock before it is behind, and judges nobody.
const EARLIEST: Time = Time::from_secs(1_793_491_200);

/// The CA in a directory: `ca.pem`, `ca.key`, `server.pem`, `server.key`.
#[derive(Debug)]
pub(super) struct LocalCa {
    dir: PathBuf,
    names: Vec<ServerName<'static>>,
}

impl LocalCa {
    /// Makes the CA if there is none, or one that no client takes yet because the clock was ahead when
    /// it was made; that one is kept beside it. `extra` names are comma-separated.
    pub(super) fn open(dir: &Path, extra: &str, now: Time) -> Result<Self, TlsError> {
        let ca = Self { dir: dir.to_owned(), names: names(extra)? };
        files::make_dir(dir).map_err(|source| TlsError::File { path: dir.to_owned(), source })?;
        // The certificate is written last: without it the key is nobody's.
        if !ca.ca_certificate().exists() {
            ca.found(now)?;
        } else if now >= EARLIEST && ca.valid_from()? > now.plus(AHEAD) {
            ca.set_aside()?;
            ca.found(now)?;
            let file = ca.ca_certificate();
            tracing::warn!(file = %file.display(), "the CA was made while the clock was ahead: there is a new one to trust");
        }
        Ok(ca)
    }

    fn valid_from(&self) -> Result<Time, TlsError> {
        let path = self.ca_certificate();
        let der = CertificateDer::from_pem_file(&path)
            .map_err(|error| TlsError::content(&path, error))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| TlsError::content(&path, error))?;
        let seconds = certificate.validity().not_before.timestamp();
        Ok(Time::from_secs(u64::try_from(seconds).unwrap_or_default()))
    }

    /// Key and certificate become `ca.key.old` and `ca.pem.old`: should it be the present clock that
    /// is wrong, they can be put back.
    fn set_aside(&self) -> Result<(), TlsError> {
        for name in ["ca.key", "ca.pem"] {
            let path = self.dir.join(name);
            match std::fs::rename(&path, self.dir.join(format!("{name}.old"))) {
                // A crash in between: it is there already.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                done => done.map_err(|source| TlsError::File { path, source })?,
            }
        }
        Ok(())
    }

    pub(super) fn ca_certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.dir.join("server.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.dir.join("server.key")
    }

    /// Issues a server certificate unless there is one that this CA signed, that holds every name
    /// and has more than a third of its life left.
    pub(super) fn renew_if_due(&self, now: Time) -> Result<(), TlsError> {
        if self.is_sound(now) { Ok(()) } else { self.issue(now) }
    }

    fn is_sound(&self, now: Time) -> bool {
        let key = rcgen_key(&self.key());
        key.is_ok() && self.verified_at(now) && self.verified_at(now.plus(LIFE / 3))
    }

    /// Whether a client that trusts the CA would accept the certificate at `when`, for each name.
    fn verified_at(&self, when: Time) -> bool {
        let Ok(ca) = CertificateDer::from_pem_file(self.ca_certificate()) else { return false };
        let Ok(server) = CertificateDer::from_pem_file(self.certificate()) else { return false };
        let mut roots = RootCertStore::empty();
        if roots.add(ca).is_err() {
            return false;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), super::provider()).build();
        let Ok(verifier) = verifier else { return false };
        let when = UnixTime::since_unix_epoch(Duration::from_secs(when.secs()));
        self.names
            .iter()
            .all(|name| verifier.verify_server_cert(&server, &[], name, &[], when).is_ok())
    }

    fn found(&self, now: Time) -> Result<(), TlsError> {
        let key = generate()?;
        let mut params = CertificateParams::default();
        // Unique: a client may trust the CAs of several data directories.
        let name = format!("AMS local CA {} {:08x}", host_name(), rand::rng().next_u32());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        live(&mut params, now, CA_LIFE);
        let certificate = params.self_signed(&key).map_err(make)?;
        self.write(&self.dir.join("ca.key"), &key.serialize_pem(), Readers::Owner)?;
        self.write(&self.ca_certificate(), &certificate.pem(), Readers::All)
    }

    fn issue(&self, now: Time) -> Result<(), TlsError> {
        let path = self.ca_certificate();
        let ca = read(&path)?;
        let issuer = Issuer::from_ca_cert_pem(&ca, rcgen_key(&self.dir.join("ca.key"))?)
            .map_err(|error| TlsError::content(&path, error))?;
        let key = generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        for name in &self.names {
            params.subject_alt_names.push(match name {
                ServerName::IpAddress(address) => SanType::IpAddress(IpAddr::from(*address)),
                name => SanType::DnsName(name.to_str().as_ref().try_into().map_err(make)?),
            });
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        live(&mut params, now, LIFE);
        let certificate = params.signed_by(&key, &issuer).map_err(make)?;
        // Between the two writes a crash leaves a pair that does not match: the key goes first, and
        // a certificate of another key is found out by `Files::read`; so remove the old one before.
        match std::fs::remove_file(self.certificate()) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(TlsError::File { path: self.certificate(), source });
            }
            _ => {}
        }
        self.write(&self.key(), &key.serialize_pem(), Readers::Owner)?;
        self.write(&self.certificate(), &certificate.pem(), Readers::All)?;
        tracing::info!(file = %self.certificate().display(), "certificate issued");
        Ok(())
    }

    fn write(&self, path: &Path, text: &str, readers: Readers) -> Result<(), TlsError> {
        files::write(path, text.as_bytes(), readers)
            .map_err(|source| TlsError::File { path: path.to_owned(), source })
    }
}

/// `localhost`, the loopback addresses, the machine's name if it is one, and `extra`.
fn names(extra: &str) -> Result<Vec<ServerName<'static>>, TlsError> {
    let mut names = Vec::new();
    let wanted = extra.split(',').map(str::trim).filter(|name| !name.is_empty());
    for name in ["localhost", "127.0.0.1", "::1"].into_iter().chain(wanted) {
        let parsed = ServerName::try_from(name.to_owned());
        names.push(parsed.map_err(|_| TlsError::Name(name.to_owned()))?);
    }
    if let Ok(host) = ServerName::try_from(host_name())
        && !names.contains(&host)
    {
        names.push(host);
    }
    Ok(names)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn live(params: &mut CertificateParams, now: Time, life: Duration) {
    let from = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.secs());
    params.not_before = from - BACKDATED;
    params.not_after = from + life;
    let mut serial = [0; 16];
    rand::rng().fill_bytes(&mut serial);
    if let Some(first) = serial.first_mut() {
        // Positive and of full length.
        *first = (*first & 0x7f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

fn generate() -> Result<KeyPair, TlsError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)
}

fn make(error: rcgen::Error) -> TlsError {
    TlsError::Make(error.to_string())
}

fn read(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

fn rcgen_key(path: &Path) -> Result<KeyPair, TlsError> {
    KeyPair::from_pem(&read(path)?).map_err(|error| TlsError::content(path, error))
}
