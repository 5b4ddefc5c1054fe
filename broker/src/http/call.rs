//! One request on its way to its handler: what every handler may use.

use actix_web::http::header::HeaderMap;
use std::cell::Cell;
use std::sync::Arc;

use super::body::Body;
use super::openapi::Document;
use super::path::Query;
use super::settings::Settings;
use crate::domain::ProjectName;
use crate::push::Reach;
use crate::service::{Broker, Caller, Error, Peer, Pulled, Route, Share};

/// A request with its route and names found, not yet admitted.
pub(super) struct Call<'a> {
    pub(super) broker: &'a Broker,
    pub(super) settings: &'a Settings,
    pub(super) document: &'a Document,
    pub(super) reach: &'a Reach,
    pub(super) query: Query<'a>,
    pub(super) headers: &'a HeaderMap,
    pub(super) token: Option<String>,
    pub(super) body: Body,
    pub(super) peer: Peer,
    /// The room that the answer takes, where it is counted.
    pub(super) share: Cell<Option<Share>>,
}

impl Call<'_> {
    /// Keeps the room that `pulled` takes until the answer, made of it, is sent.
    pub(super) fn keep_share(&self, pulled: &mut Pulled) {
        self.share.set(pulled.share.take().and_then(Arc::into_inner));
    }

    /// Who it is, if it may (the gate's one door to [`Broker::admit`]).
    pub(super) fn admit(
        &self,
        route: Route,
        project: Option<&ProjectName>,
    ) -> Result<Caller, Error> {
        self.broker.admit(route, project, self.token.as_deref(), self.peer)
    }
}
