//! Members of a project (`ams-contract.md` 6.3).

use super::call::Call;
use super::error::Refusal;
use super::json::object;
use super::paging;
use super::reply::Reply;
use super::users::{self, Membership, UserBody};
use crate::domain::{ProjectName, UserName};
use crate::service::Caller;

/// `GET /v1/projects/{project}/members`
pub(super) async fn list(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    let page = paging::wanted(call.query)?;
    let page = call.broker.project_users(caller, page, users::wants_details(call.query))?;
    Ok(paging::reply("users", &page, users::write))
}

/// `GET /v1/projects/{project}/members/{user}`
pub(super) async fn show(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &UserName,
) -> Result<Reply, Refusal> {
    Ok(users::reply(&call.broker.member(caller, name)?))
}

/// `POST /v1/projects/{project}/members/{user}`. Of the body only the address and the roles in
/// this project count.
pub(super) async fn create(
    call: &Call<'_>,
    caller: &Caller,
    project: &ProjectName,
    name: &UserName,
) -> Result<Reply, Refusal> {
    let body = users::read(call).await?;
    let roles = roles_in(project, &body).unwrap_or_default();
    Ok(users::reply(&call.broker.create_member(caller, name, body.email, roles).await?))
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
    Ok(users::reply(&call.broker.add_member(caller, name, membership.roles).await?))
}

/// `PUT /v1/projects/{project}/members/{user}`. Of the body only the roles in this project count.
pub(super) async fn update(
    call: &Call<'_>,
    caller: &Caller,
    project: &ProjectName,
    name: &UserName,
) -> Result<Reply, Refusal> {
    let roles = roles_in(project, &users::read(call).await?);
    Ok(users::reply(&call.broker.update_member(caller, name, roles).await?))
}

/// `POST /v1/projects/{project}/members/{user}:remove`
pub(super) async fn remove(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &UserName,
) -> Result<Reply, Refusal> {
    call.broker.remove_member(caller, name).await?;
    Ok(Reply::ok(String::from("{}")))
}

/// The roles that the body's entry for this project gives; of several the last.
fn roles_in(project: &ProjectName, body: &UserBody) -> Option<Vec<String>> {
    let entries = body.projects.iter().flatten().rev();
    let mut named = entries.filter(|(name, _)| name == project.as_str());
    named.next().map(|(_, roles)| roles.clone())
}
