//! A project admin does what comes to mind, with every token it can get hold of: it never becomes
//! anybody in the service, never sees a token that was another's, never touches another project
//! (`reliability.md` T7).

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::api::{Api, field};

const PROJECTS: [&str; 4] = ["P", "Q", "new", "P"];
const USERS: [&str; 7] = ["admin", "owner", "member", "stranger", "made1", "made2", "made3"];
const ROLES: [&str; 9] = [
    "project_admin",
    "publisher",
    "consumer",
    "service_admin",
    "push_worker",
    "metrics_viewer",
    "argo_api_authn",
    "register_admin",
    "_admin_",
];
const STEPS: usize = 300;

/// What is tried; `{p}` `{u}` `{r}` `{id}` are drawn anew at each place.
const TRIES: [(&str, &str, &str); 43] = [
    ("GET", "users", ""),
    ("GET", "users/{u}", ""),
    ("GET", "users/profile", ""),
    ("GET", "users:byUUID/{id}", ""),
    ("GET", "users:byToken/{id}", ""),
    ("POST", "users/{u}:refreshToken", ""),
    (
        "POST",
        "users/{u}",
        r#"{"service_roles": ["{r}"], "projects": [{"project": "{p}", "roles": ["{r}"]}]}"#,
    ),
    ("PUT", "users/{u}", r#"{"service_roles": ["{r}"], "name": "{u}"}"#),
    ("DELETE", "users/{u}", ""),
    ("GET", "projects/{p}/members", ""),
    ("GET", "projects/{p}/members?details=true", ""),
    ("GET", "projects/{p}/members/{u}", ""),
    (
        "POST",
        "projects/{p}/members/{u}",
        r#"{"service_roles": ["{r}"], "projects": [{"project": "{p}", "roles": ["{r}"]}, {"project": "Q", "roles": ["{r}"]}]}"#,
    ),
    (
        "POST",
        "projects/{p}/members/{u}",
        r#"{"projects": [{"project": "{p}", "roles": ["project_admin"]}]}"#,
    ),
    (
        "PUT",
        "projects/{p}/members/{u}",
        r#"{"service_roles": ["{r}"], "token": "x", "projects": [{"project": "{p}", "roles": ["{r}", "{r}"]}]}"#,
    ),
    ("POST", "projects/{p}/members/{u}:add", r#"{"roles": ["{r}"]}"#),
    ("POST", "projects/{p}/members/{u}:add", r#"{"roles": ["project_admin"], "project": "Q"}"#),
    ("POST", "projects/{p}/members/{u}:remove", ""),
    ("POST", "registrations", r#"{"name": "{u}"}"#),
    ("GET", "registrations", ""),
    ("POST", "registrations/{id}:accept", ""),
    ("GET", "projects", ""),
    ("POST", "projects/{p}", "{}"),
    ("PUT", "projects/{p}", r#"{"description": "mine"}"#),
    ("DELETE", "projects/Q", ""),
    ("PUT", "projects/{p}/topics/{u}", ""),
    ("DELETE", "projects/{p}/topics/t", ""),
    ("POST", "projects/{p}/topics/t:publish", r#"{"messages": [{}]}"#),
    ("POST", "projects/{p}/topics/t:modifyAcl", r#"{"authorized_users": ["{u}"]}"#),
    ("PUT", "projects/{p}/subscriptions/{u}", r#"{"topic": "projects/{p}/topics/t"}"#),
    ("POST", "projects/{p}/subscriptions/s:pull", "{}"),
    ("POST", "projects/{p}/subscriptions/s:modifyOffset", r#"{"offset": 0}"#),
    ("POST", "projects/{p}/subscriptions/s:modifyAcl", r#"{"authorized_users": ["{u}"]}"#),
    ("POST", "projects/{p}/subscriptions/s:modifyPushConfig", r#"{"pushConfig": {}}"#),
    (
        "POST",
        "projects/{p}/subscriptions/s:modifyPushConfig",
        r#"{"pushConfig": {"pushEndpoint": "https://{u}"}}"#,
    ),
    ("POST", "projects/{p}/subscriptions/s:verifyPushEndpoint", ""),
    ("DELETE", "projects/{p}/subscriptions/s", ""),
    ("GET", "projects/{p}/subscriptions", ""),
    ("POST", "projects/{p}/schemas/{u}", r#"{"type": "json", "schema": {}}"#),
    ("GET", "audit", ""),
    ("GET", "projects/{p}/audit", ""),
    ("GET", "metrics/va_metrics", ""),
    ("GET", "users/usageReport?projects={p}", ""),
];

struct Walk {
    api: Api,
    chance: StdRng,
    /// What the walker holds: its own token and those of the users that it made.
    held: Vec<String>,
    /// What it must never see.
    secrets: Vec<String>,
    ids: Vec<String>,
}

impl Walk {
    async fn new(seed: u64) -> Self {
        let api = Api::new().await;
        for project in ["P", "Q"] {
            api.post(&format!("/v1/projects/{project}"), "{}").await.ok();
            api.put(&format!("/v1/projects/{project}/topics/t"), "").await.ok();
            let topic = format!(r#"{{"topic": "projects/{project}/topics/t"}}"#);
            api.put(&format!("/v1/projects/{project}/subscriptions/s"), &topic).await.ok();
        }
        let mut secrets = vec![api.admin.clone()];
        let mut ids = vec![String::from("00000000-0000-4000-8000-000000000000")];
        for (name, body) in [
            (
                "member",
                r#"{"projects": [{"project": "P", "roles": ["consumer"]}, {"project": "Q", "roles": ["project_admin"]}]}"#,
            ),
            ("stranger", r#"{"projects": [{"project": "Q", "roles": ["project_admin"]}]}"#),
        ] {
            let made = api.post(&format!("/v1/users/{name}"), body).await.ok();
            secrets.push(field(&made, "token"));
            ids.push(field(&made, "uuid"));
        }
        let filed = api.post("/v1/registrations", r#"{"name": "filed"}"#).await.ok();
        secrets.push(field(&filed, "activation_token"));
        ids.push(field(&filed, "uuid"));
        let body = r#"{"projects": [{"project": "P", "roles": ["project_admin"]}]}"#;
        let owner = field(&api.post("/v1/users/owner", body).await.ok(), "token");
        Self { api, chance: StdRng::seed_from_u64(seed), held: vec![owner], secrets, ids }
    }

    fn drawn(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        while let Some(at) = text.find("{p}").or(text.find("{u}")).or(text.find("{r}")) {
            let pool: &[&str] = match text.get(at..at + 3).unwrap() {
                "{p}" => &PROJECTS,
                "{u}" => &USERS,
                _ => &ROLES,
            };
            let drawn = *pool.choose(&mut self.chance).unwrap();
            text.replace_range(at..at + 3, drawn);
        }
        text.replace("{id}", self.ids.choose(&mut self.chance).unwrap())
    }

    /// One try; what it answered.
    async fn step(&mut self) -> String {
        let (method, path, body) = *TRIES.choose(&mut self.chance).unwrap();
        let (path, body) = (self.drawn(path), self.drawn(body));
        let with = self.chance.random_range(0..self.held.len());
        let token = self.held[with].clone();
        let answer = self.api.call(method, &format!("/v1/{path}"), &token, body.as_bytes()).await;
        for secret in &self.secrets {
            let seen = answer.body.contains(secret.as_str());
            assert!(!seen, "{method} {path} {body} shows a secret: {answer:?}");
        }
        assert!(answer.status < 500 || answer.body.contains("ack"), "{method} {path}: {answer:?}");
        if answer.status == 200
            && method == "POST"
            && path.contains("/members/")
            && !path.contains(':')
        {
            self.held.push(field(&answer.body, "token"));
        }
        format!("{method} {path} {body} -> {}", answer.status)
    }

    /// All that is Q's, and who is somebody in the service.
    async fn elsewhere(&self) -> String {
        let mut all = String::new();
        for path in [
            "projects/Q",
            "projects/Q/topics",
            "projects/Q/topics/t:acl",
            "projects/Q/subscriptions",
            "projects/Q/subscriptions/s:offsets",
            "projects/Q/subscriptions/s:acl",
            "projects/Q/members?details=true",
        ] {
            // As Q's own admin sees it: what its members are in P is P's affair.
            let path = format!("/v1/{path}");
            all += &self.api.call("GET", &path, &self.secrets[2], b"").await.ok();
        }
        all += &self.api.get("/v1/registrations").await.ok();
        let users: serde_json::Value =
            serde_json::from_str(&self.api.get("/v1/users?details=true").await.ok()).unwrap();
        for user in users["users"].as_array().unwrap() {
            let roles = user["service_roles"].as_array().unwrap();
            if !roles.is_empty() {
                all += &format!("{} {roles:?} {}\n", user["name"], user["token"]);
            }
        }
        let projects = self.api.get("/v1/projects").await.ok();
        all + if projects.contains("\"new\"") { "a project more" } else { "" }
    }
}

#[actix_web::test]
async fn no_way_leads_a_project_admin_out_of_its_project() {
    let mut through = 0;
    for seed in 0..12 {
        let mut walk = Walk::new(seed).await;
        let before = walk.elsewhere().await;
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            steps.push(walk.step().await);
            if steps.len() % 25 == 0 {
                let after = walk.elsewhere().await;
                assert_eq!(after, before, "seed {seed}:\n{}", steps.join("\n"));
            }
        }
        through += steps.iter().filter(|step| step.ends_with("-> 200")).count();
    }
    // Not of each walk: some end early, with the owner's own roles taken away.
    assert!(through > 12 * 20, "they must get somewhere at all: {through}");
}
