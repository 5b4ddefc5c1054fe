//! Every request comes through here: route, names, token, rights, then its handler
//! (`ams-contract.md` 1.4, in this order).

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::FutureExt as _;

use super::body::Body;
use super::call::Call;
use super::connection::{Busy, Connection};
use super::cors;
use super::error::Refusal;
use super::inflate::Inflater;
use super::openapi::Document;
use super::path::{Path, Query};
use super::reply::{Reply, Sending};
use super::routes::{self, Action, Names, Row};
use super::settings::{AuthOption, Settings};
use crate::domain::{ProjectName, SubscriptionName, lawful};
use crate::push::Reach;
use crate::service::{Broker, Error, Peer, Route, Verb};

/// What all requests share. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    broker: Broker,
    settings: Arc<Settings>,
    inflater: Inflater,
    document: Arc<Document>,
    reach: Arc<Reach>,
}

impl Door {
    /// A door to `broker`.
    pub fn new(broker: Broker, settings: Settings) -> Self {
        Self {
            broker,
            settings: Arc::new(settings),
            inflater: Inflater::new(),
            document: Arc::default(),
            reach: Arc::default(),
        }
    }

    /// The same door, whose push endpoints are called as `reach` says.
    pub fn reaching(self, reach: Reach) -> Self {
        Self { reach: Arc::new(reach), ..self }
    }
}

/// Answers any request: the one service of the actix application.
pub(super) async fn answer(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> HttpResponse {
    let busy = request.conn_data::<Arc<Connection>>().map(Busy::on);
    let Door { broker, settings, inflater, document, reach } = door.get_ref();
    let share = broker.body_share();
    let body = Body::new(payload, request.headers(), settings, inflater, share);
    if request.method() == Method::OPTIONS {
        let unread = body.finish().await;
        let sending = Sending { busy, unread, share: None };
        return sending.keep(cors::preflight(request.headers()));
    }
    let query = Query(request.query_string());
    let call = Call {
        broker,
        settings,
        document,
        reach,
        query,
        headers: request.headers(),
        token: token(&request, query, settings.auth_option),
        body,
        peer: Peer(request.peer_addr().map(|address| address.ip())),
        share: Cell::new(None),
    };
    let path = Path::new(request.uri().path());
    let reply = serve(request.method().as_str(), &path, &call).await;
    let unread = call.body.finish().await;
    let share = call.share.take().map(|mut share| {
        share.settle(reply.body.len() as u64);
        share
    });
    reply.respond(cors::has_origin(request.headers()), Sending { busy, unread, share })
}

async fn serve(method: &str, path: &Path, call: &Call<'_>) -> Reply {
    let found = match path.segments() {
        Some(segments) => routes::find(method, &segments),
        None => Err(Refusal::UnknownPath),
    };
    match found {
        Ok((row, names)) => run(row, names, call).await,
        Err(refusal) => refusal.reply(),
    }
}

async fn run(row: &Row, names: Names<'_>, call: &Call<'_>) -> Reply {
    let outcome = survived(handle(row, names, call)).await;
    if let Some(verb) = row.counted() {
        let outcome = outcome.as_ref().map(|_| ()).map_err(Refusal::is_fault);
        call.broker.count_call(verb, outcome);
    }
    match outcome {
        Ok(reply) => reply,
        Err(refusal) => {
            if let Some(fault) = refusal.store_fault() {
                call.broker.count_store_fault(fault);
            }
            report(row, names, &refusal);
            refusal.reply()
        }
    }
}

/// What `handler` answers, also when it dies: verbs hold no lock over an await and a batch is whole
/// or absent, so that leaves nothing half done.
async fn survived(handler: impl Future<Output = Result<Reply, Refusal>>) -> Result<Reply, Refusal> {
    AssertUnwindSafe(handler).catch_unwind().await.unwrap_or(Err(Refusal::Panicked))
}

/// Names, token, rights, handler.
async fn handle(row: &Row, names: Names<'_>, call: &Call<'_>) -> Result<Reply, Refusal> {
    match row.action {
        Action::Open(run) => run(call).await,
        Action::Service(route, run) => {
            let caller = call.admit(route, None)?;
            run(call, &caller).await
        }
        Action::User(route, run) => {
            let user = names.user.parse()?;
            let caller = call.admit(route, None)?;
            run(call, &caller, &user).await
        }
        Action::Token(route, run) => {
            let token = lawful("token", names.token)?;
            let caller = call.admit(route, None)?;
            run(call, &caller, token).await
        }
        Action::Uuid(route, run) => {
            let uuid = lawful("uuid", names.uuid)?;
            let caller = call.admit(route, None)?;
            run(call, &caller, uuid).await
        }
        Action::Project(route, run) => {
            let project = names.project.parse()?;
            let caller = call.admit(route, Some(&project))?;
            run(call, &caller, &project).await
        }
        Action::Member(route, run) => {
            let (project, user) = (names.project.parse()?, names.user.parse()?);
            let caller = call.admit(route, Some(&project))?;
            run(call, &caller, &project, &user).await
        }
        Action::Topic(route, run) => {
            let (project, topic) = (names.project.parse()?, names.topic.parse()?);
            let caller = call.admit(route, Some(&project))?;
            run(call, &caller, &project, &topic).await
        }
        Action::Snapshot(route, run) => {
            let (project, snapshot) = (names.project.parse()?, names.snapshot.parse()?);
            let caller = call.admit(route, Some(&project))?;
            run(call, &caller, &project, &snapshot).await
        }
        Action::Schema(route, run) => {
            let (project, schema) = (names.project.parse()?, names.schema.parse()?);
            let caller = call.admit(route, Some(&project))?;
            run(call, &caller, &project, &schema).await
        }
        Action::Subscription(route, run) => {
            let project: ProjectName = names.project.parse()?;
            let subscription: SubscriptionName = names.subscription.parse()?;
            let admitted = call.admit(route, Some(&project));
            // A token that is not known any more is a consumer that calls in vain; no token is not.
            let turned_away = match &admitted {
                Err(Error::Forbidden) => true,
                Err(Error::Unauthorized) => call.token.is_some(),
                _ => false,
            };
            if route == Route::SubscriptionsPull && turned_away {
                call.broker.pull_denied(&project, &subscription);
            }
            run(call, &admitted?, &project, &subscription).await
        }
    }
}

impl Row {
    /// The verb whose calls are counted.
    const fn counted(&self) -> Option<Verb> {
        match self.action {
            Action::Topic(Route::TopicsPublish, _) => Some(Verb::Publish),
            Action::Subscription(Route::SubscriptionsPull, _) => Some(Verb::Pull),
            Action::Subscription(Route::SubscriptionsAcknowledge, _) => Some(Verb::Acknowledge),
            _ => None,
        }
    }
}

/// Logs a failure, once and by fact: AMS answers 500 to clients' mistakes. Never a token, a query
/// string or a body.
fn report(row: &Row, names: Names<'_>, refusal: &Refusal) {
    let (method, route, Names { project, topic, subscription, .. }) =
        (row.method, row.pattern, names);
    match refusal {
        Refusal::Fact(error) if error.is_fault() => {
            let error = error as &dyn std::error::Error;
            tracing::error!(method, route, project, topic, subscription, error, "request failed");
        }
        Refusal::Panicked => {
            tracing::error!(method, route, project, topic, subscription, "handler panicked");
        }
        _ => {
            let status = refusal.reply().status;
            tracing::debug!(method, route, project, topic, subscription, status, "refused");
        }
    }
}

/// The token, from where the settings allow it (`ams-contract.md` 2.1); `None` when empty. A wrong
/// header is not rescued by a right query key.
fn token(request: &HttpRequest, query: Query<'_>, allowed: AuthOption) -> Option<String> {
    let header = || {
        let value = request.headers().get("x-api-key")?;
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (!text.is_empty()).then_some(text)
    };
    match allowed {
        AuthOption::Key => query.get("key"),
        AuthOption::Header => header(),
        AuthOption::Both => header().or_else(|| query.get("key")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Reply, survived};

    #[actix_web::test]
    async fn a_handler_that_dies_is_answered() {
        let dying = survived(async { panic!("as the test wants") }).await;
        let expected = Reply::envelope(500, "INTERNAL_SERVER_ERROR", "Internal Error");
        assert_eq!(dying.unwrap_err().reply(), expected);
        assert_eq!(survived(async { Ok(Reply::empty()) }).await.unwrap(), Reply::empty());
    }
}
