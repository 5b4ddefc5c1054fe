//! Projects: exact bytes, errors in order.

use std::time::Duration;

use crate::api::{Api, World};

#[actix_web::test]
async fn a_project_is_made_shown_listed_renamed_and_deleted() {
    let api = Api::new().await;
    api.get("/v1/projects").await.is("{}");
    let made = api.post("/v1/projects/ARGO", r#"{"description": "a <b> & \"c\""}"#).await.ok();
    let lines = [
        "{",
        r#"   "name": "ARGO","#,
        r#"   "created_on": "2020-11-19T00:00:00Z","#,
        r#"   "modified_on": "2020-11-19T00:00:00Z","#,
        r#"   "created_by": "admin","#,
        r#"   "description": "a \u003cb\u003e \u0026 \"c\"""#,
        "}",
    ];
    assert_eq!(made, lines.join("\n"));
    api.get("/v1/projects/ARGO").await.is(&made);
    api.post("/v1/projects/EMPTY", "{}").await.ok();
    let list = [
        "{",
        r#"   "projects": ["#,
        "      {",
        r#"         "name": "ARGO","#,
        r#"         "created_on": "2020-11-19T00:00:00Z","#,
        r#"         "modified_on": "2020-11-19T00:00:00Z","#,
        r#"         "created_by": "admin","#,
        r#"         "description": "a \u003cb\u003e \u0026 \"c\"""#,
        "      },",
        "      {",
        r#"         "name": "EMPTY","#,
        r#"         "created_on": "2020-11-19T00:00:00Z","#,
        r#"         "modified_on": "2020-11-19T00:00:00Z","#,
        r#"         "created_by": "admin""#,
        "      }",
        "   ]",
        "}",
    ];
    api.get("/v1/projects").await.is(&list.join("\n"));

    api.clock.advance(Duration::from_millis(61_999));
    let renamed = made.replace("\"ARGO\"", "\"NEW\"").replace(
        "\"modified_on\": \"2020-11-19T00:00:00Z\"",
        "\"modified_on\": \"2020-11-19T00:01:01Z\"",
    );
    api.put("/v1/projects/ARGO", r#"{"name": "NEW", "description": ""}"#).await.is(&renamed);
    api.get("/v1/projects/NEW").await.is(&renamed);
    api.get("/v1/projects/ARGO").await.fails(404, "NOT_FOUND", "project doesn't exist");
    api.delete("/v1/projects/NEW").await.is("");
    api.get("/v1/projects/NEW").await.fails(404, "NOT_FOUND", "project doesn't exist");
    api.delete("/v1/projects/NEW").await.fails(404, "NOT_FOUND", "project doesn't exist");
}

#[actix_web::test]
async fn creating_checks_the_body_then_the_name() {
    let World { api, owner, .. } = World::new().await;
    let create = |body| api.post("/v1/projects/P", body);
    for bad in ["", "[]", "{", r#"{"description": 1}"#, "{} {}", "\u{feff}{}", r#""x""#] {
        create(bad).await.invalid("Invalid Project Arguments");
    }
    create(r#"{"alert": 1}"#).await.invalid("Invalid Alert Arguments");
    create("{}").await.fails(409, "ALREADY_EXISTS", "Project already exists");
    create("null").await.fails(409, "ALREADY_EXISTS", "Project already exists");
    let seen = api.call("POST", "/v1/projects/P", &owner, b"{").await;
    seen.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
}

#[actix_web::test]
async fn updating_checks_the_body_then_the_new_name() {
    let World { api, .. } = World::new().await;
    api.post("/v1/projects/Q", "{}").await.ok();
    let update = |body| api.put("/v1/projects/P", body);
    update("").await.fails(400, "BAD_REQUEST", "Invalid Request Body");
    update(r#"{"name": 1}"#).await.fails(400, "BAD_REQUEST", "Invalid Request Body");
    update(r#"{"name": "no/name"}"#).await.invalid("Invalid project name");
    let taken = "invalid project name change, name already exists";
    update(r#"{"name": "Q"}"#).await.invalid(taken);
    update(r#"{"name": "P"}"#).await.ok();
    update("{}").await.ok();
}

#[actix_web::test]
async fn alert_settings_are_shown_last_where_set_and_nowhere_else() {
    let World { api, maker, .. } = World::new().await;
    let alert = r#"{"alert": {"severityCap": "warn", "contacts": ["a@example.org", "b@example.org"],
        "mutedUntil": "2030-01-01T00:00:00Z", "stallAfter": "90s"}}"#;
    let shown = [
        r#"   "alert": {"#,
        r#"      "stallAfter": "90s","#,
        r#"      "mutedUntil": "2030-01-01T00:00:00Z","#,
        r#"      "contacts": ["#,
        r#"         "a@example.org","#,
        r#"         "b@example.org""#,
        r#"      ],"#,
        r#"      "severityCap": "warn""#,
        "   }",
        "}",
    ]
    .join("\n");
    for path in ["/v1/projects/P", "/v1/projects/P/topics/t", "/v1/projects/P/subscriptions/s"] {
        let plain = api.get(path).await.ok();
        let verb = format!("{path}:modifyAlert");
        api.post(&verb, alert).await.is("");
        let with = format!("{},\n{shown}", plain.strip_suffix("\n}").unwrap());
        let seen = api.get(path).await.ok();
        let modified = |body: &str| body.replace("modified_on", "");
        assert_eq!(modified(&seen), modified(&with));
        let before = api.contents().await;
        for bad in [
            "",
            r#"{"alert": []}"#,
            r#"{"alert": "x"}"#,
            r#"{"alert": {"stallafer": "1s"}}"#,
            r#"{"alert": {"stallAfter": 90}}"#,
            r#"{"alert": {"stallAfter": "90"}}"#,
            r#"{"alert": {"stallAfter": "0s"}}"#,
            r#"{"alert": {"mutedUntil": "2030-01-01T00:00:00+01:00"}}"#,
            r#"{"alert": {"mutedUntil": "soon"}}"#,
            r#"{"alert": {"contacts": "a@example.org"}}"#,
            r#"{"alert": {"contacts": ["not an address"]}}"#,
            r#"{"alert": {"contacts": ["a@example.org", {"x": []}]}}"#,
            r#"{"alert": {"severityCap": "Warn"}}"#,
            r#"{"alert": {"severityCap": ["warn"]}}"#,
            r#"{"alert": {}} x"#,
            r#"{"stallAfter": "90s"}"#,
            r#"{"alrt": {"stallAfter": "90s"}}"#,
            r#"{"alert": {"stallAfter": "90s"}, "more": 1}"#,
        ] {
            api.post(&verb, bad).await.invalid("Invalid Alert Arguments");
        }
        let many = vec!["\"a@example.org\""; 21].join(",");
        let many = format!(r#"{{"alert": {{"contacts": [{many}]}}}}"#);
        api.post(&verb, &many).await.invalid("Invalid Alert Arguments");
        let denied = api.call("POST", &verb, &maker, b"{}").await;
        denied.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
        assert_eq!(api.contents().await, before);
        for empty in [r#"{"alert": {}}"#, "{}", r#"{"alert": null}"#] {
            api.post(&verb, alert).await.is("");
            assert_ne!(api.get(path).await.ok(), plain);
            api.post(&verb, empty).await.is("");
            let seen = api.get(path).await.ok();
            assert_eq!(modified(&seen), modified(&plain));
        }
    }
    let missing = api.post("/v1/projects/P/topics/no:modifyAlert", r#"{"alert": {}}"#).await;
    missing.fails(404, "NOT_FOUND", "Topic doesn't exist");
    let missing = api.post("/v1/projects/P/subscriptions/no:modifyAlert", r#"{"alert": {}}"#).await;
    missing.fails(404, "NOT_FOUND", "Subscription doesn't exist");
}

#[actix_web::test]
async fn alert_settings_may_be_given_at_creation() {
    let api = Api::new().await;
    let (plain, bad) = (r#""alert": {"stallAfter": "7d"}"#, r#""alert": {"stallAfter": true}"#);
    let shown = "   \"alert\": {\n      \"stallAfter\": \"7d\"\n   }\n}";
    let text = |more: &str, alert| format!("{{{more}{alert}}}");
    let (project, topic, sub) =
        ("/v1/projects/A", "/v1/projects/A/topics/t", "/v1/projects/A/subscriptions/s");
    api.post(project, &text("", bad)).await.invalid("Invalid Alert Arguments");
    assert!(api.post(project, &text("", plain)).await.ok().ends_with(shown));
    api.put(topic, &text("", bad)).await.invalid("Invalid Alert Arguments");
    assert!(api.put(topic, &text(r#""other": "text", "#, plain)).await.ok().ends_with(shown));
    let reference = r#""topic": "projects/A/topics/t", "#;
    api.put(sub, &text(reference, bad)).await.invalid("Invalid Alert Arguments");
    assert!(api.put(sub, &text(reference, plain)).await.ok().ends_with(shown));
    assert!(api.get(sub).await.ok().ends_with(shown));
    let list = api.get("/v1/projects/A/topics").await.ok();
    assert!(list.contains("\"stallAfter\": \"7d\""), "{list}");
}

#[actix_web::test]
async fn what_is_in_a_renamed_project_follows_but_for_old_ack_ids() {
    let world = World::new().await;
    let World { api, owner, maker, eater } = &world;
    world.publish(2).await;
    assert_eq!(world.pull(2).await, [0, 1]);
    let renamed = api.call("PUT", "/v1/projects/P", owner, br#"{"name": "NEW"}"#).await.ok();
    assert!(renamed.starts_with("{\n   \"name\": \"NEW\",\n"), "{renamed}");
    let missing = api.call("POST", "/v1/projects/P/topics/t:publish", maker, b"{}").await;
    missing.fails(404, "NOT_FOUND", "project doesn't exist");
    let topic = [
        "{",
        r#"   "name": "/projects/NEW/topics/t","#,
        r#"   "created_on": "2020-11-19T00:00:00Z""#,
        "}",
    ];
    api.call("GET", "/v1/projects/NEW/topics/t", maker, b"").await.is(&topic.join("\n"));
    let by_topic = api.call("GET", "/v1/projects/NEW/topics/t/subscriptions", owner, b"").await;
    by_topic.is(r#"{"subscriptions":["/projects/NEW/subscriptions/s"]}"#);
    let acl = api.call("GET", "/v1/projects/NEW/subscriptions/s:acl", owner, b"").await;
    acl.is("{\n   \"authorized_users\": [\n      \"eater\"\n   ]\n}");
    let ack = |project: &str| {
        let body = format!(r#"{{"ackIds": ["projects/{project}/subscriptions/s:0"]}}"#);
        let path = "/v1/projects/NEW/subscriptions/s:acknowledge";
        async move { api.call("POST", path, eater, body.as_bytes()).await }
    };
    ack("P").await.invalid("Invalid ack id");
    ack("NEW").await.is("{}");
    let pull = "/v1/projects/NEW/subscriptions/s:pull";
    let pulled = api.call("POST", pull, eater, b"{}").await.ok();
    assert!(pulled.contains(r#""ackId": "projects/NEW/subscriptions/s:1""#), "{pulled}");
    let published = api.call("POST", "/v1/projects/NEW/topics/t:publish", maker, b"{}").await;
    published.is("{\n   \"messageIds\": []\n}");
}

#[actix_web::test]
async fn a_new_project_of_an_old_name_inherits_nothing() {
    let world = World::new().await;
    let World { api, owner, eater, .. } = &world;
    world.publish(1).await;
    api.call("DELETE", "/v1/projects/P", owner, b"").await.is("");
    // What was made in it is gone, and so are the memberships (O37, improved).
    let profile = api.call("GET", "/v1/users/profile", eater, b"").await.ok();
    assert!(!profile.contains("projects"), "{profile}");
    api.post("/v1/projects/P", "{}").await.ok();
    let seen = api.call("GET", "/v1/projects/P/subscriptions", eater, b"").await;
    seen.fails(401, "UNAUTHORIZED", "Unauthorized");
    for list in ["topics", "subscriptions"] {
        let empty =
            format!("{{\n   \"{list}\": [],\n   \"nextPageToken\": \"\",\n   \"totalSize\": 0\n}}");
        api.get(&format!("/v1/projects/P/{list}")).await.is(&empty);
    }
    api.put("/v1/projects/P/topics/t", "").await.ok();
    let published = api.post("/v1/projects/P/topics/t:publish", r#"{"messages": [{}]}"#).await;
    published.is("{\n   \"messageIds\": [\n      \"0\"\n   ]\n}");
}
