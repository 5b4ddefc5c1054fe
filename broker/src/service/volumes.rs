//! How much whole projects were given, for those who account for it (`ams-contract.md` 11.5).

use std::collections::BTreeMap;

use super::users::is_member;
use super::{Broker, Caller, Error, tokens};
use crate::domain::roles::ProjectRole;
use crate::domain::{ProjectId, ProjectName, Time};

/// Whole UTC days, both ends included, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first.
    pub first: i64,
    /// The last, not before the first.
    pub last: i64,
}

/// What one project was given in a window, and what was made in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectVolume {
    /// Its name.
    pub project: ProjectName,
    /// Messages published, at least one.
    pub messages: u64,
    /// Messages a day in hundredths, rounded up.
    pub average_hundredths: u64,
    /// Topics that were made in the window and are still there.
    pub topics: usize,
    /// Subscriptions that were made in the window and are still there.
    pub subscriptions: usize,
    /// Members that were made in the window and are still there.
    pub users: usize,
}

impl Days {
    fn has(self, day: u32) -> bool {
        (self.first..=self.last).contains(&i64::from(day))
    }

    /// Messages a day in hundredths, rounded up: the one place that knows the rule. AMS takes the
    /// whole days between start and the end's last second, and one more.
    fn average_hundredths(self, messages: u64) -> u64 {
        let days = u128::from(self.last.saturating_sub(self.first).unsigned_abs()) + 1;
        let hundredths = (u128::from(messages) * 100).div_ceil(days);
        u64::try_from(hundredths).unwrap_or(u64::MAX)
    }
}

impl Broker {
    /// The projects of `names` (`None`: all) that were given something in the window, in creation
    /// order.
    ///
    /// # Errors
    /// The first name that stands for no project, as given: [`Error::UnknownProject`].
    pub fn volumes(
        &self,
        _caller: &Caller,
        days: Days,
        names: Option<&[String]>,
    ) -> Result<Vec<ProjectVolume>, Error> {
        let wanted = {
            let state = self.0.service.read();
            match names {
                None => state.index.projects_in_order.clone(),
                Some(names) => names
                    .iter()
                    .map(|text| {
                        let project = text.parse().ok().and_then(|name| state.index.project(&name));
                        let project = project.ok_or_else(|| Error::UnknownProject(text.clone()))?;
                        Ok((project.order, project.id))
                    })
                    .collect::<Result<_, Error>>()?,
            }
        };
        Ok(self.volumes_of(&wanted, days))
    }

    /// The projects that the token's user is a project admin of, by their place in creation order;
    /// of those only `names` where there are some. Names of other projects, or of none, are passed
    /// over. `Unauthorized`: the token is nobody's.
    pub fn own_projects(
        &self,
        token: Option<&str>,
        names: Option<&[String]>,
    ) -> Result<BTreeMap<u64, ProjectId>, Error> {
        let token = token.filter(|token| !token.is_empty()).ok_or(Error::Unauthorized)?;
        let state = self.0.service.read();
        let user = state.index.holder(&tokens::hash(token)).ok_or(Error::Unauthorized)?;
        let held = user.projects.iter();
        let held = held.filter(|held| held.roles.contains(&ProjectRole::ProjectAdmin));
        // A project that is gone is passed over (O38, improved).
        let held = held.filter_map(|held| state.index.projects.get(&held.project));
        let asked = |name: &str| names.is_none_or(|names| names.iter().any(|text| text == name));
        let held = held.filter(|project| asked(project.name.as_str()));
        Ok(held.map(|project| (project.order, project.id)).collect())
    }

    /// Those of `projects` that were given something in the window; one that is deleted meanwhile
    /// is left out. Whose they are, [`Self::own_projects`] has judged.
    pub fn volumes_of(
        &self,
        projects: &BTreeMap<u64, ProjectId>,
        days: Days,
    ) -> Vec<ProjectVolume> {
        projects.values().filter_map(|id| self.volume(*id, days)).collect()
    }

    /// `None` where nothing was published in the window (O30).
    fn volume(&self, id: ProjectId, days: Days) -> Option<ProjectVolume> {
        let (project, cell) = (self.project_name(id).ok()?, self.project_cell(id).ok()?);
        let daily = self.daily(&cell, |_| true);
        let inside = daily.iter().filter(|(day, _)| days.has(**day));
        let messages = inside.fold(0u64, |sum, (_, messages)| sum.saturating_add(*messages));
        if messages == 0 {
            return None;
        }
        let made = |created: Time| days.has(created.day());
        // With a filter AMS answers 0 users (O29, improved).
        let users = {
            let state = self.0.service.read();
            let users = state.index.users.values().filter(|user| made(user.created));
            users.filter(|user| is_member(user, id)).count()
        };
        let state = cell.read();
        let subscriptions = state.index.subscriptions.values();
        Some(ProjectVolume {
            project,
            messages,
            average_hundredths: days.average_hundredths(messages),
            topics: state.index.live_topics().filter(|topic| made(topic.created)).count(),
            subscriptions: subscriptions.filter(|record| made(record.created)).count(),
            users,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Days;

    #[test]
    fn an_average_is_rounded_up_over_whole_days() {
        let four = Days { first: 17_805, last: 17_808 };
        for (messages, hundredths) in [(0, 0), (1, 25), (30, 750), (u64::MAX, u64::MAX)] {
            assert_eq!(four.average_hundredths(messages), hundredths);
        }
        let seven = Days { first: -3, last: 3 };
        assert_eq!(seven.average_hundredths(1), 15);
        assert_eq!(seven.average_hundredths(7), 100);
        assert_eq!(Days { first: 0, last: 0 }.average_hundredths(3), 300);
        assert!(seven.has(3) && !seven.has(4));
    }
}
