//! Users (`ams-contract.md` 5.2, 6.2), as bodies of other routes have them too.

use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, List, Object, Text, Writer, object, text};
use super::paging;
use super::path::Query;
use super::reply::Reply;
use crate::domain::{ProjectName, SubscriptionName, TopicName, UserName};
use crate::service::{Caller, MembershipView, NewUser, UserChange, UserView};

/// `GET /v1/users`. An unknown `project` is told before a page that is none.
pub(super) async fn list(call: &Call<'_>, caller: &Caller) -> Result<Reply, Refusal> {
    let of = match call.query.get("project") {
        None => None,
        Some(project) => Some(call.broker.users_filter(caller, &project)?),
    };
    let page = paging::wanted(call.query)?;
    let page = call.broker.users(caller, of, page, wants_details(call.query))?;
    Ok(paging::reply("users", &page, write))
}

/// Whether a list is to show projects. The Python library says `True` where the documents say
/// `true`: both are understood (O47).
pub(super) fn wants_details(query: Query<'_>) -> bool {
    matches!(query.get("details").as_deref(), Some("true" | "True"))
}

/// `GET /v1/users/{user}`
pub(super) async fn show(
    call: &Call<'_>,
    caller: &Caller,
    name: &UserName,
) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.user(caller, name)?))
}

/// `GET /v1/users:byToken/{token}`
pub(super) async fn by_token(
    call: &Call<'_>,
    caller: &Caller,
    token: &str,
) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.user_by_token(caller, token)?))
}

/// `GET /v1/users:byUUID/{uuid}`
pub(super) async fn by_uuid(
    call: &Call<'_>,
    caller: &Caller,
    uuid: &str,
) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.user_by_uuid(caller, uuid)?))
}

/// `GET /v1/users/profile`
pub(super) async fn profile(call: &Call<'_>) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.profile(call.token.as_deref())?))
}

/// `POST /v1/users/{user}`
pub(super) async fn create(
    call: &Call<'_>,
    caller: &Caller,
    name: &UserName,
) -> Result<Reply, Refusal> {
    let body = read(call).await?;
    let new = NewUser {
        email: body.email,
        first_name: body.first_name,
        last_name: body.last_name,
        organization: body.organization,
        description: body.description,
        projects: body.projects.unwrap_or_default(),
        service_roles: body.service_roles.unwrap_or_default(),
    };
    Ok(reply(&call.broker.create_user(caller, name, new).await?))
}

/// `PUT /v1/users/{user}`
pub(super) async fn update(
    call: &Call<'_>,
    caller: &Caller,
    name: &UserName,
) -> Result<Reply, Refusal> {
    let body = read(call).await?;
    let change = UserChange {
        name: body.name,
        email: body.email,
        first_name: body.first_name,
        last_name: body.last_name,
        organization: body.organization,
        description: body.description,
        projects: body.projects,
        service_roles: body.service_roles,
    };
    Ok(reply(&call.broker.update_user(caller, name, change).await?))
}

/// `POST /v1/users/{user}:refreshToken`
pub(super) async fn refresh_token(
    call: &Call<'_>,
    caller: &Caller,
    name: &UserName,
) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.refresh_token(caller, name).await?))
}

/// `DELETE /v1/users/{user}`
pub(super) async fn delete(
    call: &Call<'_>,
    caller: &Caller,
    name: &UserName,
) -> Result<Reply, Refusal> {
    call.broker.delete_user(caller, name).await?;
    Ok(Reply::empty())
}

/// The body as a user.
pub(super) async fn read(call: &Call<'_>) -> Result<UserBody, Refusal> {
    let body = call.body.read().await?;
    object(&body).map_err(|_| Refusal::Argument(argument::USER))
}

/// A user as a client writes one. What is absent is an empty text or `None`.
#[derive(Default)]
pub(super) struct UserBody {
    pub(super) name: String,
    pub(super) email: String,
    pub(super) first_name: String,
    pub(super) last_name: String,
    pub(super) organization: String,
    pub(super) description: String,
    /// Project name and role names.
    pub(super) projects: Option<Vec<(String, Vec<String>)>>,
    pub(super) service_roles: Option<Vec<String>>,
}

impl<'de> Fields<'de> for UserBody {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "name" => self.name = text(map)?,
            "email" => self.email = text(map)?,
            "first_name" => self.first_name = text(map)?,
            "last_name" => self.last_name = text(map)?,
            "organization" => self.organization = text(map)?,
            "description" => self.description = text(map)?,
            "service_roles" => {
                let roles: List<Text<'de>> = map.next_value()?;
                self.service_roles = roles.0.is_some().then(|| roles.into_texts());
            }
            "projects" => {
                let List(projects) = map.next_value::<List<Object<Membership>>>()?;
                let entry = |Object(one): Object<Membership>| (one.project, one.roles);
                self.projects = projects.map(|all| all.into_iter().map(entry).collect());
            }
            // Not for the client to say, but of the right type.
            "uuid" | "token" | "created_on" | "modified_on" | "created_by" => {
                text(map)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// What a client says of a user in one project.
#[derive(Default)]
pub(super) struct Membership {
    pub(super) project: String,
    pub(super) roles: Vec<String>,
}

impl<'de> Fields<'de> for Membership {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "project" => self.project = text(map)?,
            "roles" => self.roles = map.next_value::<List<Text<'de>>>()?.into_texts(),
            // A view: what is given does not matter.
            "topics" | "subscriptions" => drop(map.next_value::<List<Text<'de>>>()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The answer that is one user.
pub(super) fn reply(user: &UserView) -> Reply {
    let mut json = Writer::indented();
    write(&mut json, user);
    Reply::ok(json.finish())
}

/// A user, as far as the caller may see it.
pub(super) fn write(json: &mut Writer, user: &UserView) {
    json.object(|json| {
        json.key("uuid").text(&user.id.to_string());
        if !user.projects.is_empty() {
            json.key("projects").list(|json| {
                for membership in &user.projects {
                    write_membership(json, membership);
                }
            });
        }
        json.key("name").text(user.name.as_str());
        json.optional("first_name", &user.first_name);
        json.optional("last_name", &user.last_name);
        json.optional("organization", &user.organization);
        json.optional("description", &user.description);
        json.optional("token", user.token.as_deref().unwrap_or_default());
        json.key("email").text(&user.email);
        json.key("service_roles").texts(user.service_roles.iter().map(|role| role.as_str()));
        json.key("created_on").text(&user.created.to_seconds_text());
        json.key("modified_on").text(&user.modified.to_seconds_text());
        json.optional("created_by", user.created_by.as_ref().map_or("", UserName::as_str));
    });
}

fn write_membership(json: &mut Writer, membership: &MembershipView) {
    json.object(|json| {
        let project = membership.project.as_ref().map_or("", ProjectName::as_str);
        json.key("project").text(project);
        json.key("roles").texts(membership.roles.iter().map(|role| role.as_str()));
        json.key("topics").texts(membership.topics.iter().map(TopicName::as_str));
        let subscriptions = membership.subscriptions.iter().map(SubscriptionName::as_str);
        json.key("subscriptions").texts(subscriptions);
    });
}
