//! The gate, the role table and the ACL rules.

use super::*;
use crate::domain::roles::{ProjectRole, ServiceRole};

const ROUTES: [(Route, &str); 72] = [
    (Route::UsersByToken, "SA PW"),
    (Route::UsersByUuid, "SA AA"),
    (Route::UsersList, "SA"),
    (Route::UsersShow, "SA"),
    (Route::UsersRefreshToken, "SA"),
    (Route::AmsMetrics, "SA MV PA"),
    (Route::AmsVaMetrics, "SA MV PA"),
    (Route::UsersCreate, "SA"),
    (Route::UsersUpdate, "SA"),
    (Route::UsersDelete, "SA"),
    (Route::RegistrationsNewUser, "SA RA"),
    (Route::RegistrationsAcceptNewUser, "SA"),
    (Route::RegistrationsDeclineNewUser, "SA"),
    (Route::RegistrationsDelete, "SA"),
    (Route::RegistrationsShow, "SA"),
    (Route::RegistrationsList, "SA"),
    (Route::ProjectsList, "SA"),
    (Route::ProjectsMetrics, "SA PA"),
    (Route::ProjectsAddUser, "SA PA"),
    (Route::ProjectsRemoveUser, "SA PA"),
    (Route::ProjectsShowUser, "SA PA"),
    (Route::ProjectsCreateUser, "SA PA"),
    (Route::ProjectsUpdateUser, "SA PA"),
    (Route::ProjectsListUsers, "SA PA"),
    (Route::ProjectsShow, "SA PA"),
    (Route::ProjectsCreate, "SA"),
    (Route::ProjectsUpdate, "SA PA"),
    (Route::ProjectsDelete, "SA PA"),
    (Route::AuditList, "SA"),
    (Route::ProjectsAudit, "SA PA"),
    (Route::ProjectsModifyAlert, "SA PA"),
    (Route::SubscriptionsList, "SA PA C"),
    (Route::SubscriptionsListByTopic, "SA PA"),
    (Route::SubscriptionsOffsets, "SA PA C"),
    (Route::SubscriptionsTimeToOffset, "SA PA C"),
    (Route::SubscriptionsAcl, "SA PA"),
    (Route::SubscriptionsMetrics, "SA PA C"),
    (Route::SubscriptionsShow, "SA PA C PW"),
    (Route::SubscriptionsCreate, "SA PA"),
    (Route::SubscriptionsDelete, "SA PA"),
    (Route::SubscriptionsPull, "SA PA C PW"),
    (Route::SubscriptionsAcknowledge, "SA PA C PW"),
    (Route::SubscriptionsVerifyPushEndpoint, "SA PA"),
    (Route::SubscriptionsModifyAckDeadline, "SA PA C"),
    (Route::SubscriptionsModifyPushConfig, "SA PA"),
    (Route::SubscriptionsModifyOffset, "SA PA C"),
    (Route::SubscriptionsSeek, "SA PA C"),
    (Route::SubscriptionsModifyAcl, "SA PA"),
    (Route::SubscriptionsModifyAlert, "SA PA"),
    (Route::SnapshotsList, "SA PA C"),
    (Route::SnapshotsShow, "SA PA C"),
    (Route::SnapshotsCreate, "SA PA C"),
    (Route::SnapshotsDelete, "SA PA C"),
    (Route::TopicsList, "SA PA P"),
    (Route::TopicsAcl, "SA PA"),
    (Route::TopicsRead, "SA PA"),
    (Route::TopicsMetrics, "SA PA P"),
    (Route::TopicsShow, "SA PA P"),
    (Route::TopicsCreate, "SA PA"),
    (Route::TopicsDelete, "SA PA"),
    (Route::TopicsPublish, "SA PA P"),
    (Route::TopicsModifyAcl, "SA PA"),
    (Route::TopicsModifyAlert, "SA PA"),
    (Route::TopicsModifyRetention, "SA PA"),
    (Route::TopicsAttachSchema, "SA PA"),
    (Route::TopicsDetachSchema, "SA PA"),
    (Route::SchemasValidateMessage, "SA PA"),
    (Route::SchemasCreate, "SA PA"),
    (Route::SchemasShow, "SA PA"),
    (Route::SchemasList, "SA PA"),
    (Route::SchemasUpdate, "SA PA"),
    (Route::SchemasDelete, "SA PA"),
];

#[tokio::test]
async fn every_role_may_call_what_the_table_of_the_contract_says_and_nothing_else() {
    assert_eq!(ROUTES.map(|(route, _)| route), *Route::ALL);
    let world = World::new().await;
    world.project("p").await;
    let roles = [
        ("PA", ProjectRole::ProjectAdmin.as_str(), ""),
        ("P", ProjectRole::Publisher.as_str(), ""),
        ("C", ProjectRole::Consumer.as_str(), ""),
        ("SA", "", ServiceRole::ServiceAdmin.as_str()),
        ("AV", "", ServiceRole::AdminViewer.as_str()),
        ("MV", "", ServiceRole::MetricsViewer.as_str()),
        ("PW", "", ServiceRole::PushWorker.as_str()),
        ("RA", "", ServiceRole::RegisterAdmin.as_str()),
        ("AA", "", ServiceRole::ArgoApiAuthn.as_str()),
    ];
    for (short, project_role, service_role) in roles {
        let held = |role: &'static str| if role.is_empty() { vec![] } else { vec![role] };
        let token = world.user(short, &held(project_role), &held(service_role)).await;
        for (route, allowed) in ROUTES {
            let admitted = world.admit(route, &token);
            if allowed.split(' ').any(|role| role == short) {
                assert!(admitted.is_ok(), "{short} {route:?}");
            } else {
                assert!(matches!(admitted, Err(Error::Forbidden)), "{short} {route:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_declared_role_is_given_and_may_what_the_operator_says() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let row = (String::from("topics:create"), texts(&["service_admin", "maker", "robot"]));
    let roles = RoleSettings {
        project: texts(&["maker"]),
        service: texts(&["robot"]),
        routes: [row].into(),
    };
    let roles = Roles::new(&roles).unwrap();
    let world = World::with(Settings { roles, ..settings() }).await;
    world.project("p").await;
    let maker = world.user("m", &["maker"], &[]).await;
    let robot = world.user("r", &[], &["robot"]).await;
    let owner = world.user("o", &["project_admin"], &[]).await;
    for (token, [creates, deletes]) in
        [(&maker, [true, false]), (&robot, [true, false]), (&owner, [false, true])]
    {
        assert_eq!(world.admit(Route::TopicsCreate, token).is_ok(), creates);
        assert_eq!(world.admit(Route::TopicsDelete, token).is_ok(), deletes);
    }
}

#[tokio::test]
async fn the_gate_asks_in_the_order_of_the_contract() {
    let world = World::new().await;
    world.project("p").await;
    world.project("q").await;
    let member = world.user("u", &["project_admin"], &[]).await;
    let roleless = world.user("nobody", &[], &[]).await;
    let (p, q, none) = (name("p"), name("q"), name("none"));
    let ask = |route, project: Option<&ProjectName>, token: Option<&str>| {
        world.broker.admit(route, project, token, Peer(None)).map(|_| ())
    };
    let show = Route::ProjectsShow;
    assert!(matches!(ask(show, Some(&none), None), Err(Error::Unauthorized)));
    assert!(matches!(ask(show, Some(&p), Some("")), Err(Error::Unauthorized)));
    assert!(matches!(ask(show, Some(&none), Some("bad")), Err(Error::ProjectNotFound)));
    assert!(matches!(ask(show, Some(&p), Some("bad")), Err(Error::Unauthorized)));
    assert!(matches!(ask(show, Some(&q), Some(&member)), Err(Error::Unauthorized)));
    assert!(matches!(ask(show, Some(&p), Some(&roleless)), Err(Error::Unauthorized)));
    assert!(matches!(ask(Route::ProjectsList, None, Some(&member)), Err(Error::Unauthorized)));
    let create = Route::ProjectsCreate;
    assert!(matches!(ask(create, Some(&none), Some(&member)), Err(Error::Unauthorized)));
    assert!(matches!(ask(create, Some(&p), Some(&member)), Err(Error::Forbidden)));
    assert!(ask(create, Some(&none), Some(&world.admin)).is_ok());
    assert!(ask(show, Some(&p), Some(&member)).is_ok());
}

/// Roles in the project, roles in the service, whether the ACL names the user; then whether it may
/// publish and whether it may pull.
type AclRow = (&'static [&'static str], &'static [&'static str], bool, bool, bool);

const ACL: [AclRow; 13] = [
    (&["publisher"], &[], false, false, false),
    (&["publisher"], &[], true, true, false),
    (&["consumer"], &[], false, false, false),
    (&["consumer"], &[], true, false, true),
    (&["publisher", "consumer"], &[], true, true, true),
    (&["project_admin"], &[], false, true, true),
    (&["project_admin", "publisher"], &[], false, false, true),
    (&["project_admin", "consumer"], &[], false, true, false),
    (&["project_admin", "publisher", "consumer"], &[], true, true, true),
    (&[], &["service_admin"], false, true, true),
    (&["publisher", "consumer"], &["service_admin"], false, false, false),
    (&[], &["push_worker"], false, false, true),
    (&["consumer"], &["push_worker"], false, false, false),
];

#[tokio::test]
async fn holding_publisher_or_consumer_makes_the_acl_apply_whatever_else_is_held() {
    let world = World::furnished().await;
    for (row, (roles, service_roles, named, may_publish, may_pull)) in ACL.iter().enumerate() {
        let user = format!("u{row}");
        let token = world.user(&user, roles, service_roles).await;
        let acl: Vec<String> = if *named { vec![user] } else { vec![] };
        let (root, broker) = (|route| world.root(route), &world.broker);
        let by = root(Route::TopicsModifyAcl);
        broker.set_topic_acl(&by, &name("t"), acl.clone()).await.unwrap();
        let by = root(Route::SubscriptionsModifyAcl);
        broker.set_subscription_acl(&by, &name("s"), acl).await.unwrap();

        let publish = world.admit(Route::TopicsPublish, &token);
        let publish = publish.and_then(|caller| broker.publisher(&caller, &name("t")).map(|_| ()));
        let pull = world.admit(Route::SubscriptionsPull, &token);
        let pull = pull.and_then(|caller| broker.puller(&caller, &name("s")).map(|_| ()));
        for (may, answer) in [(may_publish, publish), (may_pull, pull)] {
            match answer {
                Ok(()) => assert!(may, "row {row}"),
                Err(error) => {
                    assert!(!may && matches!(error, Error::Forbidden), "row {row}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn existence_is_asked_before_the_acl_and_the_topic_after_it() {
    let world = World::furnished().await;
    let token = world.user("c", &["consumer", "publisher"], &[]).await;
    let pull = world.admit(Route::SubscriptionsPull, &token).unwrap();
    let publish = world.admit(Route::TopicsPublish, &token).unwrap();
    let broker = &world.broker;
    assert!(matches!(broker.puller(&pull, &name("x")), Err(Error::SubscriptionNotFound)));
    assert!(matches!(broker.publisher(&publish, &name("x")), Err(Error::TopicNotFound)));
    world.delete_topic("t").await.unwrap();
    assert!(matches!(broker.puller(&pull, &name("s")), Err(Error::Forbidden)));
    let root = world.root(Route::SubscriptionsPull);
    assert!(matches!(broker.puller(&root, &name("s")), Err(Error::TopicGone)));
    assert_eq!(world.facts("s").pulls.denied, 1, "a pull refused by the ACL is counted");
    broker.pull_denied(&name("p"), &name("s"));
    assert_eq!(world.facts("s").pulls.denied, 2);
}

#[tokio::test]
async fn a_project_admin_reaches_neither_service_roles_nor_other_projects() {
    let world = World::furnished().await;
    world.project("q").await;
    let token = world.user("pa", &["project_admin"], &[]).await;
    for (route, allowed) in ROUTES {
        for project in [None, Some("q"), Some("missing")] {
            let project: Option<ProjectName> = project.map(name);
            let answer = world.broker.admit(route, project.as_ref(), Some(&token), Peer(None));
            assert!(answer.is_err(), "{route:?} ({allowed}) in {project:?}");
        }
    }
    let (create, add) = (Route::ProjectsCreateUser, Route::ProjectsAddUser);
    world.user("guest", &[], &["metrics_viewer"]).await;
    for role in ["service_admin", "admin_viewer", "push_worker", "_admin_", "", "Consumer"] {
        let caller = world.admit(create, &token).unwrap();
        let roles = vec![role.to_owned()];
        let user = name("n");
        let made = world.broker.create_member(&caller, &user, String::new(), roles.clone());
        assert!(matches!(made.await, Err(Error::InvalidRole(text)) if text == role), "{role}");
        let caller = world.admit(add, &token).unwrap();
        let added = world.broker.add_member(&caller, &name("admin"), roles).await;
        assert!(matches!(added, Err(Error::InvalidRole(text)) if text == role), "{role}");
        let caller = world.admit(Route::ProjectsUpdateUser, &token).unwrap();
        let roles = Some(vec![role.to_owned()]);
        let updated = world.broker.update_member(&caller, &name("pa"), roles).await;
        assert!(matches!(updated, Err(Error::InvalidRole(text)) if text == role), "{role}");
    }
    assert!(matches!(world.admit(Route::UsersCreate, &token), Err(Error::Forbidden)));
}

#[tokio::test]
async fn details_answer_swapped_codes_as_ams_does() {
    let world = World::new().await;
    world.project("p").await;
    let viewer = world.user("v", &[], &["admin_viewer"]).await;
    let member = world.user("m", &["project_admin"], &[]).await;
    let broker = &world.broker;
    assert!(broker.may_see_details(Some(&viewer)).is_ok());
    assert!(broker.may_see_details(Some(&world.admin)).is_ok());
    assert!(matches!(broker.may_see_details(Some(&member)), Err(Error::Unauthorized)));
    for token in [None, Some(""), Some("bad")] {
        assert!(matches!(broker.may_see_details(token), Err(Error::Forbidden)));
    }
}
