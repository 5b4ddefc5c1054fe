//! Who may do what: the gate (`ams-contract.md` 1.4).

use std::sync::Arc;

use super::{Broker, Error, Peer, Route, tokens};
use crate::domain::records::UserRecord;
use crate::domain::roles::{ProjectRole, ServiceRole};
use crate::domain::{ProjectId, ProjectName, UserId, UserName};

/// Somebody admitted for one action. Only [`Broker::admit`] makes one, and every verb that needs
/// rights takes one.
#[derive(Debug, Clone)]
pub struct Caller {
    /// As it was when it was admitted, with the token it named.
    user: Arc<UserRecord>,
    project: Option<ProjectId>,
    route: Route,
    peer: Peer,
}

impl Caller {
    /// Who it is.
    pub fn user(&self) -> UserId {
        self.user.id
    }

    /// Its name.
    pub fn name(&self) -> &UserName {
        &self.user.name
    }

    /// What it was admitted for.
    pub const fn route(&self) -> Route {
        self.route
    }

    /// Where it calls from.
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// The project it was admitted in.
    pub(super) fn project(&self) -> Result<ProjectId, Error> {
        self.project.ok_or(Error::ProjectNotFound)
    }

    pub(super) fn is(&self, role: &ProjectRole) -> bool {
        project_roles(&self.user, self.project).contains(role)
    }

    pub(super) fn is_service_admin(&self) -> bool {
        self.user.service_roles.contains(&ServiceRole::ServiceAdmin)
    }

    pub(super) fn is_push_worker(&self) -> bool {
        self.user.service_roles.contains(&ServiceRole::PushWorker)
    }

    /// The ACL rule (`ams-contract.md` 2.4): holding `role` makes the ACL apply, whatever else is
    /// held.
    pub(super) fn passes(&self, role: &ProjectRole, acl: &[UserId]) -> Result<(), Error> {
        if self.is(role) && !acl.contains(&self.user.id) { Err(Error::Forbidden) } else { Ok(()) }
    }

    /// Whether a list shows this caller only what its ACLs name.
    pub(super) fn sees_own_only(&self, role: &ProjectRole) -> bool {
        self.is(role) && !self.is(&ProjectRole::ProjectAdmin) && !self.is_service_admin()
    }
}

/// What `user` is in `project`.
fn project_roles(user: &UserRecord, project: Option<ProjectId>) -> &[ProjectRole] {
    let held = project.and_then(|id| user.projects.iter().find(|held| held.project == id));
    held.map_or(&[], |held| &held.roles)
}

impl Broker {
    /// The gate: who is it, and may it? In the order of `ams-contract.md` 1.4 steps 4-7: no token = `Unauthorized`; unknown
    /// project = `ProjectNotFound` (except for `Route::ProjectsCreate`); token unknown or no role here = `Unauthorized`; role table
    /// = `Forbidden`; then `Rate`. A pull denied to a role or to an unknown (revoked) token is counted on its subscription by [`Self::pull_denied`].
    /// A draining broker admits nobody: `Unavailable`.
    pub fn admit(
        &self,
        route: Route,
        project: Option<&ProjectName>,
        token: Option<&str>,
        peer: Peer,
    ) -> Result<Caller, Error> {
        if self.is_draining() {
            return Err(Error::Unavailable);
        }
        let token = token.filter(|token| !token.is_empty()).ok_or(Error::Unauthorized)?;
        let token = tokens::hash(token);
        let state = self.0.service.read();
        let found = project.and_then(|name| state.index.project(name));
        if project.is_some() && found.is_none() && route != Route::ProjectsCreate {
            return Err(Error::ProjectNotFound);
        }
        let user = state.index.holder(&token).ok_or(Error::Unauthorized)?;
        let project = found.map(|project| project.id);
        let caller = self.judge(user, project, (route, peer))?;
        // Whoever may mend what runs away is not held up by it.
        if !caller.is_service_admin() {
            self.0.quotas.request(user.id, project)?;
        }
        Ok(caller)
    }

    /// What [`Self::admit`] would say to `caller` now, for verbs that wait: a token may have ended
    /// meanwhile, or a role. It takes nothing of a rate.
    pub(super) fn readmit(&self, caller: &Caller) -> Result<Caller, Error> {
        let state = self.0.service.read();
        if caller.project.is_some_and(|id| !state.index.projects.contains_key(&id)) {
            return Err(Error::ProjectNotFound);
        }
        let token = &caller.user.token_sha256;
        let user = state.index.holder(token).ok_or(Error::Unauthorized)?;
        self.judge(user, caller.project, (caller.route, caller.peer))
    }

    /// Whether the roles of a token's `user` allow what it asks.
    fn judge(
        &self,
        user: &Arc<UserRecord>,
        project: Option<ProjectId>,
        (route, peer): (Route, Peer),
    ) -> Result<Caller, Error> {
        let roles = project_roles(user, project);
        if roles.is_empty() && user.service_roles.is_empty() {
            return Err(Error::Unauthorized);
        }
        if !self.0.settings.roles.allow(route, roles, &user.service_roles) {
            return Err(Error::Forbidden);
        }
        Ok(Caller { user: Arc::clone(user), project, route, peer })
    }

    /// The names of the roles that may call `route`: those in a project, then those in the service.
    pub fn roles_of(&self, route: Route) -> Vec<&str> {
        let (project, service) = self.0.settings.roles.of(route);
        let project = project.iter().map(ProjectRole::as_str);
        project.chain(service.iter().map(ServiceRole::as_str)).collect()
    }

    /// Whether the token belongs to a service_admin or admin_viewer: `Forbidden` = unknown or missing token, `Unauthorized` = known
    /// but without the role (`ams-contract.md` 11.6, O25: codes swapped, kept).
    pub fn may_see_details(&self, token: Option<&str>) -> Result<(), Error> {
        let token = token.filter(|token| !token.is_empty()).ok_or(Error::Forbidden)?;
        let state = self.0.service.read();
        let user = state.index.holder(&tokens::hash(token)).ok_or(Error::Forbidden)?;
        let may = [ServiceRole::ServiceAdmin, ServiceRole::AdminViewer];
        let may = user.service_roles.iter().any(|role| may.contains(role));
        if may { Ok(()) } else { Err(Error::Unauthorized) }
    }
}
