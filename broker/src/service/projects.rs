//! Projects (`ams-contract.md` 6.1).

use std::sync::{Arc, PoisonError};

use super::catalogue::{
    Cell, ProjectIndex, ServiceIndex, Versioned, project_key, trash_key, user_key,
};
use super::commit::Plan;
use super::{Broker, Caller, Error, ProjectView};
use crate::domain::records::{ProjectRecord, Record, TrashRecord, UserRecord};
use crate::domain::{AlertSettings, ProjectId, ProjectName};
use crate::store::Scope;

impl Broker {
    /// In creation order.
    pub fn projects(&self, _caller: &Caller) -> Vec<ProjectView> {
        let state = self.0.service.read();
        let ids = state.index.projects_in_order.values();
        let records = ids.filter_map(|id| state.index.projects.get(id));
        records.map(|record| project_view(&state.index, record)).collect()
    }

    /// The caller's project.
    pub fn project(&self, caller: &Caller) -> Result<ProjectView, Error> {
        let state = self.0.service.read();
        let record = state.index.projects.get(&caller.project()?).ok_or(Error::ProjectNotFound)?;
        Ok(project_view(&state.index, record))
    }

    pub(super) fn project_name(&self, id: ProjectId) -> Result<ProjectName, Error> {
        let state = self.0.service.read();
        let record = state.index.projects.get(&id).ok_or(Error::ProjectNotFound)?;
        Ok(record.name.clone())
    }

    /// A new project.
    pub async fn create_project(
        &self,
        caller: &Caller,
        name: &ProjectName,
        description: String,
        alert: AlertSettings,
    ) -> Result<ProjectView, Error> {
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let id = ProjectId::random();
        let work = async move {
            // The room before the name: whoever finds the name finds the room.
            broker.insert_cell(id);
            let plan = |state: &Versioned<ServiceIndex>| {
                if state.index.project_names.contains_key(&name) {
                    return Err(Error::ProjectExists);
                }
                let record = ProjectRecord {
                    id,
                    name: name.clone(),
                    order: state.next_order(),
                    created: by.time,
                    modified: by.time,
                    created_by: by.user,
                    description: description.clone(),
                    alert: alert.clone(),
                };
                let answer = project_view(&state.index, &record);
                Ok(Plan { writes: vec![put(record)], answer })
            };
            let made = broker.make(&broker.0.service, &by, plan).await;
            if made.is_err() {
                broker.remove_cell(id);
            }
            made
        };
        self.run(work).await
    }

    /// Renames and/or describes; `None` = as it is.
    pub async fn update_project(
        &self,
        caller: &Caller,
        name: Option<ProjectName>,
        description: Option<String>,
    ) -> Result<ProjectView, Error> {
        let id = caller.project()?;
        let (broker, by) = (self.clone(), self.by(caller));
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let record = state.index.projects.get(&id).ok_or(Error::ProjectNotFound)?;
                let mut record = ProjectRecord::clone(record);
                if let Some(name) = &name {
                    if state.index.project_names.get(name).is_some_and(|taken| *taken != id) {
                        return Err(Error::ProjectNameTaken);
                    }
                    record.name = name.clone();
                }
                if let Some(description) = &description {
                    record.description.clone_from(description);
                }
                record.modified = by.time;
                let answer = project_view(&state.index, &record);
                Ok(Plan { writes: vec![put(record)], answer })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        self.run(work).await
    }

    /// Replaces its alert settings.
    pub async fn set_project_alert(
        &self,
        caller: &Caller,
        alert: AlertSettings,
    ) -> Result<(), Error> {
        let id = caller.project()?;
        let (broker, by) = (self.clone(), self.by(caller));
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let record = state.index.projects.get(&id).ok_or(Error::ProjectNotFound)?;
                let mut record = ProjectRecord::clone(record);
                record.alert = alert.clone();
                record.modified = by.time;
                Ok(Plan { writes: vec![put(record)], answer: () })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        self.run(work).await
    }

    /// Removes the project with everything in it; memberships go too.
    pub async fn delete_project(&self, caller: &Caller) -> Result<(), Error> {
        let id = caller.project()?;
        let (broker, by) = (self.clone(), self.by(caller));
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let record = state.index.projects.get(&id).ok_or(Error::ProjectNotFound)?;
                let trash = TrashRecord {
                    name: record.name.as_str().to_owned(),
                    deleted: by.time,
                    topic: None,
                    subscription: None,
                };
                let mut writes =
                    vec![(project_key(id), None), (trash_key(id.0), Some(Record::Trash(trash)))];
                let users = state.index.users.values();
                for user in users.filter(|user| user.projects.iter().any(|m| m.project == id)) {
                    let mut user = UserRecord::clone(user);
                    user.projects.retain(|held| held.project != id);
                    writes.push((user_key(user.id), Some(Record::User(user))));
                }
                Ok(Plan { writes, answer: () })
            };
            broker.change(&broker.0.service, &by, plan).await?;
            // The name is gone and all below it unreachable: the answer need not wait for the rest.
            if let Some(cell) = broker.any_cell(id) {
                broker.abandon(&cell);
            }
            broker.sweep_soon();
            Ok(())
        };
        self.run(work).await
    }

    /// From now on nothing is found in a deleted project's scope; whoever waits there is told.
    fn abandon(&self, cell: &Cell<ProjectIndex>) {
        cell.set_gone();
        let lives: Vec<_> = cell.read().index.topics.values().map(|topic| topic.id).collect();
        for topic in lives.into_iter().filter_map(|life| self.known_topic(life)) {
            topic.end();
        }
    }

    fn insert_cell(&self, id: ProjectId) {
        let cell = Arc::new(Cell::new(Scope::Project(id)));
        self.0.projects.write().unwrap_or_else(PoisonError::into_inner).insert(id, cell);
    }

    pub(super) fn remove_cell(&self, id: ProjectId) {
        self.0.projects.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

fn project_view(index: &ServiceIndex, record: &ProjectRecord) -> ProjectView {
    ProjectView {
        name: record.name.clone(),
        created: record.created,
        modified: record.modified,
        created_by: index.user_name(record.created_by),
        description: record.description.clone(),
        alert: record.alert.clone(),
    }
}

fn put(record: ProjectRecord) -> (String, Option<Record>) {
    (project_key(record.id), Some(Record::Project(record)))
}
