//! One use of the client: a server, a project, a form of output, and words for what goes wrong.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::metrics::Metrics;
use super::options::Output;
use super::place::Place;
use super::server::{CallError, Server, check_url, is_readable_on_the_way};
use super::table;
use crate::failure::Failure;
use crate::print;

/// Most elements of one page of a list.
const PAGE: &str = "500";

/// What all subcommands are given.
pub(super) struct Session {
    pub(super) server: Server,
    pub(super) output: Output,
    place: Place,
    project: OnceCell<String>,
}

impl Session {
    /// A session with the server at `place`; says on standard error what nobody asked for.
    pub(super) fn open(place: Place, output: Output) -> Result<Self, Failure> {
        let url = check_url(&place.url)?;
        let server = Server::new(&place)?;
        if place.is_guess {
            print::note(&format!("using {} of {}", place.url, place.source));
        }
        if is_readable_on_the_way(&url) {
            print::note(&format!("{url} is not encrypted: the token can be read on the way"));
        }
        Ok(Self { server, output, place, project: OnceCell::new() })
    }

    /// Calls `path` below `/v1/`.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.server.call(method, path, &[], body).await.map_err(|error| self.failure(&error))
    }

    /// `GET`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// Calls `path` below `/v1/` and shows the object that it answers.
    pub(super) async fn show(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(), Failure> {
        table::object(self.output, &self.call(method, path, body).await?)
    }

    /// All elements of the paged list `key` at `path`, the newest first.
    pub(super) async fn all(&self, path: &str, key: &str) -> Result<Vec<Value>, Failure> {
        self.try_all(path, key).await.map_err(|error| self.failure(&error))
    }

    /// The same, with the fact that came in between.
    pub(super) async fn try_all(&self, path: &str, key: &str) -> Result<Vec<Value>, CallError> {
        let mut items = Vec::new();
        let mut token = String::new();
        loop {
            let query = [("pageSize", PAGE), ("pageToken", token.as_str())];
            let mut page = self.server.call(Method::GET, path, &query, None).await?;
            items.append(&mut elements(&mut page, key));
            let next = page.get("nextPageToken").and_then(Value::as_str).unwrap_or_default();
            if next.is_empty() || next == token {
                return Ok(items);
            }
            next.clone_into(&mut token);
        }
    }

    /// The project, if one was said.
    pub(super) fn named_project(&self) -> Option<&str> {
        self.place.project.as_deref()
    }

    /// The project: what was said, or the only one there is.
    pub(super) async fn project(&self) -> Result<&str, Failure> {
        if let Some(project) = &self.place.project {
            return Ok(project);
        }
        self.project.get_or_try_init(|| self.only_project()).await.map(String::as_str)
    }

    /// All projects there are, or where that may not be asked those of the user.
    pub(super) async fn projects(&self) -> Result<Vec<String>, CallError> {
        let (mut list, key) = match self.server.call(Method::GET, "projects", &[], None).await {
            Err(CallError::Refused { code: 401 | 403, .. }) => {
                (self.server.call(Method::GET, "users/profile", &[], None).await?, "project")
            }
            list => (list?, "name"),
        };
        let name = |project: &Value| project.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(elements(&mut list, "projects").iter().filter_map(name).collect())
    }

    /// The metrics-svc that judges what this server holds; `url` comes before what is stored.
    pub(super) fn metrics(&self, url: Option<&str>) -> Result<Metrics, Failure> {
        Metrics::open(&self.place, url)
    }

    async fn only_project(&self) -> Result<String, Failure> {
        let name = |value: &Value, key: &str| {
            let name = value.get(key).and_then(Value::as_str).unwrap_or_default();
            (!name.is_empty()).then(|| name.to_owned())
        };
        let mut profile = self.get("users/profile").await?;
        let mut names: Vec<_> =
            elements(&mut profile, "projects").iter().filter_map(|p| name(p, "project")).collect();
        if names.is_empty() {
            let mut all = match self.server.call(Method::GET, "projects", &[], None).await {
                // Not everybody may ask.
                Err(CallError::Refused { code: 401 | 403, .. }) => Value::Null,
                all => all.map_err(|error| self.failure(&error))?,
            };
            names = elements(&mut all, "projects").iter().filter_map(|p| name(p, "name")).collect();
        }
        match names.as_slice() {
            [only] => {
                print::note(&format!("project {only}, the only one (--project says which)"));
                Ok(only.clone())
            }
            [] => Err(Failure::Usage(String::from(
                "there is no project yet: make one with `ams project create NAME`, or name one with \
                 --project",
            ))),
            many => Err(Failure::Usage(format!(
                "which project? name it with --project or AMS_PROJECT; there are: {}",
                many.join(", ")
            ))),
        }
    }

    /// `projects/P/topics/NAME`
    pub(super) async fn topic(&self, name: &str) -> Result<String, Failure> {
        Ok(format!("projects/{}/topics/{name}", self.project().await?))
    }

    /// `projects/P/subscriptions/NAME`
    pub(super) async fn subscription(&self, name: &str) -> Result<String, Failure> {
        Ok(format!("projects/{}/subscriptions/{name}", self.project().await?))
    }

    /// Deletes what is at `path`, and says so.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.call(Method::DELETE, path, None).await?;
        self.done(&format!("{path} deleted"))
    }

    /// Says what was done: to people in words, to scripts as an object.
    pub(super) fn done(&self, text: &str) -> Result<(), Failure> {
        match self.output {
            Output::Text => print::lines(&[text.to_owned()]),
            Output::Json => table::json(&json!({"done": text})),
        }
    }

    /// `error` in words, and what to do about it.
    pub(super) fn failure(&self, error: &CallError) -> Failure {
        Failure::Other(format!("{error}{}", self.advice(error)))
    }

    /// What to do about `error`; empty when its own words say it.
    pub(super) fn advice(&self, error: &CallError) -> String {
        let Place { url, source, token_source, .. } = &self.place;
        let text = match error {
            CallError::Refused { code: 401, .. } => format!(
                "{url} does not know the token of {token_source} (by {source}): is it for another \
                 server, or of a user who was deleted?"
            ),
            CallError::Refused { code: 403, .. } => format!(
                "the user of the token of {token_source} may not do that: `ams user profile` shows \
                 the roles, `ams acl show` who may use a topic or subscription"
            ),
            CallError::Refused { code: 404, message, .. } => match missing(message) {
                Some(hint) => hint.to_owned(),
                None => return String::new(),
            },
            CallError::Refused { code: 409, status, .. } if status == "ALREADY_EXISTS" => {
                String::from("choose another name, or go on with what is there (`show`)")
            }
            CallError::Refused { code: 408, message, .. } if message == "ack timeout" => {
                String::from(
                    "the deadline was over before the acknowledgement; the messages come again. \
                     `ams sub deadline NAME SECONDS` gives more time",
                )
            }
            CallError::Refused { code: 413, .. } => {
                String::from("send fewer messages at once (--batch)")
            }
            CallError::Refused { retry_after: Some(seconds), .. } => {
                format!("try again in {seconds} s")
            }
            CallError::Unreachable(text) if is_untrusted(text) => format!(
                "the certificate of {url} is not trusted: name the file of its CA with --ca (a \
                 broker leaves it in DIR/tls/ca.pem), and look whether the host name is right"
            ),
            CallError::Unreachable(_) => format!(
                "nobody answers at {url} (by {source}): does the broker run there? Another address \
                 is named with --url or --context"
            ),
            CallError::Lost(_) => String::from("look whether it was done before doing it again"),
            CallError::Foreign(_) => format!("is {url} the API of an AMS?"),
            CallError::Refused { .. } => return String::new(),
        };
        format!("\n  {text}")
    }
}

/// What to do about the thing that `message` says is not there.
fn missing(message: &str) -> Option<&'static str> {
    let kinds = [
        ("project", "`ams project list` shows those there are; --project says which is meant"),
        ("topic", "`ams topic list` shows those of the project; is it the right one (--project)?"),
        (
            "subscription",
            "`ams sub list` shows those of the project; is it the right one (--project)?",
        ),
        ("user", "the name must be that of a user of this server"),
    ];
    let message = message.to_ascii_lowercase();
    kinds.iter().find(|(kind, _)| message.starts_with(kind)).map(|(_, hint)| *hint)
}

/// Whether a connection failed because of a certificate.
fn is_untrusted(text: &str) -> bool {
    text.to_ascii_lowercase().contains("certificate")
}

/// Takes the list `key` out of an answer; empty when it is absent.
pub(super) fn elements(answer: &mut Value, key: &str) -> Vec<Value> {
    match answer.get_mut(key).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}
