//! Registrations (`ams-contract.md` 5.3, 6.4).

use serde::de::MapAccess;

use super::call::Call;
use super::error::{Refusal, argument};
use super::json::{Fields, Text, Writer, first_object, object, text};
use super::reply::Reply;
use super::users;
use crate::domain::UserName;
use crate::service::{Caller, NewRegistration, RegistrationFilter, RegistrationView};

/// `POST /v1/registrations`. The name must be one (O48, improved): else the user that is made of it
/// could not be addressed.
pub(super) async fn create(call: &Call<'_>, caller: &Caller) -> Result<Reply, Refusal> {
    let body = call.body.read().await?;
    let body: Body = object(&body).map_err(|_| Refusal::Argument(argument::USER))?;
    let wish = NewRegistration {
        name: body.name.parse()?,
        first_name: body.first_name,
        last_name: body.last_name,
        organization: body.organization,
        description: body.description,
        email: body.email,
    };
    Ok(reply(&call.broker.register(caller, wish).await?))
}

#[derive(Default)]
struct Body {
    name: String,
    first_name: String,
    last_name: String,
    organization: String,
    description: String,
    email: String,
}

impl<'de> Fields<'de> for Body {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "name" => self.name = text(map)?,
            "first_name" => self.first_name = text(map)?,
            "last_name" => self.last_name = text(map)?,
            "organization" => self.organization = text(map)?,
            "description" => self.description = text(map)?,
            "email" => self.email = text(map)?,
            // Not for the client to say, but of the right type.
            "uuid" | "status" | "decline_comment" | "activation_token" | "registered_at"
            | "modified_by" | "modified_at" => {
                text(map)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// `GET /v1/registrations`
pub(super) async fn list(call: &Call<'_>, caller: &Caller) -> Result<Reply, Refusal> {
    let filter = RegistrationFilter {
        status: call.query.get("status"),
        name: call.query.get("name"),
        email: call.query.get("email"),
        organization: call.query.get("organization"),
        activation_token: call.query.get("activation_token"),
    };
    let found = call.broker.registrations(caller, &filter)?;
    let mut json = Writer::indented();
    json.object(|json| {
        json.key("user_registrations").list(|json| {
            for registration in &found {
                write(json, registration);
            }
        });
    });
    Ok(Reply::ok(json.finish()))
}

/// `GET /v1/registrations/{uuid}`
pub(super) async fn show(call: &Call<'_>, caller: &Caller, uuid: &str) -> Result<Reply, Refusal> {
    Ok(reply(&call.broker.registration(caller, uuid)?))
}

/// `POST /v1/registrations/{uuid}:accept`
pub(super) async fn accept(call: &Call<'_>, caller: &Caller, uuid: &str) -> Result<Reply, Refusal> {
    Ok(users::reply(&call.broker.accept_registration(caller, uuid).await?))
}

/// `POST /v1/registrations/{uuid}:decline`. The body is an object of texts; what follows it is not
/// read (`ams-contract.md` 1.5).
pub(super) async fn decline(
    call: &Call<'_>,
    caller: &Caller,
    uuid: &str,
) -> Result<Reply, Refusal> {
    #[derive(Default)]
    struct Comment(String);

    impl<'de> Fields<'de> for Comment {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "comment" => self.0 = text(map)?,
                _ => drop(map.next_value::<Text<'de>>()?),
            }
            Ok(true)
        }
    }

    let id = call.broker.find_pending(caller, uuid)?;
    let body = call.body.read().await?;
    let Comment(comment) = first_object(&body).map_err(|_| Refusal::UnreadableBody)?;
    call.broker.decline_registration(caller, id, comment).await?;
    Ok(Reply::ok(String::from("{}")))
}

/// `DELETE /v1/registrations/{uuid}`
pub(super) async fn delete(call: &Call<'_>, caller: &Caller, uuid: &str) -> Result<Reply, Refusal> {
    call.broker.delete_registration(caller, uuid).await?;
    Ok(Reply::empty())
}

fn reply(registration: &RegistrationView) -> Reply {
    let mut json = Writer::indented();
    write(&mut json, registration);
    Reply::ok(json.finish())
}

fn write(json: &mut Writer, registration: &RegistrationView) {
    let wish = &registration.wish;
    let modified = registration.modified.map(|at| at.to_seconds_text()).unwrap_or_default();
    let modified_by = registration.modified_by.as_ref().map_or("", UserName::as_str);
    json.object(|json| {
        json.key("uuid").text(&registration.id.to_string());
        json.key("name").text(wish.name.as_str());
        json.key("first_name").text(&wish.first_name);
        json.key("last_name").text(&wish.last_name);
        json.key("organization").text(&wish.organization);
        json.key("description").text(&wish.description);
        json.key("email").text(&wish.email);
        json.key("status").text(registration.status.as_str());
        json.optional("decline_comment", &registration.decline_comment);
        let token = registration.activation_token.as_deref();
        json.optional("activation_token", token.unwrap_or_default());
        json.key("registered_at").text(&registration.registered.to_seconds_text());
        json.optional("modified_by", modified_by);
        json.optional("modified_at", &modified);
    });
}
