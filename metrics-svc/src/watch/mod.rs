//! What is going on: everything known and judged, in memory, and the verbs that change it.
//!
//! Doors (`http`) and the loop in `app` call these; whatever must survive a restart is in the
//! database before they return.

mod departed;
mod evaluate;
mod history;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::alert::{Incident, Judge, JudgeSettings, SavedSubscription};
use crate::clock::{Clock, Time};
use crate::db::{Commit, Db, DbError, Deletion, NewMail, Queue};
use crate::notify::{Mailer, Notice, Pace, Tally, Written};
use crate::series::{DirectoryChange, Report, Series, Taken};

pub use departed::Departed;
pub use evaluate::Outage;

/// What is known and what was judged of it.
#[derive(Debug)]
pub struct Known {
    /// Directory and current records.
    pub series: Series,
    /// Verdicts and open incidents.
    pub judge: Judge,
    /// Counters of deleted objects that are still shown.
    pub departed: Vec<Departed>,
}

/// The live state of metrics-svc.
#[derive(Debug)]
pub struct Watch {
    known: RwLock<Known>,
    db: Db,
    mailer: Arc<Mailer>,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
    settings: JudgeSettings,
    pace: Pace,
    /// One evaluation at a time, with what could not be written yet.
    unwritten: tokio::sync::Mutex<Arc<Commit>>,
    /// Open incidents, or changes of them, nobody was told of: muted, or mails were off.
    untold: Mutex<HashMap<Uuid, Incident>>,
    /// Who deleted what, from before the start.
    deleted_by: HashMap<Uuid, String>,
    reports: [AtomicU64; 3],
    last_evaluation: AtomicU64,
    outage: Mutex<Outage>,
    history: Mutex<history::Seen>,
}

/// What became of a report, as counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Something new, or a heartbeat.
    Accepted,
    /// Everything in it was known already.
    Stale,
    /// Not understood.
    Rejected,
}

/// Their names, in the order of the counters.
pub const RECEIVED: [(Received, &str); 3] = [
    (Received::Accepted, "accepted"),
    (Received::Stale, "stale"),
    (Received::Rejected, "rejected"),
];

/// What metrics-svc cannot work without is missing or unreadable.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A row of it.
    #[error("database: a saved row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

impl Watch {
    /// Continues with what the database holds.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn restore(
        db: Db,
        mailer: Arc<Mailer>,
        tally: Arc<Tally>,
        clock: Arc<dyn Clock>,
        settings: JudgeSettings,
        pace: Pace,
    ) -> Result<Arc<Self>, RestoreError> {
        let now = clock.wall();
        let saved = db.load(now).await?;
        let judged = saved.judged.iter().map(|row| serde_json::from_str(row));
        let judged = judged.collect::<Result<Vec<SavedSubscription>, _>>()?;
        let incidents = saved.incidents.iter().map(|row| serde_json::from_str(row));
        let incidents = incidents.collect::<Result<Vec<Incident>, _>>()?;
        let untold = incidents
            .iter()
            .filter(|incident| !incident.mailed_open || incident.change_is_untold());
        let untold = untold.map(|incident| (incident.id, incident.clone())).collect();
        let by = |gone: Deletion| Some((Uuid::parse_str(&gone.id).ok()?, gone.by));
        let judge = Judge::restore(judged, incidents, now);
        let known = Known { series: Series::new(), judge, departed: Vec::new() };
        Ok(Arc::new(Self {
            known: RwLock::new(known),
            db,
            mailer,
            tally,
            clock,
            settings,
            pace,
            unwritten: tokio::sync::Mutex::default(),
            untold: Mutex::new(untold),
            deleted_by: saved.deletions.into_iter().filter_map(by).collect(),
            reports: Default::default(),
            last_evaluation: AtomicU64::new(0),
            outage: Mutex::default(),
            history: Mutex::default(),
        }))
    }

    /// What is known, for reading.
    pub fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report. It is kept in memory even when the database refuses, so that judging goes
    /// on; the sender must not be told 200 then, see [`Watch::can_promise`].
    pub fn take_report(&self, report: Report) -> Taken {
        let now = self.clock.wall();
        let taken = self.known_mut().series.take_report(report, now);
        let stale = taken.stale > 0 && taken.accepted == 0;
        self.count(if stale { Received::Stale } else { Received::Accepted });
        taken
    }

    /// Whether the database takes what cannot be asked again.
    pub fn can_promise(&self) -> bool {
        self.db.is_up()
    }

    /// Takes a directory change; whether the sender is to send everything. Deletions are on disk
    /// before this returns, and what they close is judged at once.
    ///
    /// # Errors
    /// The database refuses. The change is in force in memory all the same; sent again it is
    /// written.
    pub async fn take_directory(&self, change: DirectoryChange) -> Result<bool, DbError> {
        let now = self.clock.wall();
        let deletions: Vec<Deletion> = change
            .deleted
            .iter()
            .map(|gone| Deletion {
                kind: gone.kind.as_str().to_owned(),
                id: gone.id.to_string(),
                name: gone.name.clone(),
                by: gone.by.clone(),
                at: gone.at.unwrap_or(now),
            })
            .collect();
        let taken = {
            let mut known = self.known_mut();
            let departing = departed::departing(&known.series, &change, now);
            let taken = known.series.take_directory(change);
            if !taken.resync {
                known.departed.retain(|gone| gone.until > now);
                known.departed.extend(departing);
            }
            taken
        };
        if !deletions.is_empty() {
            self.db.record_deletions(deletions).await?;
        }
        if !taken.deleted.is_empty() {
            self.evaluate().await;
        }
        Ok(taken.resync)
    }

    /// Counts a report.
    pub fn count(&self, received: Received) {
        for ((known, _), counter) in RECEIVED.iter().zip(&self.reports) {
            if *known == received {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Reports so far: outcome and count.
    pub fn reports(&self) -> Vec<(&'static str, u64)> {
        let counters = RECEIVED.iter().zip(&self.reports);
        counters.map(|((_, name), n)| (*name, n.load(Ordering::Relaxed))).collect()
    }

    /// When everything was last judged.
    pub fn last_evaluation(&self) -> Option<Time> {
        Some(Time(self.last_evaluation.load(Ordering::Relaxed))).filter(|time| time.0 > 0)
    }

    /// Now, by the clock given.
    pub fn now(&self) -> Time {
        self.clock.wall()
    }

    /// Whether a relay is set.
    pub fn mails_are_on(&self) -> bool {
        self.mailer.is_on()
    }

    /// What became of mails.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The waiting mails; `None` when the database cannot be read.
    pub async fn queue(&self) -> Option<Queue> {
        self.db.queue().await.ok()
    }

    /// Mails the operators something that is no incident, through the outbox; from memory, within
    /// `at_most`, if the database refuses: it may be on the disk that is being complained of.
    ///
    /// # Errors
    /// The database refuses, and the mail could not be sent without it.
    pub async fn tell_operators(
        &self,
        subject: &str,
        text: &str,
        at_most: Duration,
    ) -> Result<(), DbError> {
        let now = self.clock.wall();
        let notice = Notice { subject: subject.to_owned(), text: text.to_owned(), told_at: now };
        let incident = Uuid::new_v4();
        let body = Written::Notice(notice.clone()).to_json();
        let mail = |recipient: &String| NewMail {
            incident,
            kind: crate::db::Kind::Notice,
            recipient: recipient.clone(),
            merge_key: incident.to_string(),
            body: body.clone(),
            due_at: now,
            expires_at: now.plus(self.pace.give_up),
        };
        if !self.mailer.is_on() {
            return Ok(());
        }
        let Err(error) = self.db.post(self.operators().iter().map(mail).collect(), now).await
        else {
            self.mailer.wake();
            return Ok(());
        };
        tracing::error!(%error, "the database refuses a mail: it is sent from memory");
        let sending =
            self.mailer.send_unwritten(notice, self.operators(), CancellationToken::new());
        match tokio::time::timeout(at_most, sending).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(error),
        }
    }

    /// Gives the data directory up, after the last write.
    pub fn let_go(&self) {
        self.db.let_go();
    }

    /// Waits until no mail waits, at most so long; whether that came true.
    pub async fn drain_mail(&self, at_most: Duration) -> bool {
        let empty = async {
            loop {
                self.mailer.wake();
                if self.db.queue().await.is_ok_and(|queue| queue.waiting == 0) {
                    return;
                }
                tokio::time::sleep(self.pace.look_every).await;
            }
        };
        !self.mailer.is_on() || tokio::time::timeout(at_most, empty).await.is_ok()
    }
}
