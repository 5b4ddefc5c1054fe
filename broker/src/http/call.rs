//! One request on its way to its handler: what every handler may use.

use actix_web::http::header::HeaderMap;

use super::body::Body;
use super::openapi::Document;
use super::path::Query;
use super::settings::Settings;
use crate::domain::ProjectName;
use crate::service::{Broker, Caller, Error, Peer, Route};

/// A request with its route and names found, not yet admitted.
pub(super) struct Call<'a> {
    pub(super) broker: &'a Broker,
    pub(super) settings: &'a Settings,
    pub(super) document: &'a Document,
    pub(super) query: Query<'a>,
    pub(super) headers: &'a HeaderMap,
    pub(super) token: Option<String>,
    pub(super) body: Body,
    pub(super) peer: Peer,
}

impl Call<'_> {
    /// Who it is, if it may (the gate's one door to [`Broker::admit`]).
    pub(super) fn admit(
        &self,
        route: Route,
        project: Option<&ProjectName>,
    ) -> Result<Caller, Error> {
        self.broker.admit(route, project, self.token.as_deref(), self.peer)
    }
}
