//! One row per subscription, written under the condition of its version.

use async_trait::async_trait;
use uuid::Uuid;

use super::ScyllaStore;
use super::cql::Cas;
use crate::domain::{Progress, SubscriptionId};
use crate::store::{Answer, Outcome, ProgressLog, StoreError};

#[async_trait]
impl ProgressLog for ScyllaStore {
    /// Serially, since the caller decides by this after an unknown save.
    async fn load(&self, subscription: SubscriptionId) -> Result<Option<Progress>, StoreError> {
        let _open = self.enter().await?;
        let row = self.cql.row::<(Vec<u8>,)>(&self.cql.say.load, (subscription.0,)).await?;
        Ok(row.map(|(state,)| Progress::decode(&state)).transpose()?)
    }

    async fn save(&self, subscription: SubscriptionId, progress: &Progress) -> Answer {
        let _open = self.enter().await?;
        let Some(before) = progress.version.checked_sub(1) else { return Ok(Outcome::Conflict) };
        let mut state = Vec::with_capacity(256);
        progress.encode(&mut state);
        let _turn = self.turn(subscription).await?;
        let say = &self.cql.say;
        let outcome = if before == 0 {
            self.cql.cas(&say.first_save, (subscription.0, state)).await?
        } else {
            let (version, before) = (progress.version.cast_signed(), before.cast_signed());
            self.cql.cas(&say.save, (version, state, subscription.0, before)).await?
        };
        Ok(match outcome {
            Cas::Applied => Outcome::Applied(()),
            Cas::Refused => Outcome::Conflict,
            Cas::Unknown => Outcome::Unknown,
        })
    }

    async fn delete(&self, subscription: SubscriptionId) -> Answer {
        let _open = self.enter().await?;
        let _turn = self.turn(subscription).await?;
        Ok(match self.cql.cas(&self.cql.say.forget, (subscription.0,)).await? {
            Cas::Applied | Cas::Refused => Outcome::Applied(()),
            Cas::Unknown => Outcome::Unknown,
        })
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionId>, StoreError> {
        let _open = self.enter().await?;
        let rows = self.cql.rows::<(Uuid,)>(&self.cql.say.subscriptions, ()).await?;
        Ok(rows.into_iter().map(|(id,)| SubscriptionId(id)).collect())
    }
}
