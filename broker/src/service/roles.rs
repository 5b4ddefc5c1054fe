//! The role table: which roles there are, of which kind, and which routes each may call. The
//! default is that of AMS (`routes.rs`); an operator may declare more roles and replace rows.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Error, Route};
use crate::domain::roles::{ProjectRole, ServiceRole};

/// `[broker.roles]`: what differs from the default table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleSettings {
    /// More roles that somebody may have in a project.
    pub project: Vec<String>,
    /// More roles that somebody may have in the service.
    pub service: Vec<String>,
    /// Who may call a route, by its AMS name (`topics:publish`), in place of the default.
    pub routes: BTreeMap<String, Vec<String>>,
}

/// The table in force.
#[derive(Debug, Clone)]
pub struct Roles {
    project: Vec<ProjectRole>,
    service: Vec<ServiceRole>,
    /// Rows that differ from the default.
    rows: HashMap<Route, Row>,
}

#[derive(Debug, Clone, Default)]
struct Row {
    project: Vec<ProjectRole>,
    service: Vec<ServiceRole>,
}

impl Default for Roles {
    fn default() -> Self {
        Self {
            project: ProjectRole::KNOWN.to_vec(),
            service: ServiceRole::KNOWN.to_vec(),
            rows: HashMap::new(),
        }
    }
}

impl Roles {
    /// The default with what `settings` say.
    ///
    /// # Errors
    /// Key and reason: a name that is none or is declared twice, a route that does not exist or asks
    /// nobody, a role that is not declared, a row that would lock the service admin out.
    pub fn new(settings: &RoleSettings) -> Result<Self, String> {
        let mut roles = Self::default();
        for name in &settings.project {
            roles.check_new("project", name)?;
            roles.project.push(ProjectRole::from(name.as_str()));
        }
        for name in &settings.service {
            roles.check_new("service", name)?;
            roles.service.push(ServiceRole::from(name.as_str()));
        }
        for (name, allowed) in &settings.routes {
            let route = Route::ALL.iter().find(|route| route.as_str() == name);
            let route =
                *route.ok_or_else(|| format!("roles.routes: there is no route `{name}`"))?;
            let row = roles.row(name, allowed)?;
            roles.rows.insert(route, row);
        }
        Ok(roles)
    }

    fn check_new(&self, kind: &str, name: &str) -> Result<(), String> {
        let is_lawful = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if name.is_empty() || !name.bytes().all(is_lawful) {
            return Err(format!("roles.{kind}: `{name}` is not one or more of a-z A-Z 0-9 _ -"));
        }
        if self.project_role(name).is_ok() || self.service_role(name).is_ok() {
            return Err(format!("roles.{kind}: there is a role `{name}` already"));
        }
        Ok(())
    }

    fn row(&self, route: &str, allowed: &[String]) -> Result<Row, String> {
        let mut row = Row::default();
        for name in allowed {
            match (self.project_role(name), self.service_role(name)) {
                (Ok(role), _) => row.project.push(role),
                (_, Ok(role)) => row.service.push(role),
                _ => return Err(format!("roles.routes: {route}: there is no role `{name}`")),
            }
        }
        if row.service.contains(&ServiceRole::ServiceAdmin) {
            return Ok(row);
        }
        Err(format!("roles.routes: {route}: service_admin must be among them"))
    }

    /// The role of a project that a text names.
    ///
    /// # Errors
    /// It names none, or one of the service: [`Error::InvalidRole`].
    pub(super) fn project_role(&self, text: &str) -> Result<ProjectRole, Error> {
        let role = self.project.iter().find(|role| role.as_str() == text);
        role.cloned().ok_or_else(|| Error::InvalidRole(text.to_owned()))
    }

    /// The role of the service that a text names.
    ///
    /// # Errors
    /// It names none, or one of projects: [`Error::InvalidRole`].
    pub(super) fn service_role(&self, text: &str) -> Result<ServiceRole, Error> {
        let role = self.service.iter().find(|role| role.as_str() == text);
        role.cloned().ok_or_else(|| Error::InvalidRole(text.to_owned()))
    }

    /// The roles that may call `route`: those in a project, those in the service.
    pub(super) fn of(&self, route: Route) -> (&[ProjectRole], &[ServiceRole]) {
        match self.rows.get(&route) {
            Some(row) => (&row.project, &row.service),
            None => (route.project_roles(), route.service_roles()),
        }
    }

    /// Whether who holds these roles may call `route`.
    pub(super) fn allow(
        &self,
        route: Route,
        project: &[ProjectRole],
        service: &[ServiceRole],
    ) -> bool {
        let (by_project, by_service) = self.of(route);
        project.iter().any(|role| by_project.contains(role))
            || service.iter().any(|role| by_service.contains(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(project: &[&str], service: &[&str], rows: &[(&str, &[&str])]) -> RoleSettings {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        RoleSettings {
            project: texts(project),
            service: texts(service),
            routes: rows.iter().map(|(name, row)| ((*name).to_owned(), texts(row))).collect(),
        }
    }

    #[test]
    fn a_declared_role_is_of_its_kind_and_may_what_its_rows_say() {
        let row: &[&str] = &["service_admin", "writer", "robot"];
        let roles = settings(&["writer"], &["robot"], &[("topics:publish", row)]);
        let roles = Roles::new(&roles).unwrap();
        let (writer, robot) =
            (roles.project_role("writer").unwrap(), roles.service_role("robot").unwrap());
        assert!(
            matches!(roles.service_role("writer"), Err(Error::InvalidRole(name)) if name == "writer")
        );
        assert!(roles.project_role("robot").is_err());
        assert!(roles.allow(Route::TopicsPublish, std::slice::from_ref(&writer), &[]));
        assert!(roles.allow(Route::TopicsPublish, &[], &[robot]));
        assert!(!roles.allow(Route::TopicsShow, &[writer], &[]));
        assert!(!roles.allow(Route::TopicsPublish, &[ProjectRole::Publisher], &[]), "replaced");
        assert!(roles.allow(Route::TopicsShow, &[ProjectRole::Publisher], &[]), "as it was");
        // A name alone is nothing: it must be of the kind that was declared.
        let stored = ProjectRole::from("robot");
        assert!(!roles.allow(Route::TopicsPublish, &[stored], &[]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        let all: &[&str] = &["service_admin"];
        for (settings, why) in [
            (settings(&["a b"], &[], &[]), "roles.project: `a b` is not one or more of"),
            (settings(&[""], &[], &[]), "roles.project: `` is not one or more of"),
            (
                settings(&["consumer"], &[], &[]),
                "roles.project: there is a role `consumer` already",
            ),
            (settings(&["push_worker"], &[], &[]), "roles.project: there is a role `push_worker`"),
            (settings(&["x"], &["x"], &[]), "roles.service: there is a role `x` already"),
            (settings(&[], &[], &[("topics:make", all)]), "roles.routes: there is no route"),
            (settings(&[], &[], &[("users:profile", all)]), "roles.routes: there is no route"),
            (
                settings(&[], &[], &[("topics:list", &["service_admin", "y"])]),
                "roles.routes: topics:list: there is no role `y`",
            ),
            (
                settings(&[], &[], &[("topics:list", &["consumer"])]),
                "roles.routes: topics:list: service_admin must be among them",
            ),
        ] {
            let error = Roles::new(&settings).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
