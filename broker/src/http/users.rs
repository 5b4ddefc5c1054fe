//! Users and members (`ams-contract.md` 5.2, 6.2, 6.3), as far as they can be made here.

use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, List, Object, Text, Writer, object, text};
use super::reply::Reply;
use crate::domain::{ProjectName, SubscriptionName, TopicName, UserName};
use crate::service::{Caller, MembershipView, NewUser, UserView};

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
    let UserBody(new) = read(call).await?;
    Ok(reply(&call.broker.create_user(caller, name, new).await?))
}

/// `POST /v1/projects/{project}/members/{user}`. Of the body only the address and the roles in
/// this project count.
pub(super) async fn create_member(
    call: &Call<'_>,
    caller: &Caller,
    project: &ProjectName,
    name: &UserName,
) -> Result<Reply, Refusal> {
    let UserBody(new) = read(call).await?;
    let mut roles = Vec::new();
    for (name, given) in new.projects {
        if name == project.as_str() {
            roles = given;
        }
    }
    Ok(reply(&call.broker.create_member(caller, name, new.email, roles).await?))
}

/// `POST /v1/projects/{project}/members/{user}:add`
pub(super) async fn add(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &UserName,
) -> Result<Reply, Refusal> {
    call.broker.find_user(caller, name)?;
    let body = call.body.read().await?;
    let membership: Membership = object(&body).map_err(|_| Refusal::UnreadableBody)?;
    Ok(reply(&call.broker.add_member(caller, name, membership.roles).await?))
}

async fn read(call: &Call<'_>) -> Result<UserBody, Refusal> {
    let body = call.body.read().await?;
    object(&body).map_err(|_| Refusal::Argument(argument::USER))
}

#[derive(Default)]
struct UserBody(NewUser);

impl<'de> Fields<'de> for UserBody {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        let Self(user) = self;
        match key {
            "email" => user.email = text(map)?,
            "first_name" => user.first_name = text(map)?,
            "last_name" => user.last_name = text(map)?,
            "organization" => user.organization = text(map)?,
            "description" => user.description = text(map)?,
            "service_roles" => {
                user.service_roles = map.next_value::<List<Text<'de>>>()?.into_texts();
            }
            "projects" => {
                let List(projects) = map.next_value::<List<Object<Membership>>>()?;
                let projects = projects.into_iter().flatten();
                user.projects = projects.map(|Object(one)| (one.project, one.roles)).collect();
            }
            // Not for the client to say, but of the right type.
            "uuid" | "name" | "token" | "created_on" | "modified_on" | "created_by" => {
                text(map)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[derive(Default)]
struct Membership {
    project: String,
    roles: Vec<String>,
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

fn reply(user: &UserView) -> Reply {
    let mut json = Writer::indented();
    write(&mut json, user);
    Reply::ok(json.finish())
}

fn write(json: &mut Writer, user: &UserView) {
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
