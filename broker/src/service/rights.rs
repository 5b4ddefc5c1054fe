//! Who may call what: the role table (`ams-contract.md` 4, the ANS defaults), and the gate.

use super::{Broker, Error, Peer, tokens};
use crate::domain::roles::{ProjectRole, ServiceRole};
use crate::domain::{ProjectId, ProjectName, UserId, UserName};

/// A route, by its AMS name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// `users:create`
    UsersCreate,
    /// `projects:list`
    ProjectsList,
    /// `projects:addUser`
    ProjectsAddUser,
    /// `projects:createUser`
    ProjectsCreateUser,
    /// `projects:show`
    ProjectsShow,
    /// `projects:create`
    ProjectsCreate,
    /// `projects:update`
    ProjectsUpdate,
    /// `projects:delete`
    ProjectsDelete,
    /// `projects:modifyAlert` (ours)
    ProjectsModifyAlert,
    /// `subscriptions:list`
    SubscriptionsList,
    /// `subscriptions:listByTopic`
    SubscriptionsListByTopic,
    /// `subscriptions:offsets`
    SubscriptionsOffsets,
    /// `subscriptions:timeToOffset`
    SubscriptionsTimeToOffset,
    /// `subscriptions:acl`
    SubscriptionsAcl,
    /// `subscriptions:show`
    SubscriptionsShow,
    /// `subscriptions:create`
    SubscriptionsCreate,
    /// `subscriptions:delete`
    SubscriptionsDelete,
    /// `subscriptions:pull`
    SubscriptionsPull,
    /// `subscriptions:acknowledge`
    SubscriptionsAcknowledge,
    /// `subscriptions:modifyAckDeadline`
    SubscriptionsModifyAckDeadline,
    /// `subscriptions:modifyOffset`
    SubscriptionsModifyOffset,
    /// `subscriptions:modifyAcl`
    SubscriptionsModifyAcl,
    /// `subscriptions:modifyAlert` (ours)
    SubscriptionsModifyAlert,
    /// `topics:list`
    TopicsList,
    /// `topics:acl`
    TopicsAcl,
    /// `topics:show`
    TopicsShow,
    /// `topics:create`
    TopicsCreate,
    /// `topics:delete`
    TopicsDelete,
    /// `topics:publish`
    TopicsPublish,
    /// `topics:modifyAcl`
    TopicsModifyAcl,
    /// `topics:modifyAlert` (ours)
    TopicsModifyAlert,
    /// `topics:modifyRetention` (ours)
    TopicsModifyRetention,
    /// `topics:attachSchema`
    TopicsAttachSchema,
    /// `topics:detachSchema`
    TopicsDetachSchema,
    /// `schemas:validateMessage`
    SchemasValidateMessage,
    /// `schemas:create`
    SchemasCreate,
    /// `schemas:show`
    SchemasShow,
    /// `schemas:list`
    SchemasList,
    /// `schemas:update`
    SchemasUpdate,
    /// `schemas:delete`
    SchemasDelete,
}

impl Route {
    /// Its AMS name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsersCreate => "users:create",
            Self::ProjectsList => "projects:list",
            Self::ProjectsAddUser => "projects:addUser",
            Self::ProjectsCreateUser => "projects:createUser",
            Self::ProjectsShow => "projects:show",
            Self::ProjectsCreate => "projects:create",
            Self::ProjectsUpdate => "projects:update",
            Self::ProjectsDelete => "projects:delete",
            Self::ProjectsModifyAlert => "projects:modifyAlert",
            Self::SubscriptionsList => "subscriptions:list",
            Self::SubscriptionsListByTopic => "subscriptions:listByTopic",
            Self::SubscriptionsOffsets => "subscriptions:offsets",
            Self::SubscriptionsTimeToOffset => "subscriptions:timeToOffset",
            Self::SubscriptionsAcl => "subscriptions:acl",
            Self::SubscriptionsShow => "subscriptions:show",
            Self::SubscriptionsCreate => "subscriptions:create",
            Self::SubscriptionsDelete => "subscriptions:delete",
            Self::SubscriptionsPull => "subscriptions:pull",
            Self::SubscriptionsAcknowledge => "subscriptions:acknowledge",
            Self::SubscriptionsModifyAckDeadline => "subscriptions:modifyAckDeadline",
            Self::SubscriptionsModifyOffset => "subscriptions:modifyOffset",
            Self::SubscriptionsModifyAcl => "subscriptions:modifyAcl",
            Self::SubscriptionsModifyAlert => "subscriptions:modifyAlert",
            Self::TopicsList => "topics:list",
            Self::TopicsAcl => "topics:acl",
            Self::TopicsShow => "topics:show",
            Self::TopicsCreate => "topics:create",
            Self::TopicsDelete => "topics:delete",
            Self::TopicsPublish => "topics:publish",
            Self::TopicsModifyAcl => "topics:modifyAcl",
            Self::TopicsModifyAlert => "topics:modifyAlert",
            Self::TopicsModifyRetention => "topics:modifyRetention",
            Self::TopicsAttachSchema => "topics:attachSchema",
            Self::TopicsDetachSchema => "topics:detachSchema",
            Self::SchemasValidateMessage => "schemas:validateMessage",
            Self::SchemasCreate => "schemas:create",
            Self::SchemasShow => "schemas:show",
            Self::SchemasList => "schemas:list",
            Self::SchemasUpdate => "schemas:update",
            Self::SchemasDelete => "schemas:delete",
        }
    }

    /// The roles in the project that may call it.
    const fn project_roles(self) -> &'static [ProjectRole] {
        use ProjectRole::{Consumer, ProjectAdmin, Publisher};
        match self {
            Self::UsersCreate | Self::ProjectsList | Self::ProjectsCreate => &[],
            Self::SubscriptionsList
            | Self::SubscriptionsOffsets
            | Self::SubscriptionsTimeToOffset
            | Self::SubscriptionsShow
            | Self::SubscriptionsPull
            | Self::SubscriptionsAcknowledge
            | Self::SubscriptionsModifyAckDeadline
            | Self::SubscriptionsModifyOffset => &[ProjectAdmin, Consumer],
            Self::TopicsList | Self::TopicsShow | Self::TopicsPublish => &[ProjectAdmin, Publisher],
            Self::ProjectsAddUser
            | Self::ProjectsCreateUser
            | Self::ProjectsShow
            | Self::ProjectsUpdate
            | Self::ProjectsDelete
            | Self::ProjectsModifyAlert
            | Self::SubscriptionsListByTopic
            | Self::SubscriptionsAcl
            | Self::SubscriptionsCreate
            | Self::SubscriptionsDelete
            | Self::SubscriptionsModifyAcl
            | Self::SubscriptionsModifyAlert
            | Self::TopicsAcl
            | Self::TopicsCreate
            | Self::TopicsDelete
            | Self::TopicsModifyAcl
            | Self::TopicsModifyAlert
            | Self::TopicsModifyRetention
            | Self::TopicsAttachSchema
            | Self::TopicsDetachSchema
            | Self::SchemasValidateMessage
            | Self::SchemasCreate
            | Self::SchemasShow
            | Self::SchemasList
            | Self::SchemasUpdate
            | Self::SchemasDelete => &[ProjectAdmin],
        }
    }

    /// The roles in the service that may call it.
    const fn service_roles(self) -> &'static [ServiceRole] {
        use ServiceRole::{PushWorker, ServiceAdmin};
        match self {
            Self::SubscriptionsShow | Self::SubscriptionsPull | Self::SubscriptionsAcknowledge => {
                &[ServiceAdmin, PushWorker]
            }
            _ => &[ServiceAdmin],
        }
    }
}

/// Somebody admitted for one action. Only [`Broker::admit`] makes one, and every verb that needs
/// rights takes one.
#[derive(Debug, Clone)]
pub struct Caller {
    user: UserId,
    name: UserName,
    project_roles: Vec<ProjectRole>,
    service_roles: Vec<ServiceRole>,
    project: Option<ProjectId>,
    route: Route,
    peer: Peer,
}

impl Caller {
    /// Who it is.
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// Its name.
    pub const fn name(&self) -> &UserName {
        &self.name
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

    pub(super) fn is(&self, role: ProjectRole) -> bool {
        self.project_roles.contains(&role)
    }

    pub(super) fn is_service_admin(&self) -> bool {
        self.service_roles.contains(&ServiceRole::ServiceAdmin)
    }

    /// The ACL rule (`ams-contract.md` 2.4): holding `role` makes the ACL apply, whatever else is
    /// held.
    pub(super) fn passes(&self, role: ProjectRole, acl: &[UserId]) -> Result<(), Error> {
        if self.is(role) && !acl.contains(&self.user) { Err(Error::Forbidden) } else { Ok(()) }
    }

    /// Whether a list shows this caller only what its ACLs name.
    pub(super) fn sees_own_only(&self, role: ProjectRole) -> bool {
        self.is(role) && !self.is(ProjectRole::ProjectAdmin) && !self.is_service_admin()
    }
}

impl Broker {
    /// The gate: who is it, and may it? In the order of `ams-contract.md` 1.4 steps 4-7: no token = `Unauthorized`; unknown
    /// project = `ProjectNotFound` (except for `Route::ProjectsCreate`); token unknown or no role here = `Unauthorized`; role table
    /// = `Forbidden`. A pull denied to a role or to an unknown (revoked) token is counted on its subscription by [`Self::pull_denied`].
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
        let user = state.index.tokens.get(&token).and_then(|id| state.index.users.get(id));
        let user = user.ok_or(Error::Unauthorized)?;
        let project_roles = found
            .and_then(|project| user.projects.iter().find(|held| held.project == project.id))
            .map(|held| held.roles.clone())
            .unwrap_or_default();
        let service_roles = user.service_roles.clone();
        if project_roles.is_empty() && service_roles.is_empty() {
            return Err(Error::Unauthorized);
        }
        let allowed = project_roles.iter().any(|role| route.project_roles().contains(role))
            || service_roles.iter().any(|role| route.service_roles().contains(role));
        if !allowed {
            return Err(Error::Forbidden);
        }
        Ok(Caller {
            user: user.id,
            name: user.name.clone(),
            project_roles,
            service_roles,
            project: found.map(|project| project.id),
            route,
            peer,
        })
    }

    /// Whether the token belongs to a service_admin or admin_viewer: `Forbidden` = unknown or missing token, `Unauthorized` = known
    /// but without the role (`ams-contract.md` 11.6, O25: codes swapped, kept).
    pub fn may_see_details(&self, token: Option<&str>) -> Result<(), Error> {
        let token = token.filter(|token| !token.is_empty()).ok_or(Error::Forbidden)?;
        let state = self.0.service.read();
        let user = state.index.tokens.get(&tokens::hash(token));
        let user = user.and_then(|id| state.index.users.get(id)).ok_or(Error::Forbidden)?;
        let may = [ServiceRole::ServiceAdmin, ServiceRole::AdminViewer];
        let may = user.service_roles.iter().any(|role| may.contains(role));
        if may { Ok(()) } else { Err(Error::Unauthorized) }
    }
}
