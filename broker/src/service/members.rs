//! The members of a project (`ams-contract.md` 6.3). A project_admin changes memberships of its own
//! project and nothing else of a user: roles in the service are of another kind.

use super::catalogue::{ServiceIndex, Versioned};
use super::commit::Plan;
use super::shown::Shown;
use super::users::{is_member, project_roles, put};
use super::{Broker, Caller, Error, NewUser, Page, PageRequest, Roles, UserView};
use crate::domain::records::{Membership, UserRecord};
use crate::domain::{ProjectId, UserId, UserName};

impl Broker {
    /// `projects:listUsers`: newest first, view by the caller's role; only with `details` with their
    /// projects.
    pub fn project_users(
        &self,
        caller: &Caller,
        page: PageRequest,
        details: bool,
    ) -> Result<Page<UserView>, Error> {
        let project = caller.project()?;
        self.list_users(Some(project), page, Shown::to(caller, project), details)
    }

    /// `projects:showUser`: view by the caller's role; who is no member is not there.
    pub fn member(&self, caller: &Caller, name: &UserName) -> Result<UserView, Error> {
        let project = caller.project()?;
        let user = self.0.service.read().index.user(name).cloned();
        let user = user.filter(|user| is_member(user, project)).ok_or(Error::UserNotFound)?;
        self.user_view(&user, Shown::to(caller, project))
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
                if is_member(user, project) {
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
        self.user_view(&user, Shown::to(caller, project))
    }

    /// `projects:updateUser`: other roles in the caller's project; view by the caller's role. `None`
    /// (the client named no roles here) is answered as if the user were no member.
    pub async fn update_member(
        &self,
        caller: &Caller,
        name: &UserName,
        roles: Option<Vec<String>>,
    ) -> Result<UserView, Error> {
        let project = caller.project()?;
        let edit = move |table: &Roles, held: &mut Vec<Membership>| {
            let roles = project_roles(table, roles.as_ref().ok_or(Error::NotAMember)?)?;
            if let Some(held) = held.iter_mut().find(|held| held.project == project) {
                held.roles = roles;
            }
            Ok(())
        };
        let user = self.edit_member(caller, name, edit).await?;
        self.user_view(&user, Shown::to(caller, project))
    }

    /// `projects:removeUser`. ACLs that name the user stay as they are.
    pub async fn remove_member(&self, caller: &Caller, name: &UserName) -> Result<(), Error> {
        let project = caller.project()?;
        let edit = move |_: &Roles, held: &mut Vec<Membership>| {
            held.retain(|held| held.project != project);
            Ok(())
        };
        self.edit_member(caller, name, edit).await.map(|_| ())
    }

    /// Changes the memberships of a member of the caller's project.
    async fn edit_member(
        &self,
        caller: &Caller,
        name: &UserName,
        edit: impl Fn(&Roles, &mut Vec<Membership>) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<UserRecord, Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let user = state.index.user(&name).ok_or(Error::UserNotFound)?;
                if !is_member(user, project) {
                    return Err(Error::NotAMember);
                }
                let mut user = UserRecord::clone(user);
                edit(&broker.0.settings.roles, &mut user.projects)?;
                user.modified = by.time;
                Ok(Plan { writes: vec![put(user.clone())], answer: user })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        self.run(work).await
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
            match user.filter(|user| is_member(user, project)) {
                Some(user) if ids.contains(&user.id) => {}
                Some(user) => ids.push(user.id),
                None => missing.push(text.clone()),
            }
        }
        if missing.is_empty() { Ok(ids) } else { Err(Error::UsersNotFound(missing)) }
    }
}
