//! Schemas that are of no use to whoever made them: what only an earlier version, or a hand in the
//! store, can have left.

use broker::domain::Time;
use broker::store::{By, Catalog as _, Change, Outcome, Scope};

use crate::api::Api;

const TOPIC: &str = "/v1/projects/P/topics/t";
const SCHEMA: &str = "/v1/projects/P/schemas/s";
const MESSAGE: &str = r#"{"messages": [{"data": "e30="}]}"#;

/// A topic `t` with a schema `s`.
async fn furnished() -> Api {
    let api = Api::new().await;
    api.post("/v1/projects/P", "{}").await.ok();
    api.post(SCHEMA, r#"{"type": "json", "schema": {"type": "object"}}"#).await.ok();
    api.put(TOPIC, r#"{"schema": "projects/P/schemas/s"}"#).await.ok();
    api.post(&format!("{TOPIC}:publish"), MESSAGE).await.ok();
    api
}

/// Changes what is stored behind the broker's back, which learns of it with its next own change:
/// `edit` answers what becomes of the schema's record.
async fn tamper(api: &Api, edit: impl Fn(&str) -> Option<String>) {
    let scopes = api.store.scopes().await.unwrap();
    let scope = *scopes.iter().find(|scope| matches!(scope, Scope::Project(_))).unwrap();
    let state = api.store.load_scope(scope).await.unwrap();
    let (key, record) =
        state.objects.iter().find(|(key, _)| key.starts_with("schema/")).unwrap().clone();
    let change = match edit(std::str::from_utf8(&record).unwrap()) {
        Some(text) => Change::Put(key, text.into()),
        None => Change::Delete(key),
    };
    let by = By { user: None, verb: "test".into(), time: Time(1), address: String::new() };
    let written = api.store.commit_scope(scope, state.version, vec![change], by).await.unwrap();
    assert!(matches!(written, Outcome::Applied(_)));
    api.put("/v1/projects/P/topics/other", "").await.ok();
}

#[actix_web::test]
async fn a_stored_schema_that_does_not_compile_lets_no_message_pass_until_it_is_replaced() {
    let api = furnished().await;
    tamper(&api, |record| {
        let broken = record.replace(r#"\"object\""#, r#"\"unknown\""#);
        assert_ne!(broken, record);
        Some(broken)
    })
    .await;
    let unusable = |seen: crate::api::Seen| {
        seen.fails(500, "INTERNAL_SERVER_ERROR", "Could not load schema for topic");
    };
    unusable(api.post(&format!("{TOPIC}:publish"), MESSAGE).await);
    unusable(api.post(&format!("{SCHEMA}:validate"), "{}").await);
    // It is shown all the same, so that it can be mended.
    assert!(api.get(SCHEMA).await.ok().contains(r#""unknown""#));
    assert!(api.get(TOPIC).await.ok().contains("/schemas/s"));
    api.put(SCHEMA, r#"{"schema": {"type": "object"}}"#).await.ok();
    let published = api.post(&format!("{TOPIC}:publish"), MESSAGE).await.ok();
    assert!(published.contains(r#""1""#), "the refused one took no offset: {published}");
}

#[actix_web::test]
async fn a_topic_whose_schema_is_gone_shows_none_and_takes_any_message() {
    let api = furnished().await;
    tamper(&api, |_| None).await;
    api.get(SCHEMA).await.fails(404, "NOT_FOUND", "Schema doesn't exist");
    assert!(!api.get(TOPIC).await.ok().contains("schema"));
    let any = r#"{"messages": [{"data": "MQ=="}]}"#;
    api.post(&format!("{TOPIC}:publish"), any).await.ok();
}
