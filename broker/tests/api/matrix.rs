//! The whole of the rights: every operation by every kind of caller in its own, a foreign and a
//! deleted project, inside and outside of the ACL, against rules written by hand (`matrix.txt`).

use broker::push::Reach;

use crate::api::{Api, Seen, field};

/// One operation and who gets through.
struct Rule {
    method: &'static str,
    path: &'static str,
    body: &'static str,
    granted: Vec<&'static str>,
}

/// A kind of caller: short name, roles in project P, roles in the service.
type Kind = (&'static str, &'static [&'static str], &'static [&'static str]);

const KINDS: [Kind; 14] = [
    ("PA", &["project_admin"], &[]),
    ("P", &["publisher"], &[]),
    ("C", &["consumer"], &[]),
    ("PA P", &["project_admin", "publisher"], &[]),
    ("PA C", &["consumer", "project_admin"], &[]),
    ("SA P", &["publisher"], &["service_admin"]),
    ("SA C", &["consumer"], &["service_admin"]),
    ("SA", &[], &["service_admin"]),
    ("PW", &[], &["push_worker"]),
    ("AV", &[], &["admin_viewer"]),
    ("MV", &[], &["metrics_viewer"]),
    ("RA", &[], &["register_admin"]),
    ("AA", &[], &["argo_api_authn"]),
    // A member of the project without any role.
    ("", &[], &[]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Own,
    Foreign,
    Deleted,
}

/// What the gate says. Whatever comes behind it is not asked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Through,
    Unauthorized,
    Forbidden,
    NoProject,
}

/// Who asks: nobody, a token that is none, or a user.
#[derive(Clone, Copy)]
enum Who {
    Nobody,
    Unknown,
    User(usize),
}

fn rules() -> Vec<Rule> {
    let lines = include_str!("matrix.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rule = |line: &'static str| {
        let (operation, granted) = line.rsplit_once(" : ").unwrap();
        let (method, rest) = operation.split_once(' ').unwrap();
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        Rule { method, path, body, granted: granted.split(' ').collect() }
    };
    lines.map(rule).collect()
}

impl Rule {
    fn makes_the_project(&self) -> bool {
        (self.method, self.path) == ("POST", "/v1/projects/{P}")
    }

    fn verdict(&self, who: Who, place: Place, in_acl: bool) -> Verdict {
        let names_project = self.path.contains("{P}");
        if self.granted == ["ALL"] {
            return Verdict::Through;
        }
        let kind = match who {
            Who::Nobody => return Verdict::Unauthorized,
            _ if names_project && place == Place::Deleted && !self.makes_the_project() => {
                return Verdict::NoProject;
            }
            Who::Unknown => return Verdict::Unauthorized,
            Who::User(at) => KINDS[at],
        };
        if self.granted == ["ANY"] {
            return Verdict::Through;
        }
        let counts = |short: &&str| match *short {
            "PA" | "P" | "C" => names_project && place == Place::Own,
            _ => true,
        };
        let held: Vec<_> =
            kind.0.split(' ').filter(|short| !short.is_empty()).filter(counts).collect();
        if held.is_empty() {
            return Verdict::Unauthorized;
        }
        let is_granted = held
            .iter()
            .any(|short| self.granted.iter().any(|grant| grant.trim_start_matches('~') == *short));
        let by_acl = |short: &&str| self.granted.contains(&format!("~{short}").as_str());
        if !is_granted || (held.iter().any(by_acl) && !in_acl) {
            return Verdict::Forbidden;
        }
        Verdict::Through
    }
}

/// Projects P and Q with all that the operations name, D deleted, and a user of each kind.
struct House {
    api: Api,
    tokens: Vec<String>,
    member: String,
    uuid: String,
    registration: String,
}

impl House {
    async fn new(in_acl: bool) -> Self {
        let api = Api::pushing(Reach::Public).await;
        for project in ["P", "Q", "D"] {
            api.post(&format!("/v1/projects/{project}"), "{}").await.ok();
        }
        let mut tokens = Vec::new();
        let mut names = Vec::new();
        for (at, (_, project, service)) in KINDS.iter().enumerate() {
            let name = format!("kind{at}");
            let body = serde_json::json!({
                "projects": [{"project": "P", "roles": project}],
                "service_roles": service,
            });
            let made = api.post(&format!("/v1/users/{name}"), &body.to_string()).await.ok();
            tokens.push(field(&made, "token"));
            names.push(name);
        }
        let acl = if in_acl { names } else { Vec::new() };
        let acl = serde_json::json!({ "authorized_users": acl }).to_string();
        let body = r#"{"projects": [{"project": "P", "roles": ["consumer"]},
            {"project": "Q", "roles": ["consumer"]}, {"project": "D", "roles": ["consumer"]}]}"#;
        let member = api.post("/v1/users/m", body).await.ok();
        api.post("/v1/users/outsider", "{}").await.ok();
        for project in ["P", "Q"] {
            let path = |rest: &str| format!("/v1/projects/{project}/{rest}");
            let schema = r#"{"type": "json", "schema": {"type": "object"}}"#;
            api.post(&path("schemas/x"), schema).await.ok();
            api.put(&path("topics/t"), "").await.ok();
            let of_topic = format!(r#"{{"topic": "projects/{project}/topics/t"}}"#);
            api.put(&path("subscriptions/s"), &of_topic).await.ok();
            let of = format!(r#"{{"subscription": "projects/{project}/subscriptions/s"}}"#);
            api.put(&path("snapshots/n"), &of).await.ok();
        }
        api.post("/v1/projects/P/topics/t:modifyAcl", &acl).await.ok();
        api.post("/v1/projects/P/subscriptions/s:modifyAcl", &acl).await.ok();
        api.delete("/v1/projects/D").await.ok();
        let filed = api.post("/v1/registrations", r#"{"name": "filed", "email": "f@example.org"}"#);
        let registration = field(&filed.await.ok(), "uuid");
        let (member, uuid) = (field(&member, "token"), field(&member, "uuid"));
        Self { tokens, member, uuid, registration, api }
    }

    async fn ask(&self, rule: &Rule, who: Who, place: Place) -> Seen {
        let project = match place {
            Place::Own => "P",
            Place::Foreign => "Q",
            Place::Deleted => "D",
        };
        let path = rule
            .path
            .replace("{P}", project)
            .replace("{token}", &self.member)
            .replace("{uuid}", &self.uuid)
            .replace("{registration}", &self.registration);
        let token = match who {
            Who::Nobody => "",
            Who::Unknown => "0123456789012345678901234567890123456789012345678901234567890123",
            Who::User(at) => &self.tokens[at],
        };
        let body = rule.body.replace("{P}", project);
        self.api.call(rule.method, &path, token, body.as_bytes()).await
    }
}

fn seen(answer: &Seen) -> Verdict {
    let says = |message: &str| answer.body.contains(&format!("\"message\": \"{message}\","));
    match answer.status {
        401 if says("Unauthorized") => Verdict::Unauthorized,
        403 if says("Access to this resource is forbidden") => Verdict::Forbidden,
        404 if says("project doesn't exist") => Verdict::NoProject,
        404 if says("404 page not found") => panic!("no such route"),
        500 if says("no ack pending") || says("wrong ack") => Verdict::Through,
        500.. => panic!("{answer:?}"),
        _ => Verdict::Through,
    }
}

#[actix_web::test]
async fn every_operation_by_everybody_everywhere() {
    let rules = rules();
    assert_eq!(rules.iter().map(|rule| rule.granted.len()).sum::<usize>(), 157, "grants");
    let everybody = [Who::Nobody, Who::Unknown].into_iter().chain((0..KINDS.len()).map(Who::User));
    let (mut cells, mut wrong) = (0, Vec::new());
    for (place, in_acl) in
        [(Place::Own, false), (Place::Own, true), (Place::Foreign, false), (Place::Deleted, false)]
    {
        let mut house = House::new(in_acl).await;
        for rule in &rules {
            for who in everybody.clone() {
                let wanted = rule.verdict(who, place, in_acl);
                let answer = house.ask(rule, who, place).await;
                let got = seen(&answer);
                let name = match who {
                    Who::Nobody => "nobody",
                    Who::Unknown => "unknown",
                    Who::User(at) => KINDS[at].0,
                };
                if got != wanted {
                    let Rule { method, path, .. } = rule;
                    wrong.push(format!(
                        "{method} {path} {place:?} acl:{in_acl} {name}: {got:?}, not {wanted:?}"
                    ));
                }
                cells += 1;
                // What was changed is made anew, so that each cell meets the same house.
                if rule.method != "GET" && answer.status == 200 {
                    house = House::new(in_acl).await;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells > 2_000, "{cells}");
}

/// The verbs that leave a trace in the audit log, by method and path, and the operations they leave.
/// Written by hand: a verb that is in `matrix.txt` and changes something must stand here.
const TRACED: &[(&str, &str)] = &[
    ("POST /v1/users/m:refreshToken", "token.refresh"),
    ("POST /v1/users/new", "user.create"),
    ("PUT /v1/users/m", "user.change"),
    ("DELETE /v1/users/m", "user.delete"),
    ("POST /v1/registrations", "registration.create"),
    ("POST /v1/registrations/{registration}:accept", "registration.accept user.create"),
    ("POST /v1/registrations/{registration}:decline", "registration.decline"),
    ("DELETE /v1/registrations/{registration}", "registration.delete"),
    ("POST /v1/projects/{P}/members/outsider:add", "member.add"),
    ("POST /v1/projects/{P}/members/m:remove", "member.remove"),
    ("POST /v1/projects/{P}/members/new", "member.add user.create"),
    ("PUT /v1/projects/{P}/members/m", "roles.change"),
    ("PUT /v1/projects/{P}", "project.change"),
    ("DELETE /v1/projects/{P}", "project.delete"),
    ("POST /v1/projects/{P}:modifyAlert", "alert.change"),
    ("PUT /v1/projects/{P}/subscriptions/new", "subscription.create"),
    ("DELETE /v1/projects/{P}/subscriptions/s", "subscription.delete"),
    ("POST /v1/projects/{P}/subscriptions/s:modifyAckDeadline", "deadline.change"),
    ("POST /v1/projects/{P}/subscriptions/s:modifyPushConfig", "push.change"),
    ("POST /v1/projects/{P}/subscriptions/s:modifyOffset", "subscription.rewind"),
    ("POST /v1/projects/{P}/subscriptions/s:modifyAcl", "acl.change"),
    ("POST /v1/projects/{P}/subscriptions/s:seek", "subscription.rewind"),
    ("POST /v1/projects/{P}/subscriptions/s:modifyAlert", "alert.change"),
    ("PUT /v1/projects/{P}/snapshots/new", "snapshot.create"),
    ("DELETE /v1/projects/{P}/snapshots/n", "snapshot.delete"),
    ("PUT /v1/projects/{P}/topics/new", "topic.create"),
    ("DELETE /v1/projects/{P}/topics/t", "topic.delete"),
    ("POST /v1/projects/{P}/topics/t:modifyAcl", "acl.change"),
    ("POST /v1/projects/{P}/topics/t:attachSchema", "schema.attach"),
    ("POST /v1/projects/{P}/topics/t:detachSchema", "schema.detach"),
    ("POST /v1/projects/{P}/topics/t:modifyAlert", "alert.change"),
    ("POST /v1/projects/{P}/topics/t:modifyRetention", "retention.change"),
    ("POST /v1/projects/{P}/schemas/new", "schema.create"),
    ("PUT /v1/projects/{P}/schemas/x", "schema.change"),
    ("DELETE /v1/projects/{P}/schemas/x", "schema.delete"),
];

/// What changes no setting and takes nothing away. An endpoint that is verified is traced
/// (`push.rs`), but there is none here that could be.
const UNTRACED: [&str; 5] = [
    "POST /v1/projects/{P}/subscriptions/s:verifyPushEndpoint",
    "POST /v1/projects/{P}/subscriptions/s:pull",
    "POST /v1/projects/{P}/subscriptions/s:acknowledge",
    "POST /v1/projects/{P}/topics/t:publish",
    "POST /v1/projects/{P}/schemas/x:validate",
];

#[actix_web::test]
async fn every_verb_that_changes_something_leaves_its_trace_and_no_secret() {
    let mut asked = Vec::new();
    for rule in rules() {
        let name = format!("{} {}", rule.method, rule.path);
        if rule.method == "GET" || rule.makes_the_project() {
            continue;
        }
        let house = House::new(true).await;
        let path = |rest: &str| format!("/v1/projects/P/{rest}");
        house.api.post(&path("topics/t:publish"), r#"{"messages": [{}]}"#).await.ok();
        house.api.post(&path("subscriptions/s:modifyOffset"), r#"{"offset": 1}"#).await.ok();
        if rule.path.ends_with(":detachSchema") {
            let schema = r#"{"schema": "projects/P/schemas/x"}"#;
            house.api.post(&path("topics/t:attachSchema"), schema).await.ok();
        }
        let token = house.api.admin.clone();
        let path = rule.path.replace("{P}", "P").replace("{registration}", &house.registration);
        // What was done to furnish the house is older.
        house.api.clock.advance(std::time::Duration::from_secs(60));
        let body = rule.body.replace("{P}", "P");
        let answer = house.api.call(rule.method, &path, &token, body.as_bytes()).await;
        let all = house.api.get("/v1/audit").await.ok();
        assert!(!all.contains(&token) && !all.contains(&house.member), "{name}: {all}");
        let log = house.api.get("/v1/audit?since=2020-11-19T00:00:30Z").await.ok();
        let log: serde_json::Value = serde_json::from_str(&log).unwrap();
        let lines = log["entries"].as_array().unwrap().iter();
        let mut new: Vec<_> = lines.map(|line| line["operation"].as_str().unwrap()).collect();
        new.sort_unstable();
        let wanted = TRACED.iter().find(|(verb, _)| *verb == name);
        match wanted {
            Some((_, operations)) => assert_eq!(new.join(" "), *operations, "{name}: {answer:?}"),
            None => {
                assert!(UNTRACED.contains(&name.as_str()), "{name}: traced or not?");
                assert!(new.is_empty(), "{name}: {new:?}");
            }
        }
        asked.push(name);
    }
    assert_eq!(asked.len(), TRACED.len() + UNTRACED.len(), "all that are listed were asked");
}
