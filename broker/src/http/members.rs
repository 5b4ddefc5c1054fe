//! Members of a project (`ams-contract.md` 6.3).

use super::call::Call;
use super::error::Refusal;
use super::json::object;
use super::reply::Reply;
use super::users::{self, Membership, UserBody};
use crate::domain::{ProjectName, UserName};
use crate::service::Caller;

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

/// The roles that the body's entry for this project gives; of several the last.
fn roles_in(project: &ProjectName, body: &UserBody) -> Option<Vec<String>> {
    let entries = body.projects.iter().flatten().rev();
    let mut named = entries.filter(|(name, _)| name == project.as_str());
    named.next().map(|(_, roles)| roles.clone())
}
