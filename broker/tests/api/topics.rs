//! Topics: exact bytes, errors in order.

use crate::api::{Api, World};

const TOPIC: &str =
    "{\n   \"name\": \"/projects/P/topics/t\",\n   \"created_on\": \"2020-11-19T00:00:00Z\"\n}";

#[actix_web::test]
async fn a_topic_is_made_shown_and_deleted() {
    let api = Api::new().await;
    api.post("/v1/projects/P", "{}").await.ok();
    let path = "/v1/projects/P/topics/t";
    api.get(path).await.fails(404, "NOT_FOUND", "Topic doesn't exist");
    api.put(path, "").await.is(TOPIC);
    api.get(path).await.is(TOPIC);
    api.delete(path).await.is("");
    api.delete(path).await.fails(404, "NOT_FOUND", "Topic doesn't exist");
    for body in ["{}", "null", r#"{"anything": "text", "schema": null}"#, r#"{"schema": ""}"#] {
        api.put(path, body).await.is(TOPIC);
        api.delete(path).await.is("");
    }
}

#[actix_web::test]
async fn creating_checks_body_schema_and_name() {
    let World { api, .. } = World::new().await;
    let create = |body| api.put("/v1/projects/P/topics/t", body);
    for bad in [" ", "[]", "{", r#"{"x": 1}"#, r#"{"x": {}}"#, r#"{"schema": []}"#, "{}x"] {
        create(bad).await.fails(400, "BAD_REQUEST", "Invalid Request Body");
    }
    let declaration = "wrong schema name declaration";
    create(r#"{"schema": "s"}"#).await.invalid(declaration);
    create(r#"{"schema": "/projects/P/schemas/s"}"#).await.invalid(declaration);
    create(r#"{"schema": "projects/P/schema/s"}"#).await.invalid(declaration);
    let missing = create(r#"{"schema": "projects/P/schemas/s"}"#).await;
    missing.fails(404, "NOT_FOUND", "Schema doesn't exist");
    create("").await.fails(409, "ALREADY_EXISTS", "Topic already exists");
}

#[actix_web::test]
async fn topics_are_listed_newest_first_in_pages() {
    let api = Api::new().await;
    api.post("/v1/projects/P", "{}").await.ok();
    let empty = "{\n   \"topics\": [],\n   \"nextPageToken\": \"\",\n   \"totalSize\": 0\n}";
    api.get("/v1/projects/P/topics").await.is(empty);
    for name in ["a", "b", "c"] {
        api.put(&format!("/v1/projects/P/topics/{name}"), "").await.ok();
    }
    let page = |names: &[&str], next: &str| {
        let topics: Vec<_> = names
            .iter()
            .map(|name| {
                format!(
                    "      {{\n         \"name\": \"/projects/P/topics/{name}\",\n         \
                     \"created_on\": \"2020-11-19T00:00:00Z\"\n      }}"
                )
            })
            .collect();
        format!(
            "{{\n   \"topics\": [\n{}\n   ],\n   \"nextPageToken\": \"{next}\",\n   \"totalSize\": 3\n}}",
            topics.join(",\n")
        )
    };
    for all in ["", "?pageSize=0", "?pageSize=-1", "?pageSize=3", "?pageSize=", "?pageToken="] {
        api.get(&format!("/v1/projects/P/topics{all}")).await.is(&page(&["c", "b", "a"], ""));
    }
    let first = api.get("/v1/projects/P/topics?pageSize=2").await.ok();
    let next = crate::api::field(&first, "nextPageToken");
    assert_eq!(first, page(&["c", "b"], &next));
    for param in ["pageToken", "nextPageToken"] {
        let path = format!("/v1/projects/P/topics?pageSize=2&{param}={next}");
        api.get(&path).await.is(&page(&["a"], ""));
    }
    for size in ["x", "1.5", "9223372036854775808"] {
        let path = format!("/v1/projects/P/topics?pageToken=%21&pageSize={size}");
        api.get(&path).await.invalid("Invalid page size");
    }
    for token in ["%21", "eA==", "LTE=", "MQ"] {
        let path = format!("/v1/projects/P/topics?pageToken={token}");
        api.get(&path).await.invalid("Invalid page token");
    }
}

#[actix_web::test]
async fn a_publisher_is_shown_the_topics_that_name_it() {
    let World { api, maker, owner, .. } = World::new().await;
    api.put("/v1/projects/P/topics/other", "").await.ok();
    let list = |token| api.call("GET", "/v1/projects/P/topics", token, b"");
    let own = list(&maker).await.ok();
    assert!(own.ends_with("\"totalSize\": 1\n}") && own.contains("topics/t\""), "{own}");
    assert!(list(&owner).await.ok().ends_with("\"totalSize\": 2\n}"));
}

#[actix_web::test]
async fn an_acl_is_replaced_and_shown() {
    let World { api, .. } = World::new().await;
    for (path, what) in
        [("/v1/projects/P/topics/t", "Topic"), ("/v1/projects/P/subscriptions/s", "Subscription")]
    {
        let (acl, modify) = (format!("{path}:acl"), format!("{path}:modifyAcl"));
        let two = "{\n   \"authorized_users\": [\n      \"eater\",\n      \"maker\"\n   ]\n}";
        api.post(&modify, r#"{"authorized_users": ["eater", "maker"]}"#).await.is("");
        api.get(&acl).await.is(two);
        let before = api.contents().await;
        for bad in ["", "{}", r#"{"authorized_users": null}"#, r#"{"authorized_users": "u"}"#] {
            api.post(&modify, bad).await.invalid(&format!("Invalid {what} ACL Arguments"));
        }
        let unknown = r#"{"authorized_users": ["x", "eater", "admin"]}"#;
        let seen = api.post(&modify, unknown).await;
        seen.fails(404, "NOT_FOUND", "User(s): x, admin do not exist");
        let missing = format!("{what} doesn't exist");
        let nowhere = format!("{path}-not");
        let seen = api.post(&format!("{nowhere}:modifyAcl"), unknown).await;
        seen.fails(404, "NOT_FOUND", "User(s): x, admin do not exist");
        let seen = api.post(&format!("{nowhere}:modifyAcl"), r#"{"authorized_users": []}"#).await;
        seen.fails(404, "NOT_FOUND", &missing);
        api.get(&format!("{nowhere}:acl")).await.fails(404, "NOT_FOUND", &missing);
        assert_eq!(api.contents().await, before);
        api.post(&modify, r#"{"AUTHORIZED_USERS": []}"#).await.is("");
        api.get(&acl).await.is("{\n   \"authorized_users\": []\n}");
    }
}

const KEPT: &str = "{\n   \"name\": \"/projects/P/topics/t\",\n   \"created_on\": \
     \"2020-11-19T00:00:00Z\",\n   \"retention\": \"3d\",\n   \"retentionBytes\": 1000000\n}";

#[actix_web::test]
async fn what_a_topic_keeps_is_shown_last_where_set_and_nowhere_else() {
    let World { api, maker, owner, .. } = World::new().await;
    let path = "/v1/projects/P/topics/t";
    let (verb, both) =
        (format!("{path}:modifyRetention"), r#"{"retention": "3d", "retentionBytes": 1000000}"#);
    api.get(path).await.is(TOPIC);
    api.call("POST", &verb, &owner, both.as_bytes()).await.is("");
    api.get(path).await.is(KEPT);
    let before = api.contents().await;
    let long =
        "Invalid retention(needs a duration such as 90s, 15m or 7d, at most 30days) Arguments";
    for bad in [
        "",
        "[]",
        "{} x",
        r#"{"retention": ""}"#,
        r#"{"retention": "3"}"#,
        r#"{"retention": "0s"}"#,
        r#"{"retention": "-1d"}"#,
        r#"{"retention": "31d"}"#,
        r#"{"retention": 3}"#,
        r#"{"retention": ["3d"]}"#,
        r#"{"retention": {"age": "3d"}}"#,
    ] {
        api.post(&verb, bad).await.invalid(long);
    }
    let bytes = "Invalid retentionBytes(needs a whole number of bytes, at least 1) Arguments";
    for bad in ["0", "-1", "1.5", "1e3", r#""1000""#, "true", "[1]", "{}", "18446744073709551616"] {
        api.post(&verb, &format!(r#"{{"retentionBytes": {bad}}}"#)).await.invalid(bytes);
    }
    let denied = api.call("POST", &verb, &maker, both.as_bytes()).await;
    denied.fails(403, "FORBIDDEN", "Access to this resource is forbidden");
    let missing = api.post("/v1/projects/P/topics/no:modifyRetention", both).await;
    missing.fails(404, "NOT_FOUND", "Topic doesn't exist");
    assert_eq!(api.contents().await, before);
    // It replaces both; an empty one removes, and the answer is that of AMS again.
    api.post(&verb, r#"{"retention": "30d"}"#).await.is("");
    api.get(path).await.is(&TOPIC.replace("Z\"\n}", "Z\",\n   \"retention\": \"30d\"\n}"));
    for empty in ["{}", r#"{"retention": null, "retentionBytes": null}"#, "null"] {
        api.post(&verb, both).await.is("");
        api.post(&verb, empty).await.is("");
        api.get(path).await.is(TOPIC);
    }
}

#[actix_web::test]
async fn what_a_topic_keeps_may_be_given_at_creation() {
    let api = Api::new().await;
    api.post("/v1/projects/P", "{}").await.ok();
    let path = "/v1/projects/P/topics/t";
    let long =
        "Invalid retention(needs a duration such as 90s, 15m or 7d, at most 30days) Arguments";
    api.put(path, r#"{"retention": "1y"}"#).await.invalid(long);
    api.put(path, r#"{"retention": 7}"#).await.invalid(long);
    let both = r#"{"other": "text", "retention": "3d", "retentionBytes": 1000000}"#;
    api.put(path, both).await.is(KEPT);
    api.get(path).await.is(KEPT);
}
