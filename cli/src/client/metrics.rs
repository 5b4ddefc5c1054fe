//! Where metrics-svc is, which judges what the broker holds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::place::Place;
use super::server::{CallError, Server, check_url, is_loopback, is_readable_on_the_way};
use crate::failure::Failure;
use crate::print;

/// Where it serves when nothing is set.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// One metrics-svc.
pub(super) struct Metrics {
    pub(super) server: Server,
    url: String,
}

impl Metrics {
    /// The one at `given`, else the one stored beside the API at `place`, else, if the API is on
    /// this machine and no context says so, the one where it serves when nothing is set: that one
    /// gets no token, for it asks for none, and who listens there is not known.
    ///
    /// # Errors
    /// Nothing says where it is, or it is no URL of a server.
    pub(super) fn open(place: &Place, given: Option<&str>) -> Result<Self, Failure> {
        let named = given.map(str::to_owned).or_else(|| place.metrics_url.clone());
        let is_here = || check_url(&place.url).is_ok_and(|url| is_loopback(&url));
        let place = match named {
            Some(url) => {
                let parsed = check_url(&url)?;
                if is_readable_on_the_way(&parsed) {
                    print::note(&format!(
                        "{url} is not encrypted: the token can be read on the way"
                    ));
                }
                Place { url, ..place.clone() }
            }
            None if !place.is_context && is_here() => {
                let url = format!("http://{DEFAULT}");
                print::note(&format!("asking metrics-svc at {url} (--metrics-url says another)"));
                Place { url, token: String::new(), ..place.clone() }
            }
            None => {
                return Err(Failure::Usage(format!(
                    "where is the metrics-svc of {}? name it with --metrics-url, or keep it in a \
                     context: `ams context add ... --metrics-url URL`",
                    place.url
                )));
            }
        };
        Ok(Self { server: Server::new(&place)?, url: place.url })
    }

    /// `error` in words, and what to do about it.
    pub(super) fn failure(&self, error: &CallError) -> Failure {
        let url = &self.url;
        let advice = match error {
            CallError::Refused { code: 401, .. } => format!(
                "metrics-svc at {url} wants a token that it knows: it learns those of the broker \
                 that reports to it"
            ),
            CallError::Unreachable(_) => format!(
                "nobody answers at {url}: does metrics-svc run there? --metrics-url names another"
            ),
            CallError::Foreign(_) => format!("is {url} a metrics-svc? --metrics-url names another"),
            CallError::Refused { .. } | CallError::Lost(_) => format!("by metrics-svc at {url}"),
        };
        Failure::Other(format!("{error}\n  {advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str, metrics_url: Option<&str>, is_context: bool) -> Place {
        Place {
            url: url.to_owned(),
            metrics_url: metrics_url.map(str::to_owned),
            token: String::from("s3cret"),
            ca: None,
            project: None,
            source: String::new(),
            is_context,
            token_source: String::new(),
            is_guess: false,
        }
    }

    #[test]
    fn it_is_where_it_was_said_to_be_or_here_if_the_broker_is() {
        let open = |place: &Place, given| Metrics::open(place, given).map(|metrics| metrics.url);
        let stored = place("http://h", Some("http://m"), true);
        assert_eq!(open(&stored, Some("http://n")).unwrap(), "http://n");
        assert_eq!(open(&stored, None).unwrap(), "http://m");
        let here = place("http://localhost:1", None, false);
        assert_eq!(open(&here, None).unwrap(), "http://127.0.0.1:9464");
        // The end of a tunnel has not its metrics-svc here.
        for elsewhere in [place("http://localhost:1", None, true), place("http://h", None, false)] {
            let error = open(&elsewhere, None).unwrap_err();
            assert!(matches!(&error, Failure::Usage(text) if text.contains("--metrics-url")));
        }
    }
}
