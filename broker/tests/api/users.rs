//! Users and members: exact bytes, errors in order.

use crate::api::{Api, World, field, masked};

#[actix_web::test]
async fn a_user_is_made_with_everything_and_sees_itself() {
    let World { api, .. } = World::new().await;
    let body = r#"{"email": "u@example.org", "first_name": "F", "last_name": "L",
        "organization": "O", "description": "D", "service_roles": ["push_worker"], "uuid": "mine",
        "projects": [null, {"project": ""}, {"project": "P", "roles": ["consumer", "publisher"],
            "topics": ["x"]}]}"#;
    let made = api.post("/v1/users/new", body).await.ok();
    let lines = [
        "{",
        r#"   "uuid": "UUID","#,
        r#"   "projects": ["#,
        r#"      {"#,
        r#"         "project": "P","#,
        r#"         "roles": ["#,
        r#"            "consumer","#,
        r#"            "publisher""#,
        r#"         ],"#,
        r#"         "topics": [],"#,
        r#"         "subscriptions": []"#,
        r#"      }"#,
        r#"   ],"#,
        r#"   "name": "new","#,
        r#"   "first_name": "F","#,
        r#"   "last_name": "L","#,
        r#"   "organization": "O","#,
        r#"   "description": "D","#,
        r#"   "token": "TOKEN","#,
        r#"   "email": "u@example.org","#,
        r#"   "service_roles": ["#,
        r#"      "push_worker""#,
        r#"   ],"#,
        r#"   "created_on": "2020-11-19T00:00:00Z","#,
        r#"   "modified_on": "2020-11-19T00:00:00Z","#,
        r#"   "created_by": "admin""#,
        "}",
    ];
    assert_eq!(masked(&made), lines.join("\n"));
    let token = field(&made, "token");
    api.call("GET", "/v1/users/profile", &token, b"").await.is(&made);
    let by_key = api.call("GET", &format!("/v1/users/profile?key={token}"), "", b"").await;
    by_key.is(&made);
}

#[actix_web::test]
async fn a_user_with_nothing_has_no_projects_key_and_empty_roles() {
    let api = Api::new().await;
    let made = api.post("/v1/users/bare", "{}").await.ok();
    let lines = [
        "{",
        r#"   "uuid": "UUID","#,
        r#"   "name": "bare","#,
        r#"   "token": "TOKEN","#,
        r#"   "email": "","#,
        r#"   "service_roles": [],"#,
        r#"   "created_on": "2020-11-19T00:00:00Z","#,
        r#"   "modified_on": "2020-11-19T00:00:00Z","#,
        r#"   "created_by": "admin""#,
        "}",
    ];
    assert_eq!(masked(&made), lines.join("\n"));
}

#[actix_web::test]
async fn a_profile_needs_its_own_token_and_shows_the_acls() {
    let World { api, maker, eater, .. } = World::new().await;
    let profile = |token| api.call("GET", "/v1/users/profile", token, b"");
    profile("").await.fails(401, "UNAUTHORIZED", "Unauthorized");
    profile("unknown").await.fails(401, "UNAUTHORIZED", "Unauthorized");
    let topics = "\"topics\": [\n            \"t\"\n         ],\n         \"subscriptions\": []";
    assert!(profile(&maker).await.ok().contains(topics));
    let subs = "\"topics\": [],\n         \"subscriptions\": [\n            \"s\"\n         ]";
    assert!(profile(&eater).await.ok().contains(subs));
}

#[actix_web::test]
async fn creating_a_user_checks_body_name_projects_and_roles() {
    let World { api, .. } = World::new().await;
    let create = |body| api.post("/v1/users/maker", body);
    for bad in [
        "",
        "[]",
        r#"{"email": 1}"#,
        r#"{"projects": {}}"#,
        r#"{"projects": [1]}"#,
        r#"{"projects": [{"project": "P", "roles": "x"}]}"#,
        r#"{"service_roles": [1]}"#,
        r#"{"token": 5}"#,
    ] {
        create(bad).await.invalid("Invalid User Arguments");
    }
    create("{}").await.fails(409, "ALREADY_EXISTS", "User already exists");
    let create = |projects: &str, roles: &str| {
        let body = format!(r#"{{"projects": [{projects}], "service_roles": [{roles}]}}"#);
        let api = &api;
        async move { api.post("/v1/users/other", &body).await }
    };
    let p = r#"{"project": "P", "roles": []}"#;
    let twice = create(&format!("{p}, {p}"), "").await;
    twice.invalid("duplicate reference of project P");
    create(r#"{"project": "NO"}"#, "").await.invalid("invalid project: NO");
    let role = create(r#"{"project": "P", "roles": ["service_admin"]}"#, "").await;
    role.invalid("invalid role: service_admin");
    create("", r#""publisher""#).await.invalid("invalid role: publisher");
    create(p, r#""service_admin""#).await.ok();
}

#[actix_web::test]
async fn a_member_joins_with_the_roles_of_this_project_only() {
    let World { api, owner, .. } = World::new().await;
    let body = r#"{"email": "m@example.org", "first_name": "F", "service_roles": ["service_admin"],
        "projects": [{"project": "Q", "roles": ["x"]}, {"project": "P", "roles": ["publisher"]}]}"#;
    let made = api.call("POST", "/v1/projects/P/members/m", &owner, body.as_bytes()).await.ok();
    let lines = [
        "{",
        r#"   "uuid": "UUID","#,
        r#"   "projects": ["#,
        r#"      {"#,
        r#"         "project": "P","#,
        r#"         "roles": ["#,
        r#"            "publisher""#,
        r#"         ],"#,
        r#"         "topics": [],"#,
        r#"         "subscriptions": []"#,
        r#"      }"#,
        r#"   ],"#,
        r#"   "name": "m","#,
        r#"   "token": "TOKEN","#,
        r#"   "email": "m@example.org","#,
        r#"   "service_roles": [],"#,
        r#"   "created_on": "2020-11-19T00:00:00Z","#,
        r#"   "modified_on": "2020-11-19T00:00:00Z","#,
        r#"   "created_by": "owner""#,
        "}",
    ];
    assert_eq!(masked(&made), lines.join("\n"));
    let create = |body| api.post("/v1/projects/P/members/m", body);
    create("").await.invalid("Invalid User Arguments");
    let role = r#"{"projects": [{"project": "P", "roles": ["boss"]}]}"#;
    for body in ["{}", role] {
        create(body).await.fails(409, "ALREADY_EXISTS", "User already exists");
    }
    api.post("/v1/projects/P/members/n", role).await.invalid("invalid role: boss");
    let bare = api.post("/v1/projects/P/members/n", "{}").await.ok();
    assert!(bare.contains("\"project\": \"P\",\n         \"roles\": [],"), "{bare}");
}

#[actix_web::test]
async fn adding_a_member_looks_for_the_user_before_it_reads() {
    let World { api, owner, .. } = World::new().await;
    let path = "/v1/projects/P/members/free:add";
    api.post(path, "{").await.fails(404, "NOT_FOUND", "User doesn't exist");
    api.post("/v1/users/free", r#"{"email": "f@example.org"}"#).await.ok();
    api.post(path, "").await.fails(400, "BAD_REQUEST", "Invalid Request Body");
    api.post(path, r#"{"roles": "x"}"#).await.fails(400, "BAD_REQUEST", "Invalid Request Body");
    api.post(path, r#"{"roles": ["boss"]}"#).await.invalid("invalid role: boss");
    // A project admin sees neither token nor service roles nor who made the user.
    let added = api.call("POST", path, &owner, br#"{"roles": ["consumer"]}"#).await.ok();
    let uuid = field(&added, "uuid");
    let lines = [
        "{",
        r#"   "uuid": "UUID","#,
        r#"   "projects": ["#,
        r#"      {"#,
        r#"         "project": "P","#,
        r#"         "roles": ["#,
        r#"            "consumer""#,
        r#"         ],"#,
        r#"         "topics": [],"#,
        r#"         "subscriptions": []"#,
        r#"      }"#,
        r#"   ],"#,
        r#"   "name": "free","#,
        r#"   "email": "f@example.org","#,
        r#"   "service_roles": [],"#,
        r#"   "created_on": "2020-11-19T00:00:00Z","#,
        r#"   "modified_on": "2020-11-19T00:00:00Z""#,
        "}",
    ];
    assert_eq!(added.replace(&uuid, "UUID"), lines.join("\n"));
    let again = api.post(path, r#"{"roles": ["boss"]}"#).await;
    again.fails(409, "CONFLICT", "User is already a member of the project");
}
