//! Users as a caller may see them (`ams-contract.md` 5.2).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Broker, Caller, Error, MembershipView, UserView, tokens};
use crate::domain::records::{Membership, UserRecord};
use crate::domain::{ProjectId, SubscriptionName, TopicName, UserId, UserName};

/// How much of a user a caller may see.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    /// Everything.
    Whole,
    /// Only what concerns one project; no token, no service roles, no creator.
    In(ProjectId),
}

impl Shown {
    /// What `caller` may see of the users of a project.
    pub(super) fn to(caller: &Caller, project: ProjectId) -> Self {
        if caller.is_service_admin() { Self::Whole } else { Self::In(project) }
    }

    const fn is_whole(self) -> bool {
        matches!(self, Self::Whole)
    }

    fn shows(self, held: &Membership) -> bool {
        match self {
            Self::Whole => true,
            Self::In(project) => held.project == project,
        }
    }
}

/// Where ACLs name a member: topics and subscriptions, in creation order.
type Named = HashMap<(ProjectId, UserId), (Vec<TopicName>, Vec<SubscriptionName>)>;

impl Broker {
    pub(super) fn user_view(&self, user: &UserRecord, shown: Shown) -> Result<UserView, Error> {
        self.view_with(user, shown, &mut self.named([user], shown))
    }

    /// Views of a list; without `details` nobody has projects.
    pub(super) fn user_views(
        &self,
        users: &[Arc<UserRecord>],
        shown: Shown,
        details: bool,
    ) -> Result<Vec<UserView>, Error> {
        let listed = users.iter().map(AsRef::as_ref).filter(|_| details);
        let mut named = self.named(listed, shown);
        let view = |user: &Arc<UserRecord>| {
            let view = self.view_with(user, shown, &mut named)?;
            let projects = if details { view.projects } else { Vec::new() };
            Ok(UserView { projects, ..view })
        };
        users.iter().map(view).collect()
    }

    fn view_with(
        &self,
        user: &UserRecord,
        shown: Shown,
        named: &mut Named,
    ) -> Result<UserView, Error> {
        let (projects, created_by) = {
            let state = self.0.service.read();
            let view = |held: &Membership| {
                let named = named.remove(&(held.project, user.id));
                let (topics, subscriptions) = named.unwrap_or_default();
                let project = state.index.projects.get(&held.project);
                MembershipView {
                    project: project.map(|project| project.name.clone()),
                    roles: held.roles.clone(),
                    topics,
                    subscriptions,
                }
            };
            let held = user.projects.iter().filter(|held| shown.shows(held));
            let projects: Vec<_> = held.map(view).collect();
            (projects, state.index.user_name(user.created_by))
        };
        let whole = shown.is_whole();
        Ok(UserView {
            id: user.id,
            name: user.name.clone(),
            email: user.email.clone(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            organization: user.organization.clone(),
            description: user.description.clone(),
            token: if whole { Some(self.shown_token(&user.token_sealed)?) } else { None },
            projects,
            service_roles: if whole { user.service_roles.clone() } else { Vec::new() },
            created: user.created,
            modified: user.modified,
            created_by: created_by.filter(|_| whole),
        })
    }

    /// A sealed token as the settings let it be seen.
    pub(super) fn shown_token(&self, sealed: &str) -> Result<String, Error> {
        let token = self.0.seal.unseal(sealed)?;
        Ok(if self.0.settings.reveal_tokens { token } else { tokens::prefix(&token) })
    }

    /// One pass over each project, however many users are asked for.
    fn named<'a>(&self, users: impl IntoIterator<Item = &'a UserRecord>, shown: Shown) -> Named {
        let mut wanted = HashSet::new();
        for user in users {
            let held = user.projects.iter().filter(|held| shown.shows(held));
            wanted.extend(held.map(|held| (held.project, user.id)));
        }
        let projects: BTreeSet<ProjectId> = wanted.iter().map(|(project, _)| *project).collect();
        let mut named = Named::new();
        for project in projects {
            let Ok(cell) = self.project_cell(project) else { continue };
            let state = cell.read();
            let member = |user: &UserId| Some((project, *user)).filter(|key| wanted.contains(key));
            for topic in state.index.live_topics() {
                for key in topic.acl.iter().filter_map(member) {
                    named.entry(key).or_default().0.push(topic.name.clone());
                }
            }
            for record in state.index.subscriptions_in_order.values() {
                for key in record.acl.iter().filter_map(member) {
                    named.entry(key).or_default().1.push(record.name.clone());
                }
            }
        }
        named
    }

    /// The names of users, in order; those that no longer exist are left out.
    pub(super) fn user_names(&self, ids: &[UserId]) -> Vec<UserName> {
        let state = self.0.service.read();
        ids.iter().filter_map(|id| state.index.user_name(Some(*id))).collect()
    }
}
