//! A scope is one partition, a commit one conditional batch in it.

use async_trait::async_trait;
use bytes::Bytes;
use scylla::value::CqlValue;
use uuid::Uuid;

use super::ScyllaStore;
use super::cql::Cas;
use super::life::ATTEMPTS;
use crate::domain::codec::Reader;
use crate::domain::{Malformed, ProjectId};
use crate::store::{
    Answer, By, Catalog, Change, ChangeSet, KEPT_CHANGES, Outcome, Scope, ScopeState, StoreError,
};

const OBJECT: i8 = 0;
const CHANGE_SET: i8 = 1;

/// How a scope's partition is called.
fn partition(scope: Scope) -> String {
    match scope {
        Scope::Service => "service".to_owned(),
        Scope::Project(project) => format!("project/{project}"),
    }
}

fn scope(partition: &str) -> Result<Scope, Malformed> {
    if partition == "service" {
        return Ok(Scope::Service);
    }
    let id = partition.strip_prefix("project/").and_then(|id| Uuid::try_parse(id).ok());
    id.map(|id| Scope::Project(ProjectId(id))).ok_or(Malformed("scope"))
}

/// The key of a change set: versions in the order of numbers.
fn key(version: u64) -> String {
    format!("{version:020}")
}

const CHANGE_SET_VERSION: u8 = 1;

fn decode(bytes: &[u8]) -> Result<ChangeSet, StoreError> {
    let mut reader = Reader::new(bytes, "change set");
    if reader.u8()? != CHANGE_SET_VERSION {
        return Err(reader.malformed().into());
    }
    let set = ChangeSet::decode(&mut reader)?;
    reader.end()?;
    Ok(set)
}

fn text(text: &str) -> Option<CqlValue> {
    Some(CqlValue::Text(text.to_owned()))
}

fn number(version: u64) -> Option<CqlValue> {
    Some(CqlValue::BigInt(version.cast_signed()))
}

impl ScyllaStore {
    /// Finally: a commit in flight is finished by that. 0 = never written.
    async fn version(&self, partition: &str) -> Result<u64, StoreError> {
        let row = self.cql.row::<(Option<i64>,)>(&self.cql.say.scope_version, (partition,));
        Ok(row.await?.and_then(|(version,)| version).map_or(0, i64::cast_unsigned))
    }

    async fn change_set(
        &self,
        partition: &str,
        version: u64,
    ) -> Result<Option<ChangeSet>, StoreError> {
        let values = (partition, key(version));
        let row = self.cql.row::<(Vec<u8>,)>(&self.cql.say.change_set, values).await?;
        row.map(|(set,)| decode(&set)).transpose()
    }

    async fn commit_set(&self, partition: &str, set: &ChangeSet) -> Result<Cas, StoreError> {
        let say = &self.cql.say;
        let before = set.version.saturating_sub(1);
        let expected = if before == 0 { None } else { number(before) };
        let condition = vec![number(set.version), text(partition), expected];
        let row =
            |kind: i8, key: &str| vec![text(partition), Some(CqlValue::TinyInt(kind)), text(key)];
        let put = |kind: i8, key: &str, value: Vec<u8>| {
            let mut values = row(kind, key);
            values.push(Some(CqlValue::Blob(value)));
            (say.put_value.clone(), values)
        };
        let mut statements = vec![(say.set_version.clone(), condition)];
        for change in &set.changes {
            statements.push(match change {
                Change::Put(key, value) => put(OBJECT, key, value.to_vec()),
                Change::Delete(key) => (say.delete_value.clone(), row(OBJECT, key)),
            });
        }
        let mut body = vec![CHANGE_SET_VERSION];
        set.encode(&mut body);
        statements.push(put(CHANGE_SET, &key(set.version), body));
        if let Some(old) = set.version.checked_sub(KEPT_CHANGES as u64).filter(|old| *old > 0) {
            statements.push((say.delete_value.clone(), row(CHANGE_SET, &key(old))));
        }
        self.cql.cas_together(statements).await
    }
}

#[async_trait]
impl Catalog for ScyllaStore {
    async fn load_scope(&self, scope: Scope) -> Result<ScopeState, StoreError> {
        let _open = self.enter().await?;
        let partition = partition(scope);
        // This process's own commits wait; another's would show as a version that moved.
        let _turn = self.turn(scope).await?;
        let mut version = self.version(&partition).await?;
        for _ in 0..ATTEMPTS {
            let values = (partition.as_str(),);
            let rows = self
                .cql
                .rows::<(Option<i64>, String, Option<Vec<u8>>)>(&self.cql.say.values, values);
            let rows = rows.await?;
            let after = self.version(&partition).await?;
            let same = |seen: &Option<i64>| seen.map(i64::cast_unsigned) == Some(version);
            if after == version && rows.iter().all(|(seen, ..)| same(seen)) {
                let objects = rows
                    .into_iter()
                    .map(|(_, key, value)| (key, value.map_or_else(Bytes::new, Bytes::from)));
                return Ok(ScopeState { version, objects: objects.collect() });
            }
            version = after;
        }
        Err(StoreError::Unavailable)
    }

    async fn changes_since(
        &self,
        scope: Scope,
        version: u64,
    ) -> Result<Option<Vec<ChangeSet>>, StoreError> {
        let _open = self.enter().await?;
        let partition = partition(scope);
        let last = self.version(&partition).await?;
        if version > last || last - version > KEPT_CHANGES as u64 {
            return Ok(None);
        }
        let values = (partition.as_str(), key(version), key(last));
        let rows = self.cql.rows::<(Vec<u8>,)>(&self.cql.say.change_sets, values).await?;
        let sets: Result<Vec<_>, _> = rows.iter().map(|(set,)| decode(set)).collect();
        let sets = sets?;
        // All of them, or the oldest went away while they were read.
        let is_whole = sets.iter().map(|set| set.version).eq(version + 1..=last);
        Ok(is_whole.then_some(sets))
    }

    async fn commit_scope(
        &self,
        scope: Scope,
        expected: u64,
        changes: Vec<Change>,
        by: By,
    ) -> Answer<u64> {
        let _open = self.enter().await?;
        let Some(version) = expected.checked_add(1) else { return Ok(Outcome::Conflict) };
        let set = ChangeSet { version, changes, by };
        let partition = partition(scope);
        let _turn = self.turn(scope).await?;
        match self.commit_set(&partition, &set).await? {
            Cas::Applied => Ok(Outcome::Applied(version)),
            Cas::Unknown => Ok(Outcome::Unknown),
            // Perhaps this very commit, whose first answer was lost.
            Cas::Refused => {
                let is_mine = self.change_set(&partition, version).await?.as_ref() == Some(&set);
                Ok(if is_mine { Outcome::Applied(version) } else { Outcome::Conflict })
            }
        }
    }

    async fn scopes(&self) -> Result<Vec<Scope>, StoreError> {
        let _open = self.enter().await?;
        let rows = self.cql.rows::<(String, Option<i64>)>(&self.cql.say.scopes, ()).await?;
        let written = rows.iter().filter(|(_, version)| version.is_some());
        Ok(written.map(|(partition, _)| scope(partition)).collect::<Result<_, _>>()?)
    }
}
