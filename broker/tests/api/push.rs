//! Push settings while push is on, which no product is yet: judged, kept, shown, verified.

use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use broker::push::Reach;
use serde_json::Value;

use crate::api::{Api, Seen, field};
use crate::tls::certify;

const SUBSCRIPTIONS: &str = "/v1/projects/P/subscriptions";

/// Project P with topic `t` and subscription `s`, which is pulled.
async fn furnished(reach: Reach) -> Api {
    let api = Api::pushing(reach).await;
    api.post("/v1/projects/P", "{}").await.ok();
    api.put("/v1/projects/P/topics/t", "").await.ok();
    api.put(&format!("{SUBSCRIPTIONS}/s"), r#"{"topic": "projects/P/topics/t"}"#).await.ok();
    api
}

async fn create(api: &Api, name: &str, push: &str) -> Seen {
    let body = format!(r#"{{"topic": "projects/P/topics/t", "pushConfig": {push}}}"#);
    api.put(&format!("{SUBSCRIPTIONS}/{name}"), &body).await
}

async fn modify(api: &Api, name: &str, push: &str) -> Seen {
    let body = format!(r#"{{"pushConfig": {push}}}"#);
    api.post(&format!("{SUBSCRIPTIONS}/{name}:modifyPushConfig"), &body).await
}

async fn verify(api: &Api, name: &str) -> Seen {
    api.post(&format!("{SUBSCRIPTIONS}/{name}:verifyPushEndpoint"), "").await
}

async fn show(api: &Api, name: &str) -> String {
    api.get(&format!("{SUBSCRIPTIONS}/{name}")).await.ok()
}

/// The push configuration of what a body shows.
fn config(body: &str) -> Value {
    serde_json::from_str::<Value>(body).unwrap()["pushConfig"].clone()
}

/// Authorization value and verification hash.
fn secrets(body: &str) -> (String, String) {
    let config = config(body);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&config["authorizationHeader"]["value"]), text(&config["verificationHash"]))
}

fn is_secret(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
}

#[actix_web::test]
async fn an_endpoint_is_shown_byte_for_byte() {
    let api = furnished(Reach::Public).await;
    let given = r#"{"type": "http_endpoint", "pushEndpoint": "https://h.example.org:9/p?a=<b>",
        "maxMessages": 3, "retryPolicy": {"type": "linear", "period": 300}, "base64Decode": true,
        "authorizationHeader": {"value": "mine"}, "verificationHash": "mine", "verified": true,
        "mattermostUrl": "https://m", "mattermostUsername": "u", "mattermostChannel": "c"}"#;
    let made = create(&api, "e", given).await.ok();
    let (authorization, hash) = secrets(&made);
    assert!(is_secret(&authorization) && is_secret(&hash) && authorization != hash, "{made}");
    let expected = [
        "{",
        r#"   "name": "/projects/P/subscriptions/e","#,
        r#"   "topic": "/projects/P/topics/t","#,
        r#"   "pushConfig": {"#,
        r#"      "type": "http_endpoint","#,
        r#"      "pushEndpoint": "https://h.example.org:9/p?a=\u003cb\u003e","#,
        r#"      "maxMessages": 3,"#,
        r#"      "authorizationHeader": {"#,
        r#"         "type": "autogen","#,
        r#"         "value": "AUTHORIZATION""#,
        r#"      },"#,
        r#"      "retryPolicy": {"#,
        r#"         "type": "linear","#,
        r#"         "period": 300"#,
        r#"      },"#,
        r#"      "verificationHash": "HASH","#,
        r#"      "verified": false,"#,
        r#"      "mattermostUrl": "","#,
        r#"      "mattermostUsername": "","#,
        r#"      "mattermostChannel": "","#,
        r#"      "base64Decode": true"#,
        r#"   },"#,
        r#"   "ackDeadlineSeconds": 10,"#,
        r#"   "createdOn": "2020-11-19T00:00:00Z""#,
        "}",
    ];
    let masked = made.replace(&authorization, "AUTHORIZATION").replace(&hash, "HASH");
    assert_eq!(masked, expected.join("\n"));
    assert_eq!(show(&api, "e").await, made);
}

#[actix_web::test]
async fn a_mattermost_is_verified_at_once_and_has_a_status() {
    let api = furnished(Reach::Public).await;
    let given = r#"{"type": "mattermost", "pushEndpoint": "https://h", "maxMessages": 3,
        "retryPolicy": {"type": "slowstart", "period": 9}, "authorizationHeader": {"type": "x"},
        "mattermostUrl": "hook", "mattermostChannel": "c"}"#;
    let made = create(&api, "m", given).await.ok();
    let expected = serde_json::json!({
        "type": "mattermost", "pushEndpoint": "", "maxMessages": 1, "authorizationHeader": {},
        // O59
        "retryPolicy": {"type": "slowstart", "period": 0},
        "verificationHash": "", "verified": true, "mattermostUrl": "hook",
        "mattermostUsername": "", "mattermostChannel": "c", "base64Decode": false,
    });
    assert_eq!(config(&made), expected);
    // The status is of `show` alone.
    let status = r#"   "pushStatus": "Push server is currently unavailable","#;
    let deadline = r#"   "ackDeadlineSeconds": 10,"#;
    let with_status = made.replace(deadline, &format!("{deadline}\n{status}"));
    assert_eq!(show(&api, "m").await, with_status);
    let list = api.get(SUBSCRIPTIONS).await.ok();
    assert!(list.contains("\"hook\"") && !list.contains("pushStatus"), "{list}");
    verify(&api, "m").await.fails(409, "CONFLICT", "Subscription is not in http push mode");
    let gone = api.delete(&format!("{SUBSCRIPTIONS}/m")).await;
    gone.is(r#"{"message":"Push server is currently unavailable"}"#);
    create(&api, "u", r#"{"pushEndpoint": "https://h"}"#).await.ok();
    api.delete(&format!("{SUBSCRIPTIONS}/u")).await.is("");
}

const KIND: &str = "Push configuration type can only be of 'http_endpoint' or 'mattermost'";
const ENDPOINT: &str = "Push endpoint should be addressed by a valid https url";
const AUTHORIZATION: &str = "Authorization header type can only be of 'autogen' or 'disabled' type";
const URL: &str = "Field mattermostUrl cannot be empty";
const RETRY: &str = "Retry policy can only be of 'linear' or 'slowstart' type";

#[actix_web::test]
async fn objections_come_in_the_order_of_each_route() {
    let api = furnished(Reach::Public).await;
    // What is given, what creating says and what changing says.
    for (push, made, changed) in [
        (r#"{"base64Decode": true}"#, KIND, KIND),
        (r#"{"type": "x", "retryPolicy": {"type": "x"}}"#, KIND, RETRY),
        (r#"{"type": "http_endpoint"}"#, ENDPOINT, ENDPOINT),
        (r#"{"pushEndpoint": "http://h", "retryPolicy": {"type": "x"}}"#, ENDPOINT, RETRY),
        (
            r#"{"pushEndpoint": "http://h", "authorizationHeader": {"type": "x"}}"#,
            ENDPOINT,
            ENDPOINT,
        ),
        (
            r#"{"pushEndpoint": "https://h", "authorizationHeader": {"type": "x"},
                "retryPolicy": {"type": "x"}}"#,
            AUTHORIZATION,
            RETRY,
        ),
        (r#"{"type": "mattermost", "retryPolicy": {"type": "x"}}"#, URL, RETRY),
        (r#"{"type": "mattermost"}"#, URL, URL),
        (r#"{"mattermostUrl": "m", "retryPolicy": {"type": "x"}}"#, RETRY, RETRY),
    ] {
        // `s` is there: that comes last.
        create(&api, "s", push).await.invalid(made);
        modify(&api, "s", push).await.invalid(changed);
        let unknown = modify(&api, "none", push).await;
        unknown.fails(404, "NOT_FOUND", "Subscription doesn't exist");
    }
    let exists = create(&api, "s", r#"{"pushEndpoint": "https://h"}"#).await;
    exists.fails(409, "ALREADY_EXISTS", "Subscription already exists");
    let bad = modify(&api, "none", r#"{"maxMessages": "1"}"#).await;
    bad.invalid("Invalid Subscription Arguments");
    assert_eq!(config(&show(&api, "s").await)["type"], "");
}

#[actix_web::test]
async fn a_change_keeps_what_it_does_not_name_and_nothing_in_it_is_pull() {
    let api = furnished(Reach::Public).await;
    let pulled = show(&api, "s").await;
    let first = r#"{"pushEndpoint": "https://h/1", "maxMessages": 5, "base64Decode": true}"#;
    modify(&api, "s", first).await.is("");
    let made = show(&api, "s").await;
    let (authorization, hash) = secrets(&made);
    assert!(is_secret(&authorization) && is_secret(&hash));
    let slow = r#"{"pushEndpoint": "https://h/1", "retryPolicy": {"type": "slowstart"}}"#;
    modify(&api, "s", slow).await.is("");
    let changed = show(&api, "s").await;
    assert_eq!(secrets(&changed), (authorization.clone(), hash.clone()));
    assert_eq!(config(&changed)["maxMessages"], 5);
    assert_eq!(config(&changed)["base64Decode"], true, "O31");
    assert_eq!(config(&changed)["retryPolicy"]["period"], 0, "O59");
    let off = r#"{"pushEndpoint": "https://h/2", "authorizationHeader": {"type": "disabled"}}"#;
    modify(&api, "s", off).await.is("");
    let changed = config(&show(&api, "s").await);
    assert_eq!(changed["authorizationHeader"], serde_json::json!({"type": "disabled"}));
    assert_ne!(changed["verificationHash"], Value::String(hash));
    let again = r#"{"pushEndpoint": "https://h/2", "authorizationHeader": {"type": "autogen"}}"#;
    modify(&api, "s", again).await.is("");
    assert_ne!(secrets(&show(&api, "s").await).0, authorization);
    // O61
    api.post(&format!("{SUBSCRIPTIONS}/s:modifyPushConfig"), "{}").await.is("");
    assert_eq!(show(&api, "s").await, pulled);
    verify(&api, "s").await.fails(409, "CONFLICT", "Subscription is not in http push mode");
    verify(&api, "none").await.fails(404, "NOT_FOUND", "Subscription doesn't exist");
}

#[actix_web::test]
async fn few_pull_what_is_pushed_and_all_who_may_see_it_see_its_secrets() {
    let api = furnished(Reach::Public).await;
    create(&api, "e", r#"{"pushEndpoint": "https://h/secret"}"#).await.ok();
    let shown = show(&api, "e").await;
    let acl = r#"{"authorized_users": ["c", "pc"]}"#;
    let mut tokens = Vec::new();
    for (name, roles, service) in [
        ("pa", r#""project_admin""#, ""),
        ("c", r#""consumer""#, ""),
        ("pc", r#""project_admin", "consumer""#, ""),
        ("w", "", r#""push_worker""#),
        ("sa", "", r#""service_admin""#),
    ] {
        let body = format!(
            r#"{{"projects": [{{"project": "P", "roles": [{roles}]}}], "service_roles": [{service}]}}"#
        );
        let made = api.post(&format!("/v1/users/{name}"), &body).await.ok();
        tokens.push((name, field(&made, "token")));
    }
    api.post(&format!("{SUBSCRIPTIONS}/e:modifyAcl"), acl).await.ok();
    api.post("/v1/projects/P/topics/t:publish", r#"{"messages": [{}]}"#).await.ok();
    let (authorization, hash) = secrets(&shown);
    for (name, token) in &tokens {
        let path = format!("{SUBSCRIPTIONS}/e");
        let seen = api.call("GET", &path, token, b"").await.ok();
        assert!(seen.contains(&authorization) && seen.contains(&hash), "{name}");
        let pulled = api.call("POST", &format!("{path}:pull"), token, b"{}").await;
        if ["w", "sa"].contains(name) {
            assert!(pulled.ok().contains("messageId"), "{name}");
        } else {
            pulled.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
        }
    }
    let ack = br#"{"ackIds": ["projects/P/subscriptions/e:0"]}"#;
    api.call("POST", &format!("{SUBSCRIPTIONS}/e:acknowledge"), &tokens[1].1, ack).await.is("{}");
    // Nowhere else: sealed in the store, told by its host in the audit log.
    let (log, stored) = (api.get("/v1/projects/P/audit").await.ok(), api.contents().await);
    for secret in [&authorization, &hash] {
        assert!(!log.contains(secret.as_str()) && !stored.contains(secret.as_str()));
    }
    assert!(log.contains("topic t, http_endpoint h\"") && !log.contains("/secret"), "{log}");
}

/// What a receiver answers to everything, and what it was asked.
struct Plan {
    status: u16,
    body: String,
    location: Option<String>,
    asked: Vec<String>,
}

/// Listens with TLS on a free port of 127.0.0.1; answers its base URL and its certificate as PEM.
fn receiver(plan: Arc<Mutex<Plan>>) -> (String, String) {
    let (config, certificate) = certify("localhost");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let answer = |request: HttpRequest, plan: web::Data<Mutex<Plan>>| async move {
        let mut plan = plan.lock().unwrap();
        let host = request.headers().get("host").unwrap().to_str().unwrap();
        let told = format!("{} {} {}", request.method(), request.uri(), host.contains('@'));
        plan.asked.push(told);
        let status = actix_web::http::StatusCode::from_u16(plan.status).unwrap();
        let mut response = HttpResponse::build(status);
        if let Some(location) = &plan.location {
            response.insert_header(("location", location.as_str()));
        }
        response.body(plan.body.clone())
    };
    let plan = web::Data::from(plan);
    let app = move || App::new().app_data(plan.clone()).default_service(web::to(answer));
    let server = HttpServer::new(app).workers(1).disable_signals();
    let server = server.listen_rustls_0_23(listener, config).unwrap().run();
    drop(actix_web::rt::spawn(server));
    (url, certificate.pem())
}

#[actix_web::test]
async fn an_endpoint_is_verified_by_what_it_answers() {
    let plan = Plan { status: 200, body: String::new(), location: None, asked: Vec::new() };
    let plan = Arc::new(Mutex::new(plan));
    let (url, pem) = receiver(Arc::clone(&plan));
    let api = furnished(Reach::Inside(pem.into_bytes())).await;
    let given = format!(r#"{{"pushEndpoint": "{url}/ingest?key=x", "base64Decode": true}}"#);
    let (_, hash) = secrets(&create(&api, "e", &given).await.ok());
    let verified = || async { config(&show(&api, "e").await)["verified"] == true };
    let failed = |seen: Seen, why: &str| {
        seen.fails(401, "UNAUTHORIZED", &format!("Endpoint verification failed.{why}"));
    };
    // Not a byte more or less is the hash, nor another of the same length, nor too much of it.
    let long = hash.repeat(100_000);
    let (short, other) = (hash.get(1..).unwrap(), hash.replace(|c: char| c.is_ascii_digit(), "x"));
    for wrong in ["", short, &format!("{hash}\n"), &other, &long] {
        plan.lock().unwrap().body = wrong.to_owned();
        failed(verify(&api, "e").await, "Wrong verification hash");
    }
    plan.lock().unwrap().body = hash.clone();
    for status in [201, 204, 404, 500] {
        plan.lock().unwrap().status = status;
        failed(verify(&api, "e").await, "Wrong response status code");
    }
    // O51: no redirect is followed.
    plan.lock().unwrap().status = 302;
    plan.lock().unwrap().location = Some(format!("{url}/elsewhere"));
    failed(verify(&api, "e").await, "Wrong response status code");
    assert!(!verified().await);
    plan.lock().unwrap().status = 200;
    verify(&api, "e").await.is("");
    let all = plan.lock().unwrap().asked.clone();
    assert_eq!(all.len(), 11);
    assert!(all.iter().all(|asked| asked == "GET /ams_verification_hash false"), "{all:?}");
    assert!(verified().await);
    assert_eq!(config(&show(&api, "e").await)["base64Decode"], true, "O31");
    assert!(show(&api, "e").await.contains("\"pushStatus\""));
    verify(&api, "e").await.fails(409, "CONFLICT", "Push endpoint is already verified");
    let log = api.get("/v1/projects/P/audit").await.ok();
    let log: Value = serde_json::from_str(&log).unwrap();
    let host = url.trim_start_matches("https://");
    assert_eq!(log["entries"][0]["operation"], "push.change");
    assert_eq!(log["entries"][0]["to"], format!("http_endpoint {host} verified"));
    // The same endpoint stays so, another one does not.
    modify(&api, "e", &given.replace('}', r#", "maxMessages": 2}"#)).await.is("");
    assert!(verified().await);
    modify(&api, "e", &given.replace("ingest", "other")).await.is("");
    assert!(!verified().await);
    failed(verify(&api, "e").await, "Wrong verification hash");
}

#[actix_web::test]
async fn an_endpoint_that_cannot_be_trusted_is_not_heard() {
    let plan = Plan { status: 200, body: String::new(), location: None, asked: Vec::new() };
    let plan = Arc::new(Mutex::new(plan));
    let (url, _) = receiver(Arc::clone(&plan));
    let made = rcgen::generate_simple_self_signed([String::from("localhost")]).unwrap();
    // By another's certificate.
    let api = furnished(Reach::Inside(made.cert.pem().into_bytes())).await;
    create(&api, "e", &format!(r#"{{"pushEndpoint": "{url}"}}"#)).await.ok();
    let seen = verify(&api, "e").await;
    let why = "Endpoint verification failed.Push endpoint cannot be reached";
    seen.fails(401, "UNAUTHORIZED", why);
    // By an address that strangers may not have called.
    let api = furnished(Reach::Public).await;
    create(&api, "e", &format!(r#"{{"pushEndpoint": "{url}"}}"#)).await.ok();
    let seen = verify(&api, "e").await;
    let why = "Endpoint verification failed.Push endpoint's address or port is not allowed";
    seen.fails(401, "UNAUTHORIZED", why);
    assert!(plan.lock().unwrap().asked.is_empty());
}
