//! Users (`ams-contract.md` 6.2). Their memberships, one project at a time, are in
//! [`super::members`].

use std::sync::Arc;

use super::catalogue::{ServiceIndex, Versioned, user_key};
use super::commit::Plan;
use super::shown::Shown;
use super::topics::paginate;
use super::{
    Broker, Caller, Error, NewUser, Page, PageRequest, Roles, UserChange, UserView, tokens,
};
use crate::domain::records::{Membership, Record, SealedToken, UserRecord};
use crate::domain::roles::{ProjectRole, ServiceRole};
use crate::domain::{ProjectId, UserId, UserName};
use crate::store::By;

/// The user that every start makes sure of.
const ADMIN: &str = "admin";

/// What every new user gets, and from whom.
pub(super) struct Gift {
    token: String,
    sealed: SealedToken,
    by: By,
}

impl Broker {
    /// Makes the user `admin` (service_admin) with a fresh token if there is no such user, and sets its address to `email`
    /// where that differs and is not empty. If nobody is service_admin any more, `admin` is again: no verb guards the last one.
    /// Answers its token's text.
    pub async fn ensure_admin(&self, email: &str) -> Result<String, Error> {
        let name: UserName = ADMIN.parse()?;
        let (present, orphaned) = {
            let state = self.0.service.read();
            (state.index.user(&name).cloned(), !has_admin(&state.index))
        };
        if let Some(user) = present {
            let token = self.0.seal.unseal(&user.token_sealed)?;
            if orphaned {
                tracing::warn!("nobody was service_admin: the user admin is again");
            }
            if orphaned || (!email.is_empty() && user.email != email) {
                self.mend_admin(user.id, email.to_owned()).await?;
            }
            return Ok(token);
        }
        let new = NewUser {
            email: email.to_owned(),
            service_roles: vec![ServiceRole::ServiceAdmin.as_str().to_owned()],
            ..NewUser::default()
        };
        let (_, token) = self.insert_user(name, new, self.by_itself("users:create")).await?;
        Ok(token)
    }

    /// Resolves with the text of the token of the user `admin` once that was refreshed; at once if
    /// it was since this was asked last.
    ///
    /// # Errors
    /// There is no such user any more, or its token cannot be unsealed.
    pub async fn fresh_admin_token(&self) -> Result<String, Error> {
        self.0.admin_refreshed.notified().await;
        let name: UserName = ADMIN.parse()?;
        let user = self.0.service.read().index.user(&name).cloned().ok_or(Error::UserNotFound)?;
        self.0.seal.unseal(&user.token_sealed)
    }

    async fn mend_admin(&self, id: UserId, email: String) -> Result<(), Error> {
        let broker = self.clone();
        let by = self.by_itself("users:update");
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let user = state.index.users.get(&id).ok_or(Error::UserNotFound)?;
                let mut user = UserRecord::clone(user);
                if !email.is_empty() {
                    user.email.clone_from(&email);
                }
                if !has_admin(&state.index) {
                    user.service_roles.push(ServiceRole::ServiceAdmin);
                }
                user.modified = by.time;
                Ok(Plan { writes: vec![put(user)], answer: () })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        self.run(work).await
    }

    /// The user a token belongs to, in full; `Unauthorized` if none.
    pub fn profile(&self, token: Option<&str>) -> Result<UserView, Error> {
        let token = token.filter(|token| !token.is_empty()).ok_or(Error::Unauthorized)?;
        let user = self.user_of_token(token).ok_or(Error::Unauthorized)?;
        self.user_view(&user, Shown::Whole)
    }

    /// `users:show`: one user, in full.
    pub fn user(&self, _caller: &Caller, name: &UserName) -> Result<UserView, Error> {
        let user = self.0.service.read().index.user(name).cloned().ok_or(Error::UserNotFound)?;
        self.user_view(&user, Shown::Whole)
    }

    /// `users:byToken`: whose token this is, in full.
    pub fn user_by_token(&self, _caller: &Caller, token: &str) -> Result<UserView, Error> {
        let user = self.user_of_token(token).ok_or(Error::UserNotFound)?;
        self.user_view(&user, Shown::Whole)
    }

    /// `users:byUUID`: whose id is shown as this text, in full.
    pub fn user_by_uuid(&self, _caller: &Caller, text: &str) -> Result<UserView, Error> {
        let id = UserId::shown_as(text).ok_or(Error::UserNotFound)?;
        let user = self.0.service.read().index.users.get(&id).cloned();
        let user = user.ok_or(Error::UserNotFound)?;
        self.user_view(&user, Shown::Whole)
    }

    fn user_of_token(&self, token: &str) -> Option<Arc<UserRecord>> {
        self.0.service.read().index.holder(&tokens::hash(token)).cloned()
    }

    /// Which project a list of users is narrowed to: the door must answer its 404
    /// (`ProjectFilterNotFound`) before it judges the page.
    pub fn users_filter(&self, _caller: &Caller, project: &str) -> Result<ProjectId, Error> {
        let name = project.parse().map_err(|_| Error::ProjectFilterNotFound)?;
        let state = self.0.service.read();
        let found = state.index.project(&name).ok_or(Error::ProjectFilterNotFound)?;
        Ok(found.id)
    }

    /// `users:list`: newest first, those of one project or all; only with `details` with their
    /// projects.
    pub fn users(
        &self,
        _caller: &Caller,
        of: Option<ProjectId>,
        page: PageRequest,
        details: bool,
    ) -> Result<Page<UserView>, Error> {
        self.list_users(of, page, Shown::Whole, details)
    }

    pub(super) fn list_users(
        &self,
        of: Option<ProjectId>,
        page: PageRequest,
        shown: Shown,
        details: bool,
    ) -> Result<Page<UserView>, Error> {
        let Page { items, next, total } = {
            let state = self.0.service.read();
            let newest = state.index.users_in_order.values().rev();
            let users = newest.filter_map(|id| state.index.users.get(id));
            let users = users.filter(|user| of.is_none_or(|project| is_member(user, project)));
            paginate(users.cloned(), page, |user| user.order)
        };
        Ok(Page { items: self.user_views(&items, shown, details)?, next, total })
    }

    /// `users:create`: full view with token, whose text is shown this once whatever the settings.
    pub async fn create_user(
        &self,
        caller: &Caller,
        name: &UserName,
        new: NewUser,
    ) -> Result<UserView, Error> {
        let (user, token) = self.insert_user(name.clone(), new, self.by(caller)).await?;
        Ok(UserView { token: Some(token), ..self.user_view(&user, Shown::Whole)? })
    }

    async fn insert_user(
        &self,
        name: UserName,
        new: NewUser,
        by: By,
    ) -> Result<(Arc<UserRecord>, String), Error> {
        let (broker, gift) = (self.clone(), self.gift(by)?);
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let user = gift.judge(state, &broker.0.settings.roles, &name, &new)?;
                Ok(Plan { writes: vec![put(user.clone())], answer: Arc::new(user) })
            };
            let user = broker.make(&broker.0.service, &gift.by, plan).await?;
            Ok((user, gift.token))
        };
        self.run(work).await
    }

    pub(super) fn gift(&self, by: By) -> Result<Gift, Error> {
        let (token, sealed) = self.fresh_token()?;
        Ok(Gift { token, sealed, by })
    }

    /// A new token: its text, and what is kept of it.
    pub(super) fn fresh_token(&self) -> Result<(String, SealedToken), Error> {
        let token = tokens::fresh()?;
        let sealed = self.0.seal.seal(&token)?;
        let kept = SealedToken { sha256: tokens::hash(&token), sealed };
        Ok((token, kept))
    }

    /// `users:update`: full view.
    pub async fn update_user(
        &self,
        caller: &Caller,
        name: &UserName,
        change: UserChange,
    ) -> Result<UserView, Error> {
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let mut user = changed(state, &broker.0.settings.roles, &name, &change)?;
                user.modified = by.time;
                Ok(Plan { writes: vec![put(user.clone())], answer: user })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        self.user_view(&self.run(work).await?, Shown::Whole)
    }

    /// `users:refreshToken`: full view with the new token, whose text is shown this once whatever
    /// the settings; the old one is unknown from then on.
    pub async fn refresh_token(&self, caller: &Caller, name: &UserName) -> Result<UserView, Error> {
        let (broker, gift, name) = (self.clone(), self.gift(self.by(caller))?, name.clone());
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let user = state.index.user(&name).ok_or(Error::UserNotFound)?;
                let mut user = UserRecord::clone(user);
                user.token_sha256.clone_from(&gift.sealed.sha256);
                user.token_sealed.clone_from(&gift.sealed.sealed);
                Ok(Plan { writes: vec![put(user.clone())], answer: user })
            };
            let user = broker.change(&broker.0.service, &gift.by, plan).await?;
            if user.name.as_str() == ADMIN {
                broker.0.admin_refreshed.notify_one();
            }
            Ok((user, gift.token))
        };
        let (user, token) = self.run(work).await?;
        Ok(UserView { token: Some(token), ..self.user_view(&user, Shown::Whole)? })
    }

    /// `users:delete`. Its id stays in ACLs, where nobody is shown for it, and is never used again.
    pub async fn delete_user(&self, caller: &Caller, name: &UserName) -> Result<(), Error> {
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let user = state.index.user(&name).ok_or(Error::UserNotFound)?;
                Ok(Plan { writes: vec![(user_key(user.id), None)], answer: () })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        self.run(work).await
    }
}

impl Gift {
    /// By whom and when.
    pub(super) const fn by(&self) -> &By {
        &self.by
    }

    /// The token's text, to be shown once.
    pub(super) fn into_token(self) -> String {
        self.token
    }

    /// The record of the new user, or the first objection in the order of `ams-contract.md` 6.2.
    pub(super) fn judge(
        &self,
        state: &Versioned<ServiceIndex>,
        roles: &Roles,
        name: &UserName,
        new: &NewUser,
    ) -> Result<UserRecord, Error> {
        if state.index.user_names.contains_key(name) {
            return Err(Error::UserExists);
        }
        let projects = memberships(&state.index, roles, &new.projects)?;
        Ok(UserRecord {
            id: UserId::random(),
            name: name.clone(),
            order: state.next_order(),
            token_sha256: self.sealed.sha256.clone(),
            token_sealed: self.sealed.sealed.clone(),
            email: new.email.clone(),
            first_name: new.first_name.clone(),
            last_name: new.last_name.clone(),
            organization: new.organization.clone(),
            description: new.description.clone(),
            projects,
            service_roles: roles_in_service(roles, &new.service_roles)?,
            created: self.by.time,
            modified: self.by.time,
            created_by: self.by.user,
        })
    }
}

/// What `change` makes of a user, or the first objection in the order of `ams-contract.md` 6.2:
/// that there is no such user comes last.
fn changed(
    state: &Versioned<ServiceIndex>,
    roles: &Roles,
    name: &UserName,
    change: &UserChange,
) -> Result<UserRecord, Error> {
    let given = change.projects.as_deref();
    let projects = given.map(|given| memberships(&state.index, roles, given)).transpose()?;
    let service_roles = change.service_roles.as_deref();
    let service_roles = service_roles.map(|given| roles_in_service(roles, given)).transpose()?;
    let present = state.index.user(name);
    let new_name: Option<UserName> = match change.name.as_str() {
        "" => None,
        text => Some(text.parse()?),
    };
    let owner = new_name.as_ref().and_then(|name| state.index.user(name));
    if owner.is_some_and(|owner| present.is_none_or(|present| present.id != owner.id)) {
        return Err(Error::UserNameTaken);
    }
    let mut user = UserRecord::clone(present.ok_or(Error::UserNotFound)?);
    user.name = new_name.unwrap_or(user.name);
    user.projects = projects.unwrap_or(user.projects);
    user.service_roles = service_roles.unwrap_or(user.service_roles);
    for (field, new) in [
        (&mut user.email, &change.email),
        (&mut user.first_name, &change.first_name),
        (&mut user.last_name, &change.last_name),
        (&mut user.organization, &change.organization),
        (&mut user.description, &change.description),
    ] {
        if !new.is_empty() {
            field.clone_from(new);
        }
    }
    Ok(user)
}

/// Entry by entry, each judged whole before the next: twice, no project, no role.
fn memberships(
    index: &ServiceIndex,
    roles: &Roles,
    given: &[(String, Vec<String>)],
) -> Result<Vec<Membership>, Error> {
    let mut projects: Vec<Membership> = Vec::new();
    for (text, wanted) in given.iter().filter(|(project, _)| !project.is_empty()) {
        let project = text.parse().ok().and_then(|name| index.project(&name));
        let project = project.ok_or_else(|| Error::InvalidProject(text.clone()))?;
        if projects.iter().any(|held| held.project == project.id) {
            return Err(Error::DuplicateProject(project.name.clone()));
        }
        projects.push(Membership { project: project.id, roles: project_roles(roles, wanted)? });
    }
    Ok(projects)
}

pub(super) fn project_roles(roles: &Roles, texts: &[String]) -> Result<Vec<ProjectRole>, Error> {
    texts.iter().map(|text| roles.project_role(text)).collect()
}

fn roles_in_service(roles: &Roles, texts: &[String]) -> Result<Vec<ServiceRole>, Error> {
    texts.iter().map(|text| roles.service_role(text)).collect()
}

pub(super) fn is_member(user: &UserRecord, project: ProjectId) -> bool {
    user.projects.iter().any(|held| held.project == project)
}

fn has_admin(index: &ServiceIndex) -> bool {
    index.users.values().any(|user| user.service_roles.contains(&ServiceRole::ServiceAdmin))
}

pub(super) fn put(user: UserRecord) -> (String, Option<Record>) {
    (user_key(user.id), Some(Record::User(user)))
}
