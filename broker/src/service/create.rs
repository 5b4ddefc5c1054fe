//! Making objects: what a project has room for, and what a user may make a day.

use super::catalogue::{Cell, Index, ProjectIndex, Versioned};
use super::commit::Plan;
use super::{Broker, Error};
use crate::domain::roles::ServiceRole;
use crate::store::By;

impl Broker {
    /// [`Self::change`] for a plan that makes an object, which counts for who makes it (`Rate`)
    /// unless the plan has an objection.
    pub(super) async fn make<I: Index, R: Send>(
        &self,
        cell: &Cell<I>,
        by: &By,
        plan: impl Fn(&Versioned<I>) -> Result<Plan<R>, Error> + Send,
    ) -> Result<R, Error> {
        plan(&cell.read())?;
        self.count_object(by)?;
        self.change(cell, by, plan).await
    }

    /// `plan` where there is a project, and room in it for one object more (`ObjectQuota`, which
    /// comes after what the plan objects to).
    pub(super) fn within_quota<'a, R>(
        &'a self,
        cell: &'a Cell<ProjectIndex>,
        plan: impl Fn(&Versioned<ProjectIndex>) -> Result<Plan<R>, Error> + Send + 'a,
    ) -> impl Fn(&Versioned<ProjectIndex>) -> Result<Plan<R>, Error> + Send + 'a {
        move |state| {
            if cell.is_gone() {
                return Err(Error::ProjectNotFound);
            }
            let made = plan(state)?;
            if state.index.objects() >= self.0.settings.objects_per_project {
                return Err(Error::ObjectQuota);
            }
            Ok(made)
        }
    }

    /// Takes one of the objects that a user may make a day. Neither service admins nor the broker
    /// itself are bound.
    pub(super) fn count_object(&self, by: &By) -> Result<(), Error> {
        let Some(id) = by.user else { return Ok(()) };
        let is_admin = {
            let state = self.0.service.read();
            let user = state.index.users.get(&id);
            user.is_some_and(|user| user.service_roles.contains(&ServiceRole::ServiceAdmin))
        };
        if is_admin { Ok(()) } else { self.0.quotas.create(id) }
    }
}
