//! Who is told of an incident (`observability.md` 2.2, 9).

use uuid::Uuid;

use super::state::{Incident, IncidentKind, JudgeSettings};
use crate::series::{Series, User, is_address};

/// Which rule named the recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// `alert.contacts` in force.
    Contacts,
    /// Users on the subscription's ACL.
    Acl,
    /// Users with role `project_admin` in the project.
    ProjectAdmins,
    /// The operators of the service.
    Operators,
}

impl Step {
    /// Its name in texts and rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::Acl => "acl",
            Self::ProjectAdmins => "project_admins",
            Self::Operators => "operators",
        }
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipients {
    /// Mail addresses, each once; empty when there is not even an operator.
    pub addresses: Vec<String>,
    /// The rule that named them.
    pub step: Step,
    /// Whether an owner's incident reaches none of its owners.
    pub unreachable: bool,
}

/// Who is told of `incident`: the first rule that yields an address wins. Of a deleted
/// subscription nothing is known any more: close to those who got the opening mail.
pub fn recipients(series: &Series, incident: &Incident, settings: &JudgeSettings) -> Recipients {
    let operators = |unreachable| Recipients {
        addresses: distinct(settings.operators.iter().map(String::as_str)),
        step: Step::Operators,
        unreachable,
    };
    let (IncidentKind::Subscription, Some(id)) = (incident.kind, incident.subscription) else {
        return operators(false);
    };
    let owners = series.subscription(id).and_then(|view| {
        let contacts = series.in_force(&view, &settings.service).contacts;
        let contacts = contacts.map(|(contacts, _)| contacts).unwrap_or_default();
        let acl = view.subscription.acl.iter().filter_map(|user| series.user(*user));
        let admins = series.users().filter(|user| is_admin(user, view.project.id));
        [
            (Step::Contacts, distinct(contacts.iter().map(String::as_str))),
            (Step::Acl, distinct(acl.map(|user| user.email.as_str()))),
            (Step::ProjectAdmins, distinct(admins.map(|user| user.email.as_str()))),
        ]
        .into_iter()
        .find(|(_, addresses)| !addresses.is_empty())
    });
    owners.map_or_else(
        || operators(true),
        |(step, addresses)| Recipients { addresses, step, unreachable: false },
    )
}

fn is_admin(user: &User, project: Uuid) -> bool {
    user.projects.get(&project).is_some_and(|roles| roles.contains("project_admin"))
}

fn distinct<'a>(addresses: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for address in addresses.filter(|address| is_address(address)) {
        if !distinct.iter().any(|known| known.eq_ignore_ascii_case(address)) {
            distinct.push(address.to_owned());
        }
    }
    distinct
}
