//! What the connections to the cluster trust.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::{OpenError, Settings};

/// TLS with the operator's authority, or none without one.
pub(super) fn client(settings: &Settings) -> Result<Option<Arc<ClientConfig>>, OpenError> {
    let Some(path) = &settings.ca_file else { return Ok(None) };
    let refuse = |error: &dyn std::fmt::Display| OpenError::Settings(format!("ca_file: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refuse(&error))? {
        let certificate = certificate.map_err(|error| refuse(&error))?;
        roots.add(certificate).map_err(|error| refuse(&error))?;
    }
    if roots.is_empty() {
        return Err(refuse(&"there is no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(&error))?;
    Ok(Some(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}
