//! Paths, methods, tokens, origins: what happens before a handler.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use broker::http::{AuthOption, Settings};

use crate::api::{Api, World};

#[actix_web::test]
async fn what_is_no_route_answers_404_with_an_envelope() {
    let api = Api::new().await;
    api.post("/v1/projects/P", "{}").await.ok();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v1/nothing"),
        ("GET", "/v2/status"),
        ("GET", "/v1/status/"),
        ("GET", "/v1/projects/P/"),
        ("DELETE", "/v1/projects"),
        ("POST", "/v1/projects/P/topics"),
        ("PUT", "/v1/projects/P/topics/t:publish/x"),
        ("POST", "/v1/projects/P/topics/t:foo"),
        ("POST", "/v1/projects/P/subscriptions/s:foo"),
        ("POST", "/v1/projects/P/subscriptions/:pull"),
        ("PATCH", "/v1/projects/P"),
        ("POST", "/v1/status"),
    ] {
        let seen = api.call(method, path, &api.admin, b"").await;
        seen.fails(404, "NOT_FOUND", "404 page not found");
    }
    let head = api.call("HEAD", "/v1/status", "", b"").await;
    assert_eq!(head.status, 404);
}

#[actix_web::test]
async fn version_alone_knows_its_methods() {
    let api = Api::new().await;
    for method in ["POST", "PUT", "DELETE", "HEAD"] {
        let seen = api.call(method, "/v1/version", "", b"").await;
        seen.fails(405, "METHOD_NOT_ALLOWED", "Method not allowed");
    }
}

#[actix_web::test]
async fn names_are_judged_before_anybody_is_known_in_alphabetical_order() {
    let api = Api::new().await;
    let get = |path| api.call("GET", path, "", b"");
    get("/v1/projects/AR,GO/subscriptions/s:ub1").await.invalid("Invalid project name");
    get("/v1/projects/ARGO/subscriptions/s:ub1").await.invalid("Invalid subscription name");
    get("/v1/projects/ARGO/subscriptions/s:pull").await.invalid("Invalid subscription name");
    get("/v1/projects/ARGO/topics/t.x").await.invalid("Invalid topic name");
    get("/v1/projects/ARGO/topics/t%20x").await.invalid("Invalid topic name");
    get("/v1/projects/%ff").await.invalid("Invalid project name");
    get("/v1/projects/caf%C3%A9").await.invalid("Invalid project name");
    get("/v1/projects/P!:metrics").await.invalid("Invalid project name");
    get("/v1/projects/P:figures").await.invalid("Invalid project name");
    let post = |path| api.call("POST", path, "", b"");
    post("/v1/projects/P:foo").await.invalid("Invalid project name");
    post("/v1/users/u:foo").await.invalid("Invalid user name");
    post("/v1/projects/P/members/u:foo").await.invalid("Invalid user name");
    post("/v1/projects/P!/members/u!:add").await.invalid("Invalid project name");
}

#[actix_web::test]
async fn who_comes_before_what() {
    let World { api, maker, eater, .. } = World::new().await;
    let unauthorized = (401, "UNAUTHORIZED", "Unauthorized");
    let topics = |project, token| {
        let path = format!("/v1/projects/{project}/topics");
        let api = &api;
        async move { api.call("GET", &path, token, b"").await }
    };
    topics("NOPE", "").await.fails(unauthorized.0, unauthorized.1, unauthorized.2);
    topics("NOPE", "anything").await.fails(404, "NOT_FOUND", "project doesn't exist");
    topics("P", "").await.fails(unauthorized.0, unauthorized.1, unauthorized.2);
    topics("P", "anything").await.fails(unauthorized.0, unauthorized.1, unauthorized.2);
    topics("P", &eater).await.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
    topics("P", &maker).await.ok();

    // A user of one project is nobody in another, and nobody in the service.
    api.post("/v1/projects/Q", "{}").await.ok();
    topics("Q", &maker).await.fails(unauthorized.0, unauthorized.1, unauthorized.2);
    let all = api.call("GET", "/v1/projects", &maker, b"").await;
    all.fails(unauthorized.0, unauthorized.1, unauthorized.2);
    let made = api.call("POST", "/v1/projects/R", &maker, b"{}").await;
    made.fails(unauthorized.0, unauthorized.1, unauthorized.2);
}

#[actix_web::test]
async fn a_token_stands_in_the_header_or_the_query_as_the_settings_say() {
    let request = |header: &str, key: &str| {
        let request = TestRequest::get().uri(&format!("/v1/projects?key={key}"));
        if header.is_empty() { request } else { request.insert_header(("X-API-Key", header)) }
    };
    for (auth_option, [header, key, header_and_wrong_key, wrong_header_and_key]) in [
        (AuthOption::Both, [200, 200, 200, 401]),
        (AuthOption::Header, [200, 401, 200, 401]),
        (AuthOption::Key, [401, 200, 401, 200]),
    ] {
        let api = Api::with(Settings { auth_option, ..Settings::default() }).await;
        let good = api.admin.as_str();
        let status = |h, k| {
            let sent = api.send(request(h, k));
            async { sent.await.status }
        };
        assert_eq!(status(good, "").await, header);
        assert_eq!(status("", good).await, key);
        assert_eq!(status(good, "wrong").await, header_and_wrong_key);
        assert_eq!(status("wrong", good).await, wrong_header_and_key);
        assert_eq!(status("", "").await, 401);
    }
}

#[actix_web::test]
async fn double_slashes_and_dots_are_followed_without_a_redirect() {
    let World { api, .. } = World::new().await;
    let plain = api.get("/v1/projects/P/topics/t").await.ok();
    for path in [
        "//v1///projects/P//topics/t",
        "/v1/./projects/Q/../P/topics/t",
        "/v1/projects%2FP%2Ftopics/t",
        "/v1/projects/P/topics/%74",
    ] {
        api.get(path).await.is(&plain);
    }
    let published = api.post("/v1//projects/P/topics/t:publish", r#"{"messages": [{}]}"#).await;
    published.is("{\n   \"messageIds\": [\n      \"0\"\n   ]\n}");
}

#[actix_web::test]
async fn status_and_version_are_open() {
    let World { api, owner, .. } = World::with(Settings {
        proxy_hostname: String::from("ams.example.org"),
        ..Settings::default()
    })
    .await;
    let status = "{\n \"status\": \"ok\",\n \"push_functionality\": \"disabled\"\n}";
    api.call("GET", "/v1/status", "", b"").await.is(status);
    api.call("GET", "/v1/status?details=TRUE", "", b"").await.is(status);
    api.get("/v1/status?details=true").await.is(status);
    let viewer = api.post("/v1/users/viewer", r#"{"service_roles": ["admin_viewer"]}"#).await.ok();
    let viewer = crate::api::field(&viewer, "token");
    api.call("GET", "/v1/status?details=true", &viewer, b"").await.is(status);
    let details = |token| api.call("GET", "/v1/status?details=true", token, b"");
    let forbidden = "Access to this resource is forbidden";
    details("").await.fails(403, "FORBIDDEN", forbidden);
    details("unknown").await.fails(403, "FORBIDDEN", forbidden);
    details(&owner).await.fails(401, "UNAUTHORIZED", "Unauthorized");

    let keys = |body: String| -> Vec<String> {
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        body.as_object().unwrap().keys().cloned().collect()
    };
    let open = ["build_time", "golang", "compiler", "os", "architecture", "hostname"];
    let version = api.call("GET", "/v1/version", "unknown", b"").await.ok();
    assert!(version.starts_with("{\n \"build_time\": \""), "{version}");
    assert_eq!(keys(version), open);
    for token in [&api.admin, &viewer] {
        let version = keys(api.call("GET", "/v1/version", token, b"").await.ok());
        assert_eq!(version, [&open[..5], &["release", "hostname"]].concat());
    }
    assert_eq!(keys(api.call("GET", "/v1/version", &owner, b"").await.ok()), open);
}

#[actix_web::test]
async fn any_origin_may_read_any_answer() {
    let api = Api::new().await;
    let from_page =
        |path: &str| TestRequest::get().uri(path).insert_header(("Origin", "https://x"));
    let allowed = "access-control-allow-origin";
    assert_eq!(api.send(from_page("/v1/status")).await.header(allowed), "*");
    assert_eq!(api.send(from_page("/nothing")).await.header(allowed), "*");
    assert_eq!(api.send(from_page("/v1/projects")).await.header(allowed), "*");
    assert_eq!(api.call("GET", "/v1/status", "", b"").await.header(allowed), "");
}

#[actix_web::test]
async fn browsers_are_told_what_they_may_send() {
    let api = Api::new().await;
    let ask = |headers: &[(&str, &str)]| {
        let request = TestRequest::default().method(Method::OPTIONS).uri("/v1/projects/P");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.insert_header((name.to_string(), value.to_string()))
        });
        let sent = api.send(request);
        async {
            let seen = sent.await;
            assert_eq!(seen.body, "");
            let header =
                |name: &str| seen.header(&format!("access-control-allow-{name}")).to_owned();
            (seen.status, [header("origin"), header("headers"), header("methods")])
        }
    };
    let none = ["", "", ""].map(String::from);
    let (origin, method) = (("Origin", "https://x"), "Access-Control-Request-Method");
    let wanted = "Access-Control-Request-Headers";
    assert_eq!(ask(&[]).await, (200, none.clone()));
    assert_eq!(ask(&[origin]).await, (400, none.clone()));
    assert_eq!(ask(&[origin, (method, "PATCH")]).await, (405, none.clone()));
    assert_eq!(ask(&[origin, (method, "GET"), (wanted, "X-Other")]).await, (403, none));
    assert_eq!(
        ask(&[origin, (method, "PUT"), (wanted, "x-api-key, accept,content-type")]).await,
        (200, ["*", "X-Api-Key,Content-Type", "PUT"].map(String::from))
    );
    assert_eq!(ask(&[origin, (method, "POST")]).await, (200, ["*", "", ""].map(String::from)));
}

#[actix_web::test]
async fn a_draining_broker_asks_to_come_again() {
    let api = Api::new().await;
    api.broker.drain();
    let seen = api.get("/v1/projects").await;
    seen.fails(503, "UNAVAILABLE", "Service is temporarily unavailable");
    assert_eq!(seen.header("retry-after"), "1");
    api.get("/v1/status").await.ok();
}
