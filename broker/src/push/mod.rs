//! The way out to the endpoints that messages are to be pushed to: a door that nobody comes in by.
//! So far it only asks whether an endpoint is its subscriber's (`ams-contract.md` 12.3).
//!
//! Who may give us an address is not trusted, and neither is what answers there (`reliability.md` 3):
//! names are resolved once and judged (`address`), and what was judged is what is dialled; no
//! redirect is followed, no proxy asked, little is read, and nothing of it is told.

mod address;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode};
use url::Host;

use crate::domain::push::Endpoint;

/// All of one verification takes at most this long.
const TIME: Duration = Duration::from_secs(5);
/// Ports that are called where not any may be.
const PORTS: [u16; 2] = [443, 8443];
/// Bytes after which no more is read: a verification hash has 64.
const MOST: usize = 1 << 10;

/// What may be called.
#[derive(Debug, Clone, Default)]
pub enum Reach {
    /// Public addresses, on ports 443 and 8443, whose certificates the system's roots vouch for.
    #[default]
    Public,
    /// Any address and port whose certificate these roots (PEM) vouch for: behind a wall.
    Inside(Vec<u8>),
}

/// Why an endpoint was not even heard out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// Its address or port is not one that is called.
    #[error("address or port is not allowed")]
    NotAllowed,
    /// No such name, no connection, no trusted certificate, or no HTTP in time.
    #[error("cannot be reached")]
    Unreachable,
    /// It answered with another status than 200.
    #[error("wrong status")]
    WrongStatus,
}

/// What `endpoint` answers when it is asked for its verification hash; cut where it is far too
/// long. Takes at most 5 s.
///
/// # Errors
/// See [`Unheard`].
pub async fn verification(endpoint: &Endpoint, reach: &Reach) -> Result<Vec<u8>, Unheard> {
    let asked = tokio::time::timeout(TIME, ask(endpoint, reach)).await;
    asked.unwrap_or(Err(Unheard::Unreachable))
}

async fn ask(endpoint: &Endpoint, reach: &Reach) -> Result<Vec<u8>, Unheard> {
    let addresses = addresses(endpoint, reach).await?;
    let client = client(endpoint, &addresses, reach).map_err(|_| Unheard::Unreachable)?;
    let sent = client.get(endpoint.verification_url()).send().await;
    let mut answer = sent.map_err(|_| Unheard::Unreachable)?;
    if answer.status() != StatusCode::OK {
        return Err(Unheard::WrongStatus);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| Unheard::Unreachable)? {
        let room = MOST.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if chunk.len() > room {
            break;
        }
    }
    Ok(body)
}

/// Where the endpoint is, as far as it may be called there: at least one.
async fn addresses(endpoint: &Endpoint, reach: &Reach) -> Result<Vec<SocketAddr>, Unheard> {
    let port = endpoint.port();
    let may_be_called = |ip: IpAddr| match reach {
        Reach::Public => PORTS.contains(&port) && address::is_public(ip),
        Reach::Inside(_) => true,
    };
    let found: Vec<IpAddr> = match endpoint.host() {
        Host::Ipv4(ip) => vec![IpAddr::V4(*ip)],
        Host::Ipv6(ip) => vec![IpAddr::V6(*ip)],
        Host::Domain(name) => {
            let found = tokio::net::lookup_host((name.as_str(), port)).await;
            found.map_err(|_| Unheard::Unreachable)?.map(|found| found.ip()).collect()
        }
    };
    let found = found.into_iter().filter(|ip| may_be_called(*ip));
    let found: Vec<_> = found.map(|ip| SocketAddr::new(ip, port)).collect();
    if found.is_empty() { Err(Unheard::NotAllowed) } else { Ok(found) }
}

/// A client of this one call, that dials nothing but `addresses`: nothing is left open behind it
/// that another call could be sent through.
fn client(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    reach: &Reach,
) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .no_proxy()
        .http1_only()
        .https_only(true)
        .redirect(Policy::none())
        .timeout(TIME);
    // A literal address is dialled as it is.
    if let Host::Domain(name) = endpoint.host() {
        builder = builder.resolve_to_addrs(name, addresses);
    }
    if let Reach::Inside(roots) = reach {
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(roots)?);
    }
    builder.build()
}
