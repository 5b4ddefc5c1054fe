//! A broker on the memory store behind the AMS door, a clock that stands still, and a client that
//! shows all of an answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, http::Method};
use broker::clock::ManualClock;
use broker::domain::Time;
use broker::http::{Door, Settings, configure};
use broker::push::Reach;
use broker::service::{self, Broker};
use broker::store::{self, Catalog as _, FaultyStore, MessageLog as _, ProgressLog as _, Store};
use tokio_util::task::TaskTracker;

/// The clock at the start: 2020-11-19T00:00:00Z.
pub(crate) const START: Time = Time(1_605_744_000_000_000_000);

type Call = Box<dyn Fn(TestRequest) -> Pin<Box<dyn Future<Output = Seen>>>>;

pub(crate) struct Api {
    pub(crate) broker: Broker,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<FaultyStore>,
    /// The service admin's token.
    pub(crate) admin: String,
    call: Call,
}

/// All of an answer.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// What several tests start from.
pub(crate) struct World {
    pub(crate) api: Api,
    /// Of `owner`, project_admin of P.
    pub(crate) owner: String,
    /// Of `maker`, publisher in P and in the ACL of topic `t`.
    pub(crate) maker: String,
    /// Of `eater`, consumer in P and in the ACL of subscription `s`.
    pub(crate) eater: String,
}

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) async fn broker_on(
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    push_enabled: bool,
) -> Broker {
    let settings = service::Settings {
        objects_per_project: 20,
        deadline: Duration::from_secs(2),
        reveal_tokens: true,
        roles: service::Roles::default(),
        pull_messages: 10_000,
        pull_bytes: 64 << 20,
        bodies_bytes: 96 << 20,
        answers_bytes: 128 << 20,
        bytes_per_project: 0,
        rates: service::Rates::default(),
        push_enabled,
        retention: service::Retention { default: 7 * DAY, max: 30 * DAY, every: DAY },
    };
    Broker::open(store, clock, [7; 32], settings, TaskTracker::new()).await.unwrap()
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::made(settings, None).await
    }

    /// With push on, to what `reach` says.
    pub(crate) async fn pushing(reach: Reach) -> Self {
        Self::made(Settings::default(), Some(reach)).await
    }

    async fn made(settings: Settings, push: Option<Reach>) -> Self {
        let clock = ManualClock::at(START);
        let store = FaultyStore::over(store::memory());
        let broker = broker_on(store.clone(), clock.clone(), push.is_some()).await;
        let admin = broker.ensure_admin("").await.unwrap();
        let door = Door::new(broker.clone(), settings).reaching(push.unwrap_or_default());
        let app = std::rc::Rc::new(init_service(App::new().configure(configure(door))).await);
        let call: Call = Box::new(move |request| {
            let app = app.clone();
            Box::pin(async move {
                let response = call_service(&*app, request.to_request()).await;
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                let body = read_body(response).await;
                Seen { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
            })
        });
        Self { broker, clock, store, admin, call }
    }

    /// Any request.
    pub(crate) async fn send(&self, request: TestRequest) -> Seen {
        (self.call)(request.peer_addr(([127, 0, 0, 1], 40_000).into())).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: &[u8]) -> Seen {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request =
            TestRequest::default().method(method).uri(path).set_payload(body.to_vec());
        if !token.is_empty() {
            request = request.insert_header(("x-api-key", token));
        }
        self.send(request).await
    }

    /// As the service admin.
    pub(crate) async fn get(&self, path: &str) -> Seen {
        self.call("GET", path, &self.admin, b"").await
    }

    /// As the service admin.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Seen {
        self.call("POST", path, &self.admin, body.as_bytes()).await
    }

    /// As the service admin.
    pub(crate) async fn put(&self, path: &str, body: &str) -> Seen {
        self.call("PUT", path, &self.admin, body.as_bytes()).await
    }

    /// As the service admin.
    pub(crate) async fn delete(&self, path: &str) -> Seen {
        self.call("DELETE", path, &self.admin, b"").await
    }

    /// Everything the store holds, as text.
    pub(crate) async fn contents(&self) -> String {
        let mut all = self.catalogue_and_heads().await;
        for subscription in self.store.subscriptions().await.unwrap() {
            let progress = self.store.load(subscription).await.unwrap();
            all += &format!("{subscription} {progress:?}\n");
        }
        all
    }

    /// The same without the progress records, in which refused acks are counted.
    pub(crate) async fn catalogue_and_heads(&self) -> String {
        let mut all = String::new();
        for scope in self.store.scopes().await.unwrap() {
            let state = self.store.load_scope(scope).await.unwrap();
            all += &format!("{scope:?} {} {:?}\n", state.version, state.objects);
        }
        for topic in self.store.topics().await.unwrap() {
            all += &format!("{topic} {:?}\n", self.store.head(topic).await.unwrap());
        }
        all
    }
}

impl World {
    /// Project P with topic `t`, subscription `s` on it, and its three users.
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let api = Api::with(settings).await;
        api.post("/v1/projects/P", "{}").await.ok();
        let mut tokens = Vec::new();
        for (name, role) in
            [("owner", "project_admin"), ("maker", "publisher"), ("eater", "consumer")]
        {
            let body = format!(r#"{{"projects": [{{"project": "P", "roles": ["{role}"]}}]}}"#);
            let user = api.post(&format!("/v1/projects/P/members/{name}"), &body).await.ok();
            tokens.push(field(&user, "token"));
        }
        let [owner, maker, eater] = tokens.try_into().unwrap();
        api.put("/v1/projects/P/topics/t", "").await.ok();
        api.put("/v1/projects/P/subscriptions/s", r#"{"topic": "projects/P/topics/t"}"#).await.ok();
        let acl = |user| format!(r#"{{"authorized_users": ["{user}"]}}"#);
        api.post("/v1/projects/P/topics/t:modifyAcl", &acl("maker")).await.ok();
        api.post("/v1/projects/P/subscriptions/s:modifyAcl", &acl("eater")).await.ok();
        Self { api, owner, maker, eater }
    }

    /// Publishes `count` messages to `t`.
    pub(crate) async fn publish(&self, count: usize) {
        let messages = vec![r#"{"data": "bQ=="}"#; count].join(",");
        let body = format!(r#"{{"messages": [{messages}]}}"#);
        self.api.post("/v1/projects/P/topics/t:publish", &body).await.ok();
    }

    /// Pulls up to `max` from `s` and answers the offsets.
    pub(crate) async fn pull(&self, max: usize) -> Vec<u64> {
        let body = format!(r#"{{"maxMessages": "{max}"}}"#);
        let pulled = self.api.post("/v1/projects/P/subscriptions/s:pull", &body).await.ok();
        let pulled: serde_json::Value = serde_json::from_str(&pulled).unwrap();
        let messages = pulled["receivedMessages"].as_array().unwrap();
        messages
            .iter()
            .map(|m| m["message"]["messageId"].as_str().unwrap().parse().unwrap())
            .collect()
    }

    /// Acknowledges up to `offset` of `s`.
    pub(crate) async fn ack(&self, offset: i64) -> Seen {
        let body = format!(r#"{{"ackIds": ["projects/P/subscriptions/s:{offset}"]}}"#);
        self.api.post("/v1/projects/P/subscriptions/s:acknowledge", &body).await
    }
}

impl Seen {
    /// A success as every one must be: 200 and JSON. Answers the body.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json; charset=utf-8");
        self.body
    }

    /// Success with these lines of body.
    #[track_caller]
    pub(crate) fn is(self, body: &str) {
        assert_eq!(self.ok(), body);
    }

    /// The error envelope, byte for byte.
    #[track_caller]
    pub(crate) fn fails(&self, code: u16, status: &str, message: &str) {
        let expected = format!(
            "{{\n   \"error\": {{\n      \"code\": {code},\n      \"message\": \"{message}\",\n      \
             \"status\": \"{status}\"\n   }}\n}}"
        );
        assert_eq!((self.status, self.body.as_str()), (code, expected.as_str()));
        assert_eq!(self.header("content-type"), "application/json; charset=utf-8");
    }

    /// 400 INVALID_ARGUMENT.
    #[track_caller]
    pub(crate) fn invalid(&self, message: &str) {
        self.fails(400, "INVALID_ARGUMENT", message);
    }

    /// Empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body)
    }
}

/// A text of the top level of a JSON body.
pub(crate) fn field(body: &str, key: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body[key].as_str().unwrap().to_owned()
}

/// The body of a user with its two random texts checked for shape and masked.
pub(crate) fn masked(body: &str) -> String {
    let (uuid, token) = (field(body, "uuid"), field(body, "token"));
    assert_eq!(uuid.parse::<uuid::Uuid>().unwrap().get_version_num(), 4);
    assert!(token.len() == 64 && token.bytes().all(|b| b"0123456789abcdef".contains(&b)));
    body.replace(&uuid, "UUID").replace(&token, "TOKEN")
}
