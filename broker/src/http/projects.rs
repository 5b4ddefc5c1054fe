//! Projects (`ams-contract.md` 5.1, 6.1).

use serde::de::MapAccess;

use super::alert;
use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Alert, Fields, Writer, object, text};
use super::reply::Reply;
use crate::domain::{ProjectName, UserName};
use crate::service::{Caller, ProjectView};

/// `GET /v1/projects`. Without any project the key is absent.
pub(super) async fn list(call: &Call<'_>, caller: &Caller) -> Result<Reply, Refusal> {
    let projects = call.broker.projects(caller);
    let mut json = Writer::indented();
    json.object(|json| {
        if !projects.is_empty() {
            json.key("projects").list(|json| {
                for project in &projects {
                    write(json, project);
                }
            });
        }
    });
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/projects/{project}`
pub(super) async fn show(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.project(caller)?))
}

/// `POST /v1/projects/{project}`
pub(super) async fn create(
    call: &Call<'_>,
    caller: &Caller,
    name: &ProjectName,
) -> Result<Reply, Refusal> {
    #[derive(Default)]
    struct NewProject {
        description: String,
        alert: Alert,
    }

    impl<'de> Fields<'de> for NewProject {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "description" => self.description = text(map)?,
                "alert" => self.alert = map.next_value()?,
                _ => return Ok(false),
            }
            Ok(true)
        }
    }

    let body = call.body.read().await?;
    let new: NewProject = object(&body).map_err(|_| Refusal::Argument(argument::PROJECT))?;
    let alert = alert::settings(new.alert)?;
    Ok(reply(&call.broker.create_project(caller, name, new.description, alert).await?))
}

/// `PUT /v1/projects/{project}`. Empty texts leave things as they are; a new name must be one
/// (O49, improved).
pub(super) async fn update(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    #[derive(Default)]
    struct Changes {
        name: String,
        description: String,
    }

    impl<'de> Fields<'de> for Changes {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "name" => self.name = text(map)?,
                "description" => self.description = text(map)?,
                _ => return Ok(false),
            }
            Ok(true)
        }
    }

    let body = call.body.read().await?;
    let changes: Changes = object(&body).map_err(|_| Refusal::UnreadableBody)?;
    let name = match changes.name.as_str() {
        "" => None,
        name => Some(name.parse::<ProjectName>()?),
    };
    let description = Some(changes.description).filter(|text| !text.is_empty());
    Ok(reply(&call.broker.update_project(caller, name, description).await?))
}

/// `DELETE /v1/projects/{project}`
pub(super) async fn delete(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    call.broker.delete_project(caller).await?;
    Ok(Reply::empty())
}

/// `POST /v1/projects/{project}:modifyAlert` (ours)
pub(super) async fn modify_alert(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    let alert = alert::replacement(call).await?;
    call.broker.set_project_alert(caller, alert).await?;
    Ok(Reply::empty())
}

fn reply(project: &ProjectView) -> Reply {
    let mut json = Writer::indented();
    write(&mut json, project);
    Reply::ok(json.finish())
}

fn write(json: &mut Writer, project: &ProjectView) {
    json.object(|json| {
        json.key("name").text(project.name.as_str());
        json.key("created_on").text(&project.created.to_seconds_text());
        json.key("modified_on").text(&project.modified.to_seconds_text());
        json.optional("created_by", project.created_by.as_ref().map_or("", UserName::as_str));
        json.optional("description", &project.description);
        alert::write(json, &project.alert);
    });
}
