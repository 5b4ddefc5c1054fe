//! Registrations (`ams-contract.md` 6.4): who asks to become a user, and what was decided.

use std::sync::Arc;

use super::catalogue::{ServiceIndex, Versioned, registration_key};
use super::commit::Plan;
use super::shown::Shown;
use super::{
    Broker, Caller, Error, NewRegistration, NewUser, RegistrationFilter, RegistrationView,
    UserView, tokens, users,
};
use crate::domain::records::{Record, RegistrationRecord, RegistrationStatus};
use crate::domain::{RegistrationId, UserName};
use crate::store::By;

impl Broker {
    /// `registrations:newUser`: a pending one, with its activation token, whose text is shown this
    /// once whatever the settings. Only existing users take a name; several may ask for it.
    pub async fn register(
        &self,
        caller: &Caller,
        wish: NewRegistration,
    ) -> Result<RegistrationView, Error> {
        let (token, activation) = self.fresh_token()?;
        let (broker, by, id) = (self.clone(), self.by(caller), RegistrationId::random());
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                if state.index.user_names.contains_key(&wish.name) {
                    return Err(Error::UserExists);
                }
                let NewRegistration {
                    name,
                    first_name,
                    last_name,
                    organization,
                    description,
                    email,
                } = wish.clone();
                let record = RegistrationRecord {
                    id,
                    name,
                    order: state.next_order(),
                    first_name,
                    last_name,
                    organization,
                    description,
                    email,
                    status: RegistrationStatus::Pending,
                    decline_comment: String::new(),
                    activation: Some(activation.clone()),
                    registered: by.time,
                    modified: None,
                    modified_by: None,
                };
                Ok(Plan { writes: vec![put(record.clone())], answer: record })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        let record = self.run(work).await?;
        Ok(RegistrationView { activation_token: Some(token), ..self.view(&record, None)? })
    }

    /// `registrations:list`: in creation order.
    pub fn registrations(
        &self,
        _caller: &Caller,
        filter: &RegistrationFilter,
    ) -> Result<Vec<RegistrationView>, Error> {
        let token_sha256 = filter.activation_token.as_deref().map(tokens::hash);
        let found: Vec<_> = {
            let state = self.0.service.read();
            let all = state.index.registrations_in_order.values();
            let all = all.filter_map(|id| state.index.registrations.get(id));
            let fitting = all.filter(|record| fits(record, filter, token_sha256.as_deref()));
            fitting.map(|record| with_decider(&state.index, record)).collect()
        };
        found.into_iter().map(|(record, decider)| self.view(&record, decider)).collect()
    }

    /// `registrations:show`: the one whose id is shown as this text.
    pub fn registration(&self, _caller: &Caller, text: &str) -> Result<RegistrationView, Error> {
        let id = RegistrationId::shown_as(text).ok_or(Error::RegistrationNotFound)?;
        let (record, decider) = {
            let state = self.0.service.read();
            let record = state.index.registrations.get(&id).ok_or(Error::RegistrationNotFound)?;
            with_decider(&state.index, record)
        };
        self.view(&record, decider)
    }

    /// The pending registration of this id: the door must answer its 404 before it reads the body
    /// of `registrations:declineNewUser`.
    pub fn find_pending(&self, _caller: &Caller, text: &str) -> Result<RegistrationId, Error> {
        let id = RegistrationId::shown_as(text).ok_or(Error::RegistrationNotFound)?;
        pending(&self.0.service.read().index, id).map(|_| id)
    }

    /// `registrations:acceptNewUser`: the user and the decision are one commit. Full view with
    /// token, whose text is shown this once whatever the settings. When the name is taken the
    /// registration stays pending.
    pub async fn accept_registration(
        &self,
        caller: &Caller,
        text: &str,
    ) -> Result<UserView, Error> {
        let id = self.find_pending(caller, text)?;
        let (broker, gift) = (self.clone(), self.gift(self.by(caller))?);
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let record = pending(&state.index, id)?;
                let new = NewUser {
                    email: record.email.clone(),
                    first_name: record.first_name.clone(),
                    last_name: record.last_name.clone(),
                    organization: record.organization.clone(),
                    description: record.description.clone(),
                    ..NewUser::default()
                };
                let user = gift.judge(state, &broker.0.settings.roles, &record.name, &new)?;
                let record = decided(record, RegistrationStatus::Accepted, gift.by());
                Ok(Plan { writes: vec![users::put(user.clone()), put(record)], answer: user })
            };
            let user = broker.make(&broker.0.service, gift.by(), plan).await?;
            Ok((user, gift.into_token()))
        };
        let (user, token) = self.run(work).await?;
        Ok(UserView { token: Some(token), ..self.user_view(&user, Shown::Whole)? })
    }

    /// `registrations:declineNewUser`, with a comment that may be empty.
    pub async fn decline_registration(
        &self,
        caller: &Caller,
        id: RegistrationId,
        comment: String,
    ) -> Result<(), Error> {
        let (broker, by) = (self.clone(), self.by(caller));
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                let record = pending(&state.index, id)?;
                let mut record = decided(record, RegistrationStatus::Declined, &by);
                record.decline_comment.clone_from(&comment);
                Ok(Plan { writes: vec![put(record)], answer: () })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        self.run(work).await
    }

    /// `registrations:delete`, whatever was decided.
    pub async fn delete_registration(&self, caller: &Caller, text: &str) -> Result<(), Error> {
        let id = RegistrationId::shown_as(text).ok_or(Error::RegistrationNotFound)?;
        let (broker, by) = (self.clone(), self.by(caller));
        let work = async move {
            let plan = |state: &Versioned<ServiceIndex>| {
                if !state.index.registrations.contains_key(&id) {
                    return Err(Error::RegistrationNotFound);
                }
                Ok(Plan { writes: vec![(registration_key(id), None)], answer: () })
            };
            broker.change(&broker.0.service, &by, plan).await
        };
        self.run(work).await
    }

    fn view(
        &self,
        record: &RegistrationRecord,
        modified_by: Option<UserName>,
    ) -> Result<RegistrationView, Error> {
        let activation = record.activation.as_ref();
        let token = activation.map(|token| self.shown_token(&token.sealed)).transpose()?;
        Ok(RegistrationView {
            id: record.id,
            wish: NewRegistration {
                name: record.name.clone(),
                first_name: record.first_name.clone(),
                last_name: record.last_name.clone(),
                organization: record.organization.clone(),
                description: record.description.clone(),
                email: record.email.clone(),
            },
            status: record.status,
            decline_comment: record.decline_comment.clone(),
            activation_token: token,
            registered: record.registered,
            modified: record.modified,
            modified_by,
        })
    }
}

fn with_decider(
    index: &ServiceIndex,
    record: &Arc<RegistrationRecord>,
) -> (Arc<RegistrationRecord>, Option<UserName>) {
    (Arc::clone(record), index.user_name(record.modified_by))
}

fn fits(
    record: &RegistrationRecord,
    filter: &RegistrationFilter,
    token_sha256: Option<&str>,
) -> bool {
    let token = record.activation.as_ref().map_or("", |token| &token.sha256);
    [
        (filter.status.as_deref(), record.status.as_str()),
        (filter.name.as_deref(), record.name.as_str()),
        (filter.email.as_deref(), &record.email),
        (filter.organization.as_deref(), &record.organization),
        (token_sha256, token),
    ]
    .iter()
    .all(|(wanted, has)| wanted.is_none_or(|wanted| wanted == *has))
}

fn pending(index: &ServiceIndex, id: RegistrationId) -> Result<&RegistrationRecord, Error> {
    let record = index.registrations.get(&id).ok_or(Error::RegistrationNotFound)?;
    match record.status {
        RegistrationStatus::Pending => Ok(record),
        RegistrationStatus::Accepted | RegistrationStatus::Declined => {
            Err(Error::RegistrationNotFound)
        }
    }
}

/// The registration once it is no longer pending: its token is good for nothing and kept no more.
fn decided(record: &RegistrationRecord, status: RegistrationStatus, by: &By) -> RegistrationRecord {
    RegistrationRecord {
        status,
        activation: None,
        modified: Some(by.time),
        modified_by: by.user,
        ..record.clone()
    }
}

fn put(record: RegistrationRecord) -> (String, Option<Record>) {
    (registration_key(record.id), Some(Record::Registration(record)))
}
