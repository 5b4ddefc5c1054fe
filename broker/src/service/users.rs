//! Users and members (`ams-contract.md` 6.2, 6.3).

use std::sync::Arc;

use super::catalogue::{ServiceIndex, Versioned, user_key};
use super::commit::Plan;
use super::{Broker, Caller, Error, MembershipView, NewUser, Roles, UserView, tokens};
use crate::domain::records::{Membership, Record, UserRecord};
use crate::domain::roles::{ProjectRole, ServiceRole};
use crate::domain::{ProjectId, ProjectName, UserId, UserName};
use crate::store::By;

/// How much of a user a caller may see (`ams-contract.md` 5.2).
#[derive(Clone, Copy)]
enum Shown {
    /// Everything.
    Whole,
    /// Only what concerns one project; no token, no service roles, no creator.
    In(ProjectId),
}

/// What a new user is to be, its texts not yet judged.
struct Draft {
    name: UserName,
    new: NewUser,
    token: String,
    sealed: String,
    by: By,
}

impl Broker {
    /// Makes the user `admin` (service_admin) with a fresh token if there is no such user, and sets its address to `email`
    /// where that differs and is not empty. Answers its token's text.
    pub async fn ensure_admin(&self, email: &str) -> Result<String, Error> {
        let name: UserName = "admin".parse()?;
        let present = self.0.service.read().index.user(&name).cloned();
        if let Some(user) = present {
            let token = self.0.seal.unseal(&user.token_sealed)?;
            if !email.is_empty() && user.email != email {
                self.set_email(user.id, email.to_owned()).await?;
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

    async fn set_email(&self, id: UserId, email: String) -> Result<(), Error> {
        let broker = self.clone();
        let by = self.by_itself("users:update");
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let user = state.index.users.get(&id).ok_or(Error::UserNotFound)?;
                let mut user = UserRecord::clone(user);
                user.email.clone_from(&email);
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
        let user = {
            let state = self.0.service.read();
            let id = state.index.tokens.get(&tokens::hash(token)).ok_or(Error::Unauthorized)?;
            state.index.users.get(id).cloned().ok_or(Error::Unauthorized)?
        };
        self.user_view(&user, Shown::Whole)
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

    /// `projects:createUser`: a new user with `roles` in the caller's project; full view with token,
    /// whose text is shown this once whatever the settings.
    pub async fn create_member(
        &self,
        caller: &Caller,
        name: &UserName,
        email: String,
        roles: Vec<String>,
    ) -> Result<UserView, Error> {
        let project = self.project_name(caller.project()?)?;
        let new = NewUser {
            email,
            projects: vec![(project.as_str().to_owned(), roles)],
            ..NewUser::default()
        };
        self.create_user(caller, name, new).await
    }

    async fn insert_user(
        &self,
        name: UserName,
        new: NewUser,
        by: By,
    ) -> Result<(Arc<UserRecord>, String), Error> {
        let token = tokens::fresh()?;
        let sealed = self.0.seal.seal(&token)?;
        let broker = self.clone();
        let work = async move {
            let draft = Draft { name, new, token, sealed, by };
            let plan = |state: &Versioned<ServiceIndex>| {
                let user = draft.judge(state, &broker.0.settings.roles)?;
                Ok(Plan { writes: vec![put(user.clone())], answer: Arc::new(user) })
            };
            let user = broker.change(&broker.0.service, &draft.by, plan).await?;
            Ok((user, draft.token))
        };
        self.run(work).await
    }

    /// Whether the user exists: the door must answer its 404 before it reads the body of `projects:addUser`.
    pub fn find_user(&self, _caller: &Caller, name: &UserName) -> Result<(), Error> {
        self.0.service.read().index.user(name).map(|_| ()).ok_or(Error::UserNotFound)
    }

    /// `projects:addUser`: view by the caller's role.
    pub async fn add_member(
        &self,
        caller: &Caller,
        name: &UserName,
        roles: Vec<String>,
    ) -> Result<UserView, Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let user = state.index.user(&name).ok_or(Error::UserNotFound)?;
                if !state.index.projects.contains_key(&project) {
                    return Err(Error::ProjectNotFound);
                }
                if user.projects.iter().any(|held| held.project == project) {
                    return Err(Error::AlreadyAMember);
                }
                let mut user = UserRecord::clone(user);
                let roles = project_roles(&broker.0.settings.roles, &roles)?;
                user.projects.push(Membership { project, roles });
                user.modified = by.time;
                Ok(Plan { writes: vec![put(user.clone())], answer: user })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        let user = self.run(work).await?;
        let shown = if caller.is_service_admin() { Shown::Whole } else { Shown::In(project) };
        self.user_view(&user, shown)
    }

    fn user_view(&self, user: &UserRecord, shown: Shown) -> Result<UserView, Error> {
        let (names, created_by) = {
            let state = self.0.service.read();
            let name = |id| state.index.projects.get(&id).map(|project| project.name.clone());
            let names: Vec<_> = user.projects.iter().map(|held| name(held.project)).collect();
            (names, state.index.user_name(user.created_by))
        };
        let projects = user
            .projects
            .iter()
            .zip(names)
            .filter(|(held, _)| match shown {
                Shown::Whole => true,
                Shown::In(project) => held.project == project,
            })
            .map(|(held, name)| self.membership_view(user.id, held, name))
            .collect();
        let whole = matches!(shown, Shown::Whole);
        Ok(UserView {
            id: user.id,
            name: user.name.clone(),
            email: user.email.clone(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            organization: user.organization.clone(),
            description: user.description.clone(),
            token: if whole { Some(self.shown_token(user)?) } else { None },
            projects,
            service_roles: if whole { user.service_roles.clone() } else { Vec::new() },
            created: user.created,
            modified: user.modified,
            created_by: created_by.filter(|_| whole),
        })
    }

    fn shown_token(&self, user: &UserRecord) -> Result<String, Error> {
        let token = self.0.seal.unseal(&user.token_sealed)?;
        Ok(if self.0.settings.reveal_tokens { token } else { tokens::prefix(&token) })
    }

    fn membership_view(
        &self,
        user: UserId,
        held: &Membership,
        project: Option<ProjectName>,
    ) -> MembershipView {
        let (mut topics, mut subscriptions) = (Vec::new(), Vec::new());
        if let Ok(cell) = self.project_cell(held.project) {
            let state = cell.read();
            let named = state.index.live_topics().filter(|topic| topic.acl.contains(&user));
            topics = named.map(|topic| topic.name.clone()).collect();
            let all = state.index.subscriptions_in_order.values();
            let named = all.filter(|record| record.acl.contains(&user));
            subscriptions = named.map(|record| record.name.clone()).collect();
        }
        MembershipView { project, roles: held.roles.clone(), topics, subscriptions }
    }

    /// The ids of users that must be members of the project; `UsersNotFound` names those that are
    /// not, in the order given.
    pub(super) fn members(
        &self,
        project: ProjectId,
        names: &[String],
    ) -> Result<Vec<UserId>, Error> {
        let state = self.0.service.read();
        let (mut ids, mut missing) = (Vec::new(), Vec::new());
        for text in names {
            let user = text.parse().ok().and_then(|name| state.index.user(&name));
            match user.filter(|user| user.projects.iter().any(|held| held.project == project)) {
                Some(user) if ids.contains(&user.id) => {}
                Some(user) => ids.push(user.id),
                None => missing.push(text.clone()),
            }
        }
        if missing.is_empty() { Ok(ids) } else { Err(Error::UsersNotFound(missing)) }
    }

    /// The names of users, in order; those that no longer exist are left out.
    pub(super) fn user_names(&self, ids: &[UserId]) -> Vec<UserName> {
        let state = self.0.service.read();
        ids.iter().filter_map(|id| state.index.user_name(Some(*id))).collect()
    }
}

impl Draft {
    /// The record, or the first objection in the order of `ams-contract.md` 6.2.
    fn judge(&self, state: &Versioned<ServiceIndex>, roles: &Roles) -> Result<UserRecord, Error> {
        let Self { name, new, by, .. } = self;
        if state.index.user_names.contains_key(name) {
            return Err(Error::UserExists);
        }
        let mut projects: Vec<Membership> = Vec::new();
        for (text, given) in new.projects.iter().filter(|(project, _)| !project.is_empty()) {
            let project = text.parse().ok().and_then(|name| state.index.project(&name));
            let project = project.ok_or_else(|| Error::InvalidProject(text.clone()))?;
            if projects.iter().any(|held| held.project == project.id) {
                return Err(Error::DuplicateProject(project.name.clone()));
            }
            projects.push(Membership { project: project.id, roles: project_roles(roles, given)? });
        }
        let service_roles = new.service_roles.iter().map(|text| roles.service_role(text));
        Ok(UserRecord {
            id: UserId::random(),
            name: name.clone(),
            order: state.next_order(),
            token_sha256: tokens::hash(&self.token),
            token_sealed: self.sealed.clone(),
            email: new.email.clone(),
            first_name: new.first_name.clone(),
            last_name: new.last_name.clone(),
            organization: new.organization.clone(),
            description: new.description.clone(),
            projects,
            service_roles: service_roles.collect::<Result<_, _>>()?,
            created: by.time,
            modified: by.time,
            created_by: by.user,
        })
    }
}

fn project_roles(roles: &Roles, texts: &[String]) -> Result<Vec<ProjectRole>, Error> {
    texts.iter().map(|text| roles.project_role(text)).collect()
}

fn put(user: UserRecord) -> (String, Option<Record>) {
    (user_key(user.id), Some(Record::User(user)))
}
