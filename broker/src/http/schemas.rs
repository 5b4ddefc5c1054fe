//! Schemas (`ams-contract.md` 5.6, 8).

use serde::de::MapAccess;
use serde_json::Value;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, Text, Writer, first_object, object, text};
use super::reply::Reply;
use crate::domain::{ProjectName, SchemaName};
use crate::service::{Caller, Error, Kind, SchemaEdit, SchemaView};

/// A schema's name in answers; no slash before it (O17).
pub(super) fn full_name(project: &ProjectName, name: &SchemaName) -> String {
    format!("projects/{project}/schemas/{name}")
}

/// The last part of `projects/<anything>/schemas/<name>`; `None` for an empty text.
fn short_name(full: &str) -> Result<Option<&str>, Refusal> {
    if full.is_empty() {
        return Ok(None);
    }
    let segments: Vec<_> = full.split('/').collect();
    match segments.as_slice() {
        ["projects", _, "schemas", name] => Ok(Some(*name)),
        _ => Err(Refusal::Argument(argument::SCHEMA_REF)),
    }
}

/// The schema that a topic is to have; what is no name is the name of none.
pub(super) fn reference(full: &str) -> Result<Option<SchemaName>, Refusal> {
    let name = short_name(full)?.map(str::parse).transpose();
    name.map_err(|_| Error::SchemaNotFound.into())
}

#[derive(Default)]
struct SchemaBody {
    name: String,
    language: String,
    /// An object; `None` when absent or `null`.
    definition: Option<Value>,
}

impl<'de> Fields<'de> for SchemaBody {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "name" => self.name = text(map)?,
            "type" => self.language = text(map)?,
            "schema" => {
                let object: Option<serde_json::Map<String, Value>> = map.next_value()?;
                self.definition = object.map(Value::Object);
            }
            // Not for the client to say, but of the right type.
            "uuid" => drop(text(map)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

async fn read(call: &Call<'_>) -> Result<SchemaBody, Refusal> {
    let body = call.body.read().await?;
    first_object(&body).map_err(|_| Refusal::Argument(argument::SCHEMA))
}

/// `GET /v1/projects/{project}/schemas`
pub(super) async fn list(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
) -> Result<Reply, Refusal> {
    let mut json = Writer::narrow();
    let schemas = call.broker.schemas(caller)?;
    json.object(|json| {
        json.key("schemas").list(|json| schemas.iter().for_each(|schema| write(json, schema)));
    });
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/projects/{project}/schemas/{schema}`
pub(super) async fn show(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SchemaName,
) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.schema(caller, name)?))
}

/// `POST /v1/projects/{project}/schemas/{schema}`
pub(super) async fn create(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SchemaName,
) -> Result<Reply, Refusal> {
    let new = read(call).await?;
    let definition = new.definition.map(|definition| definition.to_string());
    let made = call.broker.create_schema(caller, name, &new.language, definition).await?;
    Ok(reply(&made))
}

/// `PUT /v1/projects/{project}/schemas/{schema}`
pub(super) async fn update(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SchemaName,
) -> Result<Reply, Refusal> {
    call.broker.schema(caller, name)?;
    let new = read(call).await?;
    let given = |definition: &Value| definition.as_object().is_some_and(|map| !map.is_empty());
    let edit = SchemaEdit {
        name: short_name(&new.name)?.map(str::parse).transpose()?,
        language: Some(new.language).filter(|language| !language.is_empty()),
        definition: new.definition.filter(given).map(|definition| definition.to_string()),
    };
    Ok(reply(&call.broker.update_schema(caller, name, edit).await?))
}

/// `DELETE /v1/projects/{project}/schemas/{schema}`
pub(super) async fn delete(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SchemaName,
) -> Result<Reply, Refusal> {
    call.broker.delete_schema(caller, name).await?;
    Ok(Reply::empty())
}

/// `POST /v1/projects/{project}/schemas/{schema}:validate`. For JSON the body is the payload.
pub(super) async fn validate(
    call: &Call<'_>,
    caller: &Caller,
    _: &ProjectName,
    name: &SchemaName,
) -> Result<Reply, Refusal> {
    /// An object of texts.
    #[derive(Default)]
    struct Payload(Option<String>);

    impl<'de> Fields<'de> for Payload {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            let Text(given) = map.next_value()?;
            if key == "data" {
                self.0 = Some(given.into_owned());
            }
            Ok(true)
        }
    }

    let kind = call.broker.schema_kind(caller, name)?;
    let body = call.body.read().await?;
    match kind {
        Kind::Json => call.broker.validate_payload(caller, name, &body)?,
        Kind::Avro => {
            let Payload(data) = object(&body).map_err(|_| Refusal::UnreadableBody)?;
            let data = data.ok_or(Refusal::Argument(argument::SCHEMA_PAYLOAD))?;
            call.broker.validate_base64(caller, name, &data)?;
        }
    }
    let mut json = Writer::narrow();
    json.object(|json| json.key("message").text("Message validated successfully"));
    Ok(Reply::ok(json.finish()))
}

fn reply(schema: &SchemaView) -> Reply {
    let mut json = Writer::narrow();
    write(&mut json, schema);
    Reply::ok(json.finish())
}

fn write(json: &mut Writer, schema: &SchemaView) {
    json.object(|json| {
        json.key("uuid").text(&schema.id.to_string());
        json.key("name").text(&full_name(&schema.project, &schema.name));
        json.key("type").text(&schema.language);
        json.key("schema").value(&serde_json::from_str(&schema.definition).unwrap_or_default());
    });
}
