//! The routes, in one table: the first row that fits wins, so `:verb` rows stand before bare ones.
//! Order and numbers are those of `ams-contract.md` 4.

use std::future::Future;
use std::pin::Pin;

use super::call::Call;
use super::error::Refusal;
use super::reply::Reply;
use super::{
    audit, members, metrics, openapi, projects, publish, pull, push, read, registrations, schemas,
    seek, service_info, snapshots, subscriptions, topics, usage_report, users,
};
use crate::domain::{ProjectName, SchemaName, SnapshotName, SubscriptionName, TopicName, UserName};
use crate::service::{Caller, Route};

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + 'a>>;

/// What a row does, by what its path names. All but open ones pass the gate.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// Nobody is asked who they are.
    Open(for<'a> fn(&'a Call<'_>) -> Answer<'a>),
    /// The service.
    Service(Route, for<'a> fn(&'a Call<'_>, &'a Caller) -> Answer<'a>),
    /// A user of the service.
    User(Route, for<'a> fn(&'a Call<'_>, &'a Caller, &'a UserName) -> Answer<'a>),
    /// A user of the service, by a token.
    Token(Route, for<'a> fn(&'a Call<'_>, &'a Caller, &'a str) -> Answer<'a>),
    /// Something of the service, by its id as text.
    Uuid(Route, for<'a> fn(&'a Call<'_>, &'a Caller, &'a str) -> Answer<'a>),
    /// A project.
    Project(Route, for<'a> fn(&'a Call<'_>, &'a Caller, &'a ProjectName) -> Answer<'a>),
    /// A user of a project.
    Member(
        Route,
        for<'a> fn(&'a Call<'_>, &'a Caller, &'a ProjectName, &'a UserName) -> Answer<'a>,
    ),
    /// A topic.
    Topic(
        Route,
        for<'a> fn(&'a Call<'_>, &'a Caller, &'a ProjectName, &'a TopicName) -> Answer<'a>,
    ),
    /// A snapshot.
    Snapshot(
        Route,
        for<'a> fn(&'a Call<'_>, &'a Caller, &'a ProjectName, &'a SnapshotName) -> Answer<'a>,
    ),
    /// A schema.
    Schema(
        Route,
        for<'a> fn(&'a Call<'_>, &'a Caller, &'a ProjectName, &'a SchemaName) -> Answer<'a>,
    ),
    /// A subscription.
    Subscription(
        Route,
        for<'a> fn(&'a Call<'_>, &'a Caller, &'a ProjectName, &'a SubscriptionName) -> Answer<'a>,
    ),
}

/// One route.
pub(super) struct Row {
    pub(super) method: &'static str,
    /// Segments are literals, `{variable}` or `{variable}:verb`.
    pub(super) pattern: &'static str,
    /// What a path that fits ends with: most rows are passed over by that alone.
    ending: &'static str,
    pub(super) action: Action,
}

/// The variables of a path, as written; empty when the path has none of that kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Names<'a> {
    pub(super) project: &'a str,
    pub(super) schema: &'a str,
    pub(super) snapshot: &'a str,
    pub(super) subscription: &'a str,
    pub(super) token: &'a str,
    pub(super) topic: &'a str,
    pub(super) user: &'a str,
    pub(super) uuid: &'a str,
}

impl Row {
    /// What it asks rights for; `None` when it asks nobody.
    pub(super) const fn route(&self) -> Option<Route> {
        match self.action {
            Action::Open(_) => None,
            Action::Service(route, _)
            | Action::User(route, _)
            | Action::Token(route, _)
            | Action::Uuid(route, _)
            | Action::Project(route, _)
            | Action::Member(route, _)
            | Action::Topic(route, _)
            | Action::Snapshot(route, _)
            | Action::Schema(route, _)
            | Action::Subscription(route, _) => Some(route),
        }
    }
}

const fn row(method: &'static str, pattern: &'static str, action: Action) -> Row {
    Row { method, pattern, ending: ending(pattern), action }
}

/// What stands behind the last variable, or the last literal.
const fn ending(pattern: &'static str) -> &'static str {
    let mut head = pattern.as_bytes();
    while let [before @ .., last] = head {
        if matches!(last, b'}' | b'/') {
            break;
        }
        head = before;
    }
    match pattern.split_at_checked(head.len()) {
        Some((_, ending)) => ending,
        None => pattern,
    }
}

macro_rules! table {
    ($($method:literal $pattern:literal $kind:ident[$($route:ident)?] $room:ident::$handler:ident($($arg:ident),*);)+) => {
        &[$(row(
            $method,
            $pattern,
            Action::$kind($(Route::$route,)? |call $(, $arg)*| Box::pin($room::$handler(call $(, $arg)*))),
        )),+]
    };
}

#[rustfmt::skip]
static TABLE: &[Row] = table! {
    /*ours*/ "GET" "/v1/audit" Service[AuditList] audit::list(caller);
    /*  1 */ "GET" "/v1/metrics" Service[AmsMetrics] metrics::nodes(caller);
    /*  2 */ "GET" "/v1/status" Open[] service_info::status();
    /*  3 */ "GET" "/v1/metrics/va_metrics" Service[AmsVaMetrics] usage_report::va_metrics(caller);
    /*  4 */ "GET" "/v1/users:byToken/{token}" Token[UsersByToken] users::by_token(caller, token);
    /*  5 */ "GET" "/v1/users:byUUID/{uuid}" Uuid[UsersByUuid] users::by_uuid(caller, uuid);
    /*  6 */ "GET" "/v1/users" Service[UsersList] users::list(caller);
    /*  7 */ "GET" "/v1/users/profile" Open[] users::profile();
    /*  8 */ "GET" "/v1/users/usageReport" Open[] usage_report::usage_report();
    /*  9 */ "GET" "/v1/users/{user}" User[UsersShow] users::show(caller, user);
    /* 10 */ "POST" "/v1/users/{user}:refreshToken" User[UsersRefreshToken] users::refresh_token(caller, user);
    /* 11 */ "POST" "/v1/users/{user}" User[UsersCreate] users::create(caller, user);
    /* 12 */ "PUT" "/v1/users/{user}" User[UsersUpdate] users::update(caller, user);
    /* 13 */ "DELETE" "/v1/users/{user}" User[UsersDelete] users::delete(caller, user);
    /* 14 */ "POST" "/v1/registrations" Service[RegistrationsNewUser] registrations::create(caller);
    /* 15 */ "POST" "/v1/registrations/{uuid}:accept" Uuid[RegistrationsAcceptNewUser] registrations::accept(caller, uuid);
    /* 16 */ "POST" "/v1/registrations/{uuid}:decline" Uuid[RegistrationsDeclineNewUser] registrations::decline(caller, uuid);
    /* 17 */ "DELETE" "/v1/registrations/{uuid}" Uuid[RegistrationsDelete] registrations::delete(caller, uuid);
    /* 18 */ "GET" "/v1/registrations/{uuid}" Uuid[RegistrationsShow] registrations::show(caller, uuid);
    /* 19 */ "GET" "/v1/registrations" Service[RegistrationsList] registrations::list(caller);
    /* 20 */ "GET" "/v1/projects" Service[ProjectsList] projects::list(caller);
    /* 21 */ "GET" "/v1/projects/{project}:metrics" Project[ProjectsMetrics] metrics::project(caller, project);
    /* 22 */ "POST" "/v1/projects/{project}/members/{user}:add" Member[ProjectsAddUser] members::add(caller, project, user);
    /* 23 */ "POST" "/v1/projects/{project}/members/{user}:remove" Member[ProjectsRemoveUser] members::remove(caller, project, user);
    /* 24 */ "GET" "/v1/projects/{project}/members/{user}" Member[ProjectsShowUser] members::show(caller, project, user);
    /* 25 */ "POST" "/v1/projects/{project}/members/{user}" Member[ProjectsCreateUser] members::create(caller, project, user);
    /* 26 */ "PUT" "/v1/projects/{project}/members/{user}" Member[ProjectsUpdateUser] members::update(caller, project, user);
    /* 27 */ "GET" "/v1/projects/{project}/members" Project[ProjectsListUsers] members::list(caller, project);
    /*ours*/ "GET" "/v1/projects/{project}/audit" Project[ProjectsAudit] audit::of_project(caller, project);
    /* 28 */ "GET" "/v1/projects/{project}" Project[ProjectsShow] projects::show(caller, project);
    /*ours*/ "POST" "/v1/projects/{project}:modifyAlert" Project[ProjectsModifyAlert] projects::modify_alert(caller, project);
    /* 29 */ "POST" "/v1/projects/{project}" Project[ProjectsCreate] projects::create(caller, project);
    /* 30 */ "PUT" "/v1/projects/{project}" Project[ProjectsUpdate] projects::update(caller, project);
    /* 31 */ "DELETE" "/v1/projects/{project}" Project[ProjectsDelete] projects::delete(caller, project);
    /* 32 */ "GET" "/v1/projects/{project}/subscriptions" Project[SubscriptionsList] subscriptions::list(caller, project);
    /* 33 */ "GET" "/v1/projects/{project}/topics/{topic}/subscriptions" Topic[SubscriptionsListByTopic] subscriptions::list_by_topic(caller, project, topic);
    /* 34 */ "GET" "/v1/projects/{project}/subscriptions/{subscription}:offsets" Subscription[SubscriptionsOffsets] subscriptions::offsets(caller, project, name);
    /* 35 */ "GET" "/v1/projects/{project}/subscriptions/{subscription}:timeToOffset" Subscription[SubscriptionsTimeToOffset] subscriptions::time_to_offset(caller, project, name);
    /* 36 */ "GET" "/v1/projects/{project}/subscriptions/{subscription}:acl" Subscription[SubscriptionsAcl] subscriptions::acl(caller, project, name);
    /* 37 */ "GET" "/v1/projects/{project}/subscriptions/{subscription}:metrics" Subscription[SubscriptionsMetrics] metrics::subscription(caller, project, name);
    /* 38 */ "GET" "/v1/projects/{project}/subscriptions/{subscription}" Subscription[SubscriptionsShow] subscriptions::show(caller, project, name);
    /* 39 */ "PUT" "/v1/projects/{project}/subscriptions/{subscription}" Subscription[SubscriptionsCreate] subscriptions::create(caller, project, name);
    /* 40 */ "DELETE" "/v1/projects/{project}/subscriptions/{subscription}" Subscription[SubscriptionsDelete] subscriptions::delete(caller, project, name);
    /* 41 */ "POST" "/v1/projects/{project}/subscriptions/{subscription}:pull" Subscription[SubscriptionsPull] pull::pull(caller, project, name);
    /* 42 */ "POST" "/v1/projects/{project}/subscriptions/{subscription}:acknowledge" Subscription[SubscriptionsAcknowledge] pull::acknowledge(caller, project, name);
    /* 43 */ "POST" "/v1/projects/{project}/subscriptions/{subscription}:verifyPushEndpoint" Subscription[SubscriptionsVerifyPushEndpoint] push::verify(caller, project, name);
    /* 44 */ "POST" "/v1/projects/{project}/subscriptions/{subscription}:modifyAckDeadline" Subscription[SubscriptionsModifyAckDeadline] subscriptions::modify_ack_deadline(caller, project, name);
    /* 45 */ "POST" "/v1/projects/{project}/subscriptions/{subscription}:modifyPushConfig" Subscription[SubscriptionsModifyPushConfig] push::modify(caller, project, name);
    /* 46 */ "POST" "/v1/projects/{project}/subscriptions/{subscription}:modifyOffset" Subscription[SubscriptionsModifyOffset] subscriptions::modify_offset(caller, project, name);
    /*ours*/ "POST" "/v1/projects/{project}/subscriptions/{subscription}:seek" Subscription[SubscriptionsSeek] seek::seek(caller, project, name);
    /* 47 */ "POST" "/v1/projects/{project}/subscriptions/{subscription}:modifyAcl" Subscription[SubscriptionsModifyAcl] subscriptions::modify_acl(caller, project, name);
    /*ours*/ "POST" "/v1/projects/{project}/subscriptions/{subscription}:modifyAlert" Subscription[SubscriptionsModifyAlert] subscriptions::modify_alert(caller, project, name);
    /*ours*/ "GET" "/v1/projects/{project}/snapshots" Project[SnapshotsList] snapshots::list(caller, project);
    /*ours*/ "GET" "/v1/projects/{project}/snapshots/{snapshot}" Snapshot[SnapshotsShow] snapshots::show(caller, project, name);
    /*ours*/ "PUT" "/v1/projects/{project}/snapshots/{snapshot}" Snapshot[SnapshotsCreate] snapshots::create(caller, project, name);
    /*ours*/ "DELETE" "/v1/projects/{project}/snapshots/{snapshot}" Snapshot[SnapshotsDelete] snapshots::delete(caller, project, name);
    /* 48 */ "GET" "/v1/projects/{project}/topics" Project[TopicsList] topics::list(caller, project);
    /* 49 */ "GET" "/v1/projects/{project}/topics/{topic}:acl" Topic[TopicsAcl] topics::acl(caller, project, name);
    /*ours*/ "GET" "/v1/projects/{project}/topics/{topic}:read" Topic[TopicsRead] read::read(caller, project, name);
    /* 50 */ "GET" "/v1/projects/{project}/topics/{topic}:metrics" Topic[TopicsMetrics] metrics::topic(caller, project, name);
    /* 51 */ "GET" "/v1/projects/{project}/topics/{topic}" Topic[TopicsShow] topics::show(caller, project, name);
    /* 52 */ "PUT" "/v1/projects/{project}/topics/{topic}" Topic[TopicsCreate] topics::create(caller, project, name);
    /* 53 */ "DELETE" "/v1/projects/{project}/topics/{topic}" Topic[TopicsDelete] topics::delete(caller, project, name);
    /* 54 */ "POST" "/v1/projects/{project}/topics/{topic}:publish" Topic[TopicsPublish] publish::publish(caller, project, name);
    /* 55 */ "POST" "/v1/projects/{project}/topics/{topic}:modifyAcl" Topic[TopicsModifyAcl] topics::modify_acl(caller, project, name);
    /*ours*/ "POST" "/v1/projects/{project}/topics/{topic}:modifyAlert" Topic[TopicsModifyAlert] topics::modify_alert(caller, project, name);
    /*ours*/ "POST" "/v1/projects/{project}/topics/{topic}:modifyRetention" Topic[TopicsModifyRetention] topics::modify_retention(caller, project, name);
    /* 56 */ "POST" "/v1/projects/{project}/topics/{topic}:attachSchema" Topic[TopicsAttachSchema] topics::attach_schema(caller, project, name);
    /* 57 */ "POST" "/v1/projects/{project}/topics/{topic}:detachSchema" Topic[TopicsDetachSchema] topics::detach_schema(caller, project, name);
    /* 58 */ "POST" "/v1/projects/{project}/schemas/{schema}:validate" Schema[SchemasValidateMessage] schemas::validate(caller, project, name);
    /* 59 */ "POST" "/v1/projects/{project}/schemas/{schema}" Schema[SchemasCreate] schemas::create(caller, project, name);
    /* 60 */ "GET" "/v1/projects/{project}/schemas/{schema}" Schema[SchemasShow] schemas::show(caller, project, name);
    /* 61 */ "GET" "/v1/projects/{project}/schemas" Project[SchemasList] schemas::list(caller, project);
    /* 62 */ "PUT" "/v1/projects/{project}/schemas/{schema}" Schema[SchemasUpdate] schemas::update(caller, project, name);
    /* 63 */ "DELETE" "/v1/projects/{project}/schemas/{schema}" Schema[SchemasDelete] schemas::delete(caller, project, name);
    /* 64 */ "GET" "/v1/version" Open[] service_info::version();
    /*ours*/ "GET" "/openapi.json" Open[] openapi::json();
    /*ours*/ "GET" "/docs" Open[] openapi::html();
};

/// All routes.
pub(super) const fn all() -> &'static [Row] {
    TABLE
}

/// The first row that fits.
///
/// # Errors
/// No row fits. A known path with another method is an unknown path, except `/v1/version` (O27).
pub(super) fn find<'p>(
    method: &str,
    path: &[&'p str],
) -> Result<(&'static Row, Names<'p>), Refusal> {
    let last = path.last().copied().unwrap_or_default();
    // One byte passes over most of them.
    let byte = last.as_bytes().last();
    let may_end = |ending: &str| {
        let wanted = ending.as_bytes().last();
        wanted.is_none() || (wanted == byte && last.ends_with(ending))
    };
    let may_fit = |row: &&Row| may_end(row.ending) && row.method == method;
    let mut rows = TABLE.iter().filter(may_fit);
    rows.find_map(|row| Some((row, names(row.pattern, path)?))).ok_or(match path {
        ["v1", "version"] => Refusal::WrongMethod,
        _ => Refusal::UnknownPath,
    })
}

/// The variables of `path` if `pattern` fits it.
fn names<'p>(pattern: &str, path: &[&'p str]) -> Option<Names<'p>> {
    let mut names = Names::default();
    let mut actual = path.iter().copied();
    for wanted in pattern.split('/').skip(1) {
        let segment = actual.next()?;
        let Some((variable, verb)) =
            wanted.strip_prefix('{').and_then(|wanted| wanted.split_once('}'))
        else {
            if segment != wanted {
                return None;
            }
            continue;
        };
        let name = segment.strip_suffix(verb).filter(|name| !name.is_empty())?;
        match variable {
            "project" => names.project = name,
            "schema" => names.schema = name,
            "snapshot" => names.snapshot = name,
            "subscription" => names.subscription = name,
            "token" => names.token = name,
            "topic" => names.topic = name,
            "uuid" => names.uuid = name,
            _ => names.user = name,
        }
    }
    actual.next().is_none().then_some(names)
}

#[cfg(test)]
mod tests {
    use super::super::path::Path;
    use super::{Names, Refusal, TABLE, find};

    fn found(method: &str, path: &str) -> String {
        let path = Path::new(path);
        match find(method, &path.segments().unwrap()) {
            Ok((row, names)) => {
                let Names { project, schema, snapshot, subscription, token, topic, user, uuid } =
                    names;
                let names = [project, schema, snapshot, subscription, token, topic, user, uuid];
                let names = names.into_iter().filter(|name| !name.is_empty());
                format!("{} {}", row.pattern, names.collect::<Vec<_>>().join(" "))
            }
            Err(Refusal::WrongMethod) => String::from("405"),
            Err(_) => String::from("404"),
        }
    }

    #[test]
    fn verbs_come_before_names_and_unknown_verbs_are_swallowed_into_them() {
        let sub = "/v1/projects/{project}/subscriptions/{subscription}";
        assert_eq!(found("GET", "/v1/projects/P/subscriptions/s:acl"), format!("{sub}:acl P s"));
        assert_eq!(found("GET", "/v1/projects/P/subscriptions/s:pull"), format!("{sub} P s:pull"));
        assert_eq!(found("GET", "/v1/projects/P/subscriptions/:acl"), format!("{sub} P :acl"));
        assert_eq!(found("POST", "/v1/projects/P/subscriptions/s:foo"), "404");
        assert_eq!(found("POST", "/v1/projects/P:foo"), "/v1/projects/{project} P:foo");
        assert_eq!(found("POST", "/v1/projects/P/topics/t:foo"), "404");
        assert_eq!(found("POST", "/v1/users/u:foo"), "/v1/users/{user} u:foo");
        assert_eq!(found("GET", "/v1/users/profile"), "/v1/users/profile ");
        assert_eq!(found("GET", "/v1/users/u"), "/v1/users/{user} u");
        assert_eq!(found("POST", "/v1/users/profile"), "/v1/users/{user} profile");
        assert_eq!(found("GET", "/v1/users:byToken/t"), "/v1/users:byToken/{token} t");
        assert_eq!(found("GET", "/v1/users:byUUID/i"), "/v1/users:byUUID/{uuid} i");
        assert_eq!(found("GET", "/v1/users:foo/t"), "404");
        assert_eq!(found("HEAD", "/v1/status"), "404");
        assert_eq!(found("HEAD", "/v1/version"), "405");
        assert_eq!(found("GET", "/v1/projects/P/topics/t/subscriptions/s"), "404");
    }

    #[test]
    fn no_row_is_hidden_behind_an_earlier_one() {
        for row in TABLE {
            let path = row.pattern.replace(['{', '}'], "");
            assert!(found(row.method, &path).starts_with(&format!("{} ", row.pattern)), "{path}");
        }
    }
}
