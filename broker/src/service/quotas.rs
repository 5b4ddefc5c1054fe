//! How often somebody may ask, and how much publish: per user and per project, by GCRA; and how much
//! a user may make. What is kept (objects, bytes) is bounded where it is made.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as LimiterClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{InsufficientCapacity, NotUntil, Quota, RateLimiter};

use super::Error;
use crate::clock::Clock;
use crate::domain::{ProjectId, UserId};

/// So many seconds' worth passes at once after a silence.
const BURST_SECONDS: u32 = 10;
const DAY: Duration = Duration::from_secs(86_400);

/// What an operator bounds; 0 = no bound. Service admins are not bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests of one user, a second.
    pub requests_per_user: u32,
    /// Requests to one project, a second.
    pub requests_per_project: u32,
    /// Packed bytes published by one user, a second.
    pub published_bytes_per_user: u32,
    /// Packed bytes published to one project, a second.
    pub published_bytes_per_project: u32,
    /// Objects (projects, topics, subscriptions, schemas, snapshots, users) that one user makes, a
    /// day.
    pub created_objects_per_user: u32,
}

/// Which of them was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// The user's requests.
    UserRequests,
    /// The project's requests.
    ProjectRequests,
    /// The user's publishes.
    UserBytes,
    /// The project's publishes.
    ProjectBytes,
    /// The objects that the user makes.
    UserObjects,
}

/// The broker's steady clock for the limiters.
#[derive(Debug, Clone)]
struct Steady(Arc<dyn Clock>);

impl LimiterClock for Steady {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.steady().0.into()
    }
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, Steady, NoOpMiddleware<Nanos>>;

/// So many a second, ten seconds' worth at once; `None`: no bound.
fn per_second(count: u32) -> Option<Quota> {
    let burst = NonZeroU32::new(count.saturating_mul(BURST_SECONDS))?;
    Some(Quota::per_second(NonZeroU32::new(count)?).allow_burst(burst))
}

/// So many a day, all of them at once; `None`: no bound.
fn per_day(count: u32) -> Option<Quota> {
    let burst = NonZeroU32::new(count)?;
    Some(Quota::with_period(DAY / count)?.allow_burst(burst))
}

/// One bound, over all who have one.
struct Bound<K: Hash + Eq + Clone> {
    limiter: Option<Limiter<K>>,
    /// More than this passes as this much, and uses all of it up.
    burst: u32,
    rate: Rate,
    clock: Steady,
}

impl<K: Hash + Eq + Clone> Bound<K> {
    fn new(quota: Option<Quota>, rate: Rate, clock: &Steady) -> Self {
        let burst = quota.map_or(0, |quota| quota.burst_size().get());
        let limiter =
            quota.map(|quota| RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()));
        Self { limiter, burst, rate, clock: clock.clone() }
    }

    fn take(&self, key: &K, count: u64) -> Result<(), Error> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.burst);
        let Some(count) = NonZeroU32::new(count) else { return Ok(()) };
        match limiter.check_key_n(key, count) {
            Ok(Err(not_until)) => Err(Error::Rate(self.rate, self.seconds(&not_until))),
            // No more than a burst is ever asked for.
            Ok(Ok(())) | Err(InsufficientCapacity(_)) => Ok(()),
        }
    }

    fn seconds(&self, not_until: &NotUntil<Nanos>) -> u32 {
        let wait = not_until.wait_time_from(self.clock.now());
        u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
    }

    fn forget(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// All bounds, with what was used of them lately.
pub(super) struct Quotas {
    user_requests: Bound<UserId>,
    project_requests: Bound<ProjectId>,
    user_bytes: Bound<UserId>,
    project_bytes: Bound<ProjectId>,
    user_objects: Bound<UserId>,
}

impl Quotas {
    pub(super) fn new(rates: Rates, clock: Arc<dyn Clock>) -> Self {
        let clock = Steady(clock);
        let Rates { requests_per_user, requests_per_project, .. } = rates;
        let Rates { published_bytes_per_user, published_bytes_per_project, .. } = rates;
        let objects = per_day(rates.created_objects_per_user);
        Self {
            user_requests: Bound::new(per_second(requests_per_user), Rate::UserRequests, &clock),
            project_requests: Bound::new(
                per_second(requests_per_project),
                Rate::ProjectRequests,
                &clock,
            ),
            user_bytes: Bound::new(per_second(published_bytes_per_user), Rate::UserBytes, &clock),
            project_bytes: Bound::new(
                per_second(published_bytes_per_project),
                Rate::ProjectBytes,
                &clock,
            ),
            user_objects: Bound::new(objects, Rate::UserObjects, &clock),
        }
    }

    /// Takes one request of the user, and of the project if it is about one.
    pub(super) fn request(&self, user: UserId, project: Option<ProjectId>) -> Result<(), Error> {
        self.user_requests.take(&user, 1)?;
        project.map_or(Ok(()), |project| self.project_requests.take(&project, 1))
    }

    /// Takes what the user is about to publish to the project.
    pub(super) fn publish(
        &self,
        user: UserId,
        project: ProjectId,
        bytes: u64,
    ) -> Result<(), Error> {
        self.user_bytes.take(&user, bytes)?;
        self.project_bytes.take(&project, bytes)
    }

    /// Takes one object that the user is about to make.
    pub(super) fn create(&self, user: UserId) -> Result<(), Error> {
        self.user_objects.take(&user, 1)
    }

    /// Gives back the memory of those who were silent for a while.
    pub(super) fn forget(&self) {
        self.user_requests.forget();
        self.project_requests.forget();
        self.user_bytes.forget();
        self.project_bytes.forget();
        self.user_objects.forget();
    }
}
