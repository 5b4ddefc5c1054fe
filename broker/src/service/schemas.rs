//! Schemas (`ams-contract.md` 8): made, changed, and what messages are judged by.

use super::catalogue::{KnownSchema, ProjectIndex, Versioned, schema_key};
use super::commit::Plan;
use super::{Broker, Caller, Error, SchemaEdit, SchemaView};
use crate::domain::records::{Record, SchemaRecord, TopicRecord};
use crate::domain::{Batch, Data, ProjectName, SchemaId, SchemaName};
use crate::schema::{Definition, Kind, Schema, decode};

impl KnownSchema {
    fn schema(&self) -> Result<&Schema, Error> {
        self.compiled().ok_or(Error::SchemaUnusable)
    }

    /// Judges every message, up to the first that is not what the schema wants.
    pub(super) fn judge(&self, batch: &Batch) -> Result<(), Error> {
        let schema = self.schema()?;
        // A batch in the making is sound.
        for (i, message) in batch.messages().flatten().enumerate() {
            match message.data {
                Data::Decoded(payload) => schema.validate(payload),
                Data::Verbatim(text) => {
                    let payload =
                        decode(text).map_err(|error| Error::MessageNotBase64(i, error))?;
                    schema.validate(&payload)
                }
            }
            .map_err(|why| Error::MessageInvalid(i, why))?;
        }
        Ok(())
    }
}

impl Broker {
    /// In creation order.
    pub fn schemas(&self, caller: &Caller) -> Result<Vec<SchemaView>, Error> {
        let id = caller.project()?;
        let (project, cell) = (self.project_name(id)?, self.project_cell(id)?);
        let state = cell.read();
        Ok(state
            .index
            .schemas_in_order
            .values()
            .map(|known| view(&project, &known.record))
            .collect())
    }

    /// One schema.
    pub fn schema(&self, caller: &Caller, name: &SchemaName) -> Result<SchemaView, Error> {
        let id = caller.project()?;
        let (project, cell) = (self.project_name(id)?, self.project_cell(id)?);
        let state = cell.read();
        let known = state.index.schema(name).ok_or(Error::SchemaNotFound)?;
        Ok(view(&project, &known.record))
    }

    /// A new schema: the name is judged before the language, and that before the definition.
    pub async fn create_schema(
        &self,
        caller: &Caller,
        name: &SchemaName,
        language: &str,
        definition: Option<String>,
    ) -> Result<SchemaView, Error> {
        let project = caller.project()?;
        let (shown, cell) = (self.project_name(project)?, self.project_cell(project)?);
        if cell.read().index.schema(name).is_some() {
            return Err(Error::SchemaExists);
        }
        let (kind, definition) = compiled(language, definition.as_deref().unwrap_or("null"))?;
        let (broker, by, wanted) = (self.clone(), self.by(caller), name.clone());
        let id = SchemaId::random();
        let work = async move {
            let plan = broker.within_quota(&cell, |state: &Versioned<ProjectIndex>| {
                if state.index.schema(&wanted).is_some() {
                    return Err(Error::SchemaExists);
                }
                let record = SchemaRecord {
                    id,
                    name: wanted.clone(),
                    order: state.next_order(),
                    language: kind.as_str().to_owned(),
                    definition: definition.clone(),
                    created: by.time,
                    created_by: by.user,
                };
                Ok(Plan { answer: view(&shown, &record), writes: vec![put(record)] })
            });
            broker.make(&cell, &by, plan).await
        };
        self.run(work).await
    }

    /// Renames and/or changes it. A new language alone judges the definition there is.
    pub async fn update_schema(
        &self,
        caller: &Caller,
        name: &SchemaName,
        edit: SchemaEdit,
    ) -> Result<SchemaView, Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let shown = self.project_name(project)?;
        let work = async move {
            let cell = broker.project_cell(project)?;
            let plan = |state: &Versioned<ProjectIndex>| {
                let known = state.index.schema(&name).ok_or(Error::SchemaNotFound)?;
                let mut record = known.record.clone();
                if let Some(name) = &edit.name {
                    if state.index.schema(name).is_some_and(|taken| taken.record.id != record.id) {
                        return Err(Error::SchemaExists);
                    }
                    record.name = name.clone();
                }
                if edit.language.is_some() || edit.definition.is_some() {
                    let language = edit.language.as_deref().unwrap_or(&record.language);
                    let definition = edit.definition.as_deref().unwrap_or(&record.definition);
                    let (kind, definition) = compiled(language, definition)?;
                    record.language = kind.as_str().to_owned();
                    record.definition = definition;
                }
                Ok(Plan { answer: view(&shown, &record), writes: vec![put(record)] })
            };
            broker.change(&cell, &by, plan).await
        };
        self.run(work).await
    }

    /// Deletes it; topics that named it take any message again.
    pub async fn delete_schema(&self, caller: &Caller, name: &SchemaName) -> Result<(), Error> {
        let project = caller.project()?;
        let (broker, by, name) = (self.clone(), self.by(caller), name.clone());
        let work = async move {
            let cell = broker.project_cell(project)?;
            let plan = |state: &Versioned<ProjectIndex>| {
                let known = state.index.schema(&name).ok_or(Error::SchemaNotFound)?;
                let id = known.record.id;
                let mut writes = vec![(schema_key(id), None)];
                for topic in state.index.topics.values().filter(|topic| topic.schema == Some(id)) {
                    let mut topic = TopicRecord::clone(topic);
                    topic.schema = None;
                    writes.push(super::topics::put(topic));
                }
                Ok(Plan { writes, answer: () })
            };
            broker.change(&cell, &by, plan).await
        };
        self.run(work).await
    }

    /// What a schema is written in.
    pub fn schema_kind(&self, caller: &Caller, name: &SchemaName) -> Result<Kind, Error> {
        Kind::from_name(&self.schema(caller, name)?.language).ok_or(Error::SchemaUnusable)
    }

    /// Judges one payload as the message 0, without any topic.
    pub fn validate_payload(
        &self,
        caller: &Caller,
        name: &SchemaName,
        payload: &[u8],
    ) -> Result<(), Error> {
        let cell = self.project_cell(caller.project()?)?;
        let known = cell.read().index.schema(name).cloned().ok_or(Error::SchemaNotFound)?;
        known.schema()?.validate(payload).map_err(|why| Error::MessageInvalid(0, why))
    }

    /// The same of a payload in base64.
    pub fn validate_base64(
        &self,
        caller: &Caller,
        name: &SchemaName,
        data: &str,
    ) -> Result<(), Error> {
        let payload = decode(data).map_err(|error| Error::MessageNotBase64(0, error))?;
        self.validate_payload(caller, name, &payload)
    }
}

/// The language and the normalized definition, if they make a schema.
fn compiled(language: &str, definition: &str) -> Result<(Kind, String), Error> {
    let kind = Kind::from_name(language).ok_or(Error::SchemaLanguage)?;
    let refused = |text: String| Error::SchemaRefused(text);
    let definition = Definition::parse(definition);
    let definition = definition.ok_or_else(|| refused(String::from("schema is invalid")))?;
    Schema::compile(kind, &definition).map_err(|why| refused(why.0))?;
    Ok((kind, definition.to_text()))
}

fn view(project: &ProjectName, record: &SchemaRecord) -> SchemaView {
    SchemaView {
        id: record.id,
        project: project.clone(),
        name: record.name.clone(),
        language: record.language.clone(),
        definition: record.definition.clone(),
    }
}

fn put(record: SchemaRecord) -> super::catalogue::Write {
    (schema_key(record.id), Some(Record::Schema(record)))
}
