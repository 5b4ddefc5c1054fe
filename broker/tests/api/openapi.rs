//! The OpenAPI document as it is served.

use broker::http::Settings;
use serde_json::Value;

use crate::api::Api;

#[actix_web::test]
async fn the_document_is_served_without_a_token_and_tells_what_is_in_force() {
    let settings = Settings { messages_per_request: 7, ..Settings::default() };
    let api = Api::with(settings).await;
    let seen = api.call("GET", "/openapi.json", "", b"").await;
    assert_eq!(seen.status, 200);
    let document: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(seen.body.contains("Too many messages: N, the limit is 7"), "the limit in force");
    let publish = &document["paths"]["/v1/projects/{project}/topics/{topic}:publish"]["post"];
    let roles = serde_json::json!(["project_admin", "publisher", "service_admin"]);
    assert_eq!(publish["x-ams-roles"], roles);
    assert_eq!(publish["operationId"], "topicsPublish");
    // Made once: the same bytes again.
    assert_eq!(api.call("GET", "/openapi.json", "any", b"").await.body, seen.body);
    api.call("POST", "/openapi.json", "", b"").await.fails(404, "NOT_FOUND", "404 page not found");
}
