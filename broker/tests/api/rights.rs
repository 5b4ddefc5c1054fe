//! Who may not: each answer is exact, and whatever was asked, nothing changes.

use crate::api::{Api, World, field};

/// Every route that changes something, with a body that its owner's token would make succeed.
const CHANGES: [(&str, &str, &str); 25] = [
    ("POST", "users/u", "{}"),
    ("PUT", "users/maker", r#"{"email": "other@example.org"}"#),
    ("POST", "users/maker:refreshToken", ""),
    ("DELETE", "users/maker", ""),
    ("POST", "projects/N", "{}"),
    ("PUT", "projects/P", r#"{"name": "N"}"#),
    ("DELETE", "projects/P", ""),
    ("POST", "projects/P:modifyAlert", r#"{"alert": {"stallAfter": "1h"}}"#),
    ("POST", "projects/P/members/m", "{}"),
    ("POST", "projects/P/members/admin:add", r#"{"roles": ["consumer"]}"#),
    ("POST", "projects/P/members/maker:remove", ""),
    ("PUT", "projects/P/members/maker", r#"{"projects": [{"project": "P", "roles": []}]}"#),
    ("PUT", "projects/P/topics/n", ""),
    ("DELETE", "projects/P/topics/t", ""),
    ("POST", "projects/P/topics/t:publish", r#"{"messages": [{}]}"#),
    ("POST", "projects/P/topics/t:modifyAcl", r#"{"authorized_users": []}"#),
    ("POST", "projects/P/topics/t:modifyAlert", r#"{"alert": {"stallAfter": "1h"}}"#),
    ("PUT", "projects/P/subscriptions/n", r#"{"topic": "projects/P/topics/t"}"#),
    ("DELETE", "projects/P/subscriptions/s", ""),
    ("POST", "projects/P/subscriptions/s:pull", "{}"),
    (
        "POST",
        "projects/P/subscriptions/s:acknowledge",
        r#"{"ackIds": ["projects/P/subscriptions/s:0"]}"#,
    ),
    ("POST", "projects/P/subscriptions/s:modifyAckDeadline", r#"{"ackDeadlineSeconds": 99}"#),
    ("POST", "projects/P/subscriptions/s:modifyOffset", r#"{"offset": 1}"#),
    ("POST", "projects/P/subscriptions/s:modifyAcl", r#"{"authorized_users": []}"#),
    ("POST", "projects/P/subscriptions/s:modifyAlert", r#"{"alert": {"stallAfter": "1h"}}"#),
];

/// The admin of another project.
async fn stranger(api: &Api) -> String {
    api.post("/v1/projects/Q", "{}").await.ok();
    let body = r#"{"projects": [{"project": "Q", "roles": ["project_admin"]}]}"#;
    field(&api.post("/v1/projects/Q/members/stranger", body).await.ok(), "token")
}

#[actix_web::test]
async fn nobody_without_rights_changes_anything() {
    let world = World::new().await;
    world.publish(3).await;
    world.pull(3).await;
    let World { api, .. } = &world;
    let stranger = stranger(api).await;
    let viewer = r#"{"service_roles": ["metrics_viewer", "admin_viewer", "register_admin"]}"#;
    let viewer = field(&api.post("/v1/users/viewer", viewer).await.ok(), "token");
    let before = api.contents().await;
    for (method, path, body) in CHANGES {
        let path = format!("/v1/{path}");
        let unknown = "0".repeat(64);
        let prefix = api.admin.get(..63).unwrap();
        for token in ["", unknown.as_str(), prefix, "\"", "admin", stranger.as_str()] {
            let seen = api.call(method, &path, token, body.as_bytes()).await;
            seen.fails(401, "UNAUTHORIZED", "Unauthorized");
        }
        let seen = api.call(method, &path, &viewer, body.as_bytes()).await;
        seen.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
    }
    assert_eq!(api.contents().await, before);
}

#[actix_web::test]
async fn what_is_not_there_or_has_no_lawful_name_changes_nothing() {
    let world = World::new().await;
    world.publish(3).await;
    world.pull(3).await;
    let api = &world.api;
    let before = api.contents().await;
    for (method, path, body) in CHANGES {
        let send = |path: String, body: String| async move {
            api.call(method, &path, &api.admin, body.as_bytes()).await
        };
        if let Some(rest) = path.strip_prefix("projects/P") {
            let seen = send(format!("/v1/projects/X{rest}"), body.into()).await;
            seen.fails(404, "NOT_FOUND", "project doesn't exist");
            let seen = send(format!("/v1/projects/P.{rest}"), body.into()).await;
            seen.invalid("Invalid project name");
        }
        for (known, unknown, message) in [
            ("/topics/t", "/topics/x", "Topic doesn't exist"),
            ("/subscriptions/s", "/subscriptions/x", "Subscription doesn't exist"),
            ("/members/admin:", "/members/x:", "User doesn't exist"),
            ("users/maker", "users/x", "User doesn't exist"),
            ("/members/maker", "/members/x", "User doesn't exist"),
        ] {
            if path.contains(known) {
                let path = format!("/v1/{}", path.replace(known, unknown));
                let seen = send(path, body.replace(known, unknown)).await;
                seen.fails(404, "NOT_FOUND", message);
            }
        }
    }
    assert_eq!(api.contents().await, before);
}

#[actix_web::test]
async fn each_of_these_changes_something_for_whom_it_is_allowed() {
    for (method, path, body) in CHANGES {
        let world = World::new().await;
        world.publish(3).await;
        world.pull(3).await;
        let before = world.api.contents().await;
        world
            .api
            .call(method, &format!("/v1/{path}"), &world.api.admin, body.as_bytes())
            .await
            .ok();
        assert_ne!(world.api.contents().await, before, "{method} {path}");
    }
}

#[actix_web::test]
async fn a_consumer_that_the_acl_does_not_name_may_do_all_but_pull() {
    // O19: the ACL guards publish and pull alone.
    let world = World::new().await;
    let World { api, eater, .. } = &world;
    world.publish(3).await;
    world.pull(2).await;
    api.post("/v1/projects/P/subscriptions/s:modifyAcl", r#"{"authorized_users": []}"#).await.ok();
    let call = |method, verb: &str, body: &'static str| {
        let path = format!("/v1/projects/P/subscriptions/s{verb}");
        async move { api.call(method, &path, eater, body.as_bytes()).await }
    };
    let denied = call("POST", ":pull", "{}").await;
    denied.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
    let ids = r#"{"ackIds": ["projects/P/subscriptions/s:0"]}"#;
    call("POST", ":acknowledge", ids).await.is("{}");
    let offsets = "{\n   \"max\": 3,\n   \"min\": 0,\n   \"current\": 1\n}";
    call("GET", ":offsets", "").await.is(offsets);
    call("GET", ":timeToOffset?time=2020-01-01T00:00:00.000Z", "").await.is(r#"{"offset":0}"#);
    call("POST", ":modifyOffset", r#"{"offset": 3}"#).await.is("");
    call("POST", ":modifyAckDeadline", r#"{"ackDeadlineSeconds": 5}"#).await.is("");
    assert!(call("GET", "", "").await.ok().contains("\"ackDeadlineSeconds\": 5,"));
    let acl = call("GET", ":acl", "").await;
    acl.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
    let list = api.call("GET", "/v1/projects/P/subscriptions", eater, b"").await.ok();
    assert!(list.ends_with("\"totalSize\": 0\n}"), "{list}");
}
