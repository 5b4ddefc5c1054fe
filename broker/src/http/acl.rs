//! The access lists of topics and subscriptions.

use serde::de::MapAccess;

use super::call::Call;
use super::error::Refusal;
use super::json::{Fields, List, Text, Writer, object};
use super::reply::Reply;
use crate::domain::UserName;

/// The answer of `:acl`.
pub(super) fn show(users: &[UserName]) -> Reply {
    let mut json = Writer::indented();
    json.object(|json| {
        json.key("authorized_users").texts(users.iter().map(UserName::as_str));
    });
    Reply::ok(json.finish())
}

/// The names in a body of `:modifyAcl`; `invalid` when it has none, not even an empty list.
pub(super) async fn replacement(
    call: &Call<'_>,
    invalid: &'static str,
) -> Result<Vec<String>, Refusal> {
    #[derive(Default)]
    struct AclBody(Option<Vec<String>>);

    impl<'de> Fields<'de> for AclBody {
        fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
            match key {
                "authorized_users" => {
                    let users: List<Text<'de>> = map.next_value()?;
                    self.0 = users.0.is_some().then(|| users.into_texts());
                }
                _ => return Ok(false),
            }
            Ok(true)
        }
    }

    let body = call.body.read().await?;
    let users = object::<AclBody>(&body).ok().and_then(|body| body.0);
    users.ok_or(Refusal::Argument(invalid))
}
