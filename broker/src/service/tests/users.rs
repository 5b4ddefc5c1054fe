//! Users, members, tokens.

use super::*;
use crate::domain::roles::{ProjectRole, ServiceRole};

fn with_projects(projects: &[(&str, &[&str])]) -> NewUser {
    let entry = |(project, roles): &(&str, &[&str])| {
        ((*project).to_owned(), roles.iter().map(|role| (*role).to_owned()).collect())
    };
    NewUser { projects: projects.iter().map(entry).collect(), ..NewUser::default() }
}

#[tokio::test]
async fn a_new_user_is_judged_entry_by_entry_in_the_order_of_the_contract() {
    let world = World::new().await;
    world.project("p").await;
    world.project("q").await;
    let caller = world.root(Route::UsersCreate);
    async fn refused(world: &World, new: NewUser) -> Error {
        let caller = world.root(Route::UsersCreate);
        world.broker.create_user(&caller, &name("u"), new).await.unwrap_err()
    }
    let both = with_projects(&[("p", &["bad"]), ("nope", &[])]);
    assert!(matches!(refused(&world, both).await, Error::InvalidRole(role) if role == "bad"));
    let both = with_projects(&[("nope", &["bad"]), ("p", &[])]);
    assert!(matches!(refused(&world, both).await, Error::InvalidProject(text) if text == "nope"));
    let twice = with_projects(&[("p", &[]), ("", &["bad"]), ("p", &["bad"])]);
    let error = refused(&world, twice).await;
    assert!(matches!(error, Error::DuplicateProject(project) if project.as_str() == "p"));
    let mut service = with_projects(&[("p", &[])]);
    service.service_roles = vec!["consumer".to_owned()];
    assert!(matches!(refused(&world, service).await, Error::InvalidRole(_)));
    let taken = name("admin");
    let taken = world.broker.create_user(&caller, &taken, with_projects(&[("nope", &[])]));
    assert!(matches!(taken.await, Err(Error::UserExists)));
}

#[tokio::test]
async fn a_user_is_shown_whole_to_a_service_admin_and_reduced_to_a_project_admin() {
    let world = World::furnished().await;
    world.project("q").await;
    let mut new = with_projects(&[("q", &["consumer"])]);
    new.service_roles = vec!["metrics_viewer".to_owned()];
    new.email = "u@example.org".to_owned();
    let broker = &world.broker;
    let made = broker.create_user(&world.root(Route::UsersCreate), &name("u"), new).await.unwrap();
    let token = made.token.clone().unwrap();
    assert_eq!(made.created_by.unwrap().as_str(), "admin");
    assert_eq!(made.service_roles, [ServiceRole::MetricsViewer]);

    let pa = world.user("pa", &["project_admin"], &[]).await;
    let caller = world.admit(Route::ProjectsAddUser, &pa).unwrap();
    let roles = vec!["publisher".to_owned()];
    let view = broker.add_member(&caller, &name("u"), roles.clone()).await.unwrap();
    assert_eq!((view.token, view.created_by), (None, None));
    assert!(view.service_roles.is_empty());
    assert_eq!(view.projects.len(), 1);
    assert_eq!(view.projects[0].roles, [ProjectRole::Publisher]);
    assert_eq!(view.email, "u@example.org");
    let again = broker.add_member(&caller, &name("u"), vec!["bad".to_owned()]).await;
    assert!(matches!(again, Err(Error::AlreadyAMember)), "asked before the roles");
    assert!(matches!(broker.find_user(&caller, &name("none")), Err(Error::UserNotFound)));
    assert!(broker.find_user(&caller, &name("u")).is_ok());

    let acl = vec!["u".to_owned(), "pa".to_owned()];
    let by = world.root(Route::TopicsModifyAcl);
    broker.set_topic_acl(&by, &name("t"), acl.clone()).await.unwrap();
    broker.set_subscription_acl(&by, &name("s"), acl).await.unwrap();
    let whole = broker.profile(Some(&token)).unwrap();
    assert_eq!(whole.token.as_deref(), Some(token.as_str()));
    let names: Vec<_> = whole.projects.iter().map(|held| held.project.clone().unwrap()).collect();
    assert_eq!(names, [name::<ProjectName>("q"), name("p")], "in the order given");
    assert_eq!(whole.projects[1].topics, [name::<TopicName>("t")]);
    assert_eq!(whole.projects[1].subscriptions, [name::<SubscriptionName>("s")]);
    assert!(matches!(broker.profile(Some("bad")), Err(Error::Unauthorized)));
    assert!(matches!(broker.profile(None), Err(Error::Unauthorized)));
}

#[tokio::test]
async fn the_same_admin_is_there_after_a_restart_and_its_token_opens_with_the_key_only() {
    let world = World::new().await;
    let (token, store) = (world.admin.clone(), Arc::clone(&world.store));
    let world = world.restarted().await;
    assert_eq!(world.admin, token);
    assert_eq!(world.broker.ensure_admin("ops@example.org").await.unwrap(), token);
    let profile = world.broker.profile(Some(&token)).unwrap();
    assert_eq!(profile.email, "ops@example.org");
    world.broker.ensure_admin("").await.unwrap();
    assert_eq!(world.broker.profile(Some(&token)).unwrap().email, "ops@example.org");

    let clock = Arc::clone(&world.clock);
    let other = Broker::open(store, clock, [8; 32], settings(), TaskTracker::new()).await.unwrap();
    let error = other.ensure_admin("").await.unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
}

#[tokio::test]
async fn a_token_is_shown_once_where_tokens_are_not_revealed() {
    let world = World::with(Settings { reveal_tokens: false, ..settings() }).await;
    world.project("p").await;
    let token = world.user("u", &["consumer"], &[]).await;
    assert_eq!(token.len(), 64);
    let seen = world.broker.profile(Some(&token)).unwrap().token.unwrap();
    assert_eq!(seen, format!("{}...", token.get(..8).unwrap()));
}

#[tokio::test]
async fn an_acl_takes_members_only_and_names_those_that_are_not() {
    let world = World::furnished().await;
    world.user("m", &[], &[]).await;
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let by = world.root(Route::TopicsModifyAcl);
    let none = name("none");
    let wrong = world.broker.set_topic_acl(&by, &none, list(&["x", "m", "admin", "!"]));
    let Err(Error::UsersNotFound(missing)) = wrong.await else { panic!("users come first") };
    assert_eq!(missing, ["x", "admin", "!"]);
    let absent = world.broker.set_topic_acl(&by, &name("none"), list(&["m"])).await;
    assert!(matches!(absent, Err(Error::TopicNotFound)));
    let absent = world.broker.set_subscription_acl(&by, &name("none"), list(&["m"])).await;
    assert!(matches!(absent, Err(Error::SubscriptionNotFound)));
    world.broker.set_topic_acl(&by, &name("t"), list(&["m", "m"])).await.unwrap();
    assert_eq!(world.broker.topic_acl(&by, &name("t")).unwrap(), [name::<UserName>("m")]);
    world.broker.set_topic_acl(&by, &name("t"), list(&[])).await.unwrap();
    assert!(world.broker.topic_acl(&by, &name("t")).unwrap().is_empty());
}

fn page(size: Option<u64>, from: Option<u64>) -> PageRequest {
    PageRequest { size, from }
}

fn listed(page: &Page<UserView>) -> Vec<&str> {
    page.items.iter().map(|user| user.name.as_str()).collect()
}

#[tokio::test]
async fn an_update_is_judged_in_the_order_of_the_contract_and_nobody_is_asked_for_last() {
    let world = World::furnished().await;
    world.user("u", &["consumer"], &["metrics_viewer"]).await;
    let broker = &world.broker;
    let root = world.root(Route::UsersUpdate);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let all_wrong = || UserChange {
        name: "admin".to_owned(),
        projects: Some(vec![("p".to_owned(), texts(&["boss"]))]),
        service_roles: Some(texts(&["chief"])),
        ..UserChange::default()
    };
    for user in ["u", "nobody"] {
        let user: UserName = name(user);
        let refused = |change| broker.update_user(&root, &user, change);
        let error = refused(all_wrong()).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidRole(role) if role == "boss"), "{error}");
        let change = UserChange { projects: None, ..all_wrong() };
        let error = refused(change).await.unwrap_err();
        assert!(matches!(&error, Error::InvalidRole(role) if role == "chief"), "{error}");
        let change = UserChange { projects: None, service_roles: None, ..all_wrong() };
        assert!(matches!(refused(change).await, Err(Error::UserNameTaken)));
        let change = UserChange { name: "a b".to_owned(), ..UserChange::default() };
        assert!(matches!(refused(change).await, Err(Error::Name(_))));
    }
    let absent = broker.update_user(&root, &name("nobody"), UserChange::default()).await;
    assert!(matches!(absent, Err(Error::UserNotFound)));

    // Absent stays, empty lists clear; its own name is no change.
    world.clock.advance(Duration::from_secs(7));
    let change = UserChange { name: "u".to_owned(), ..UserChange::default() };
    let same = broker.update_user(&root, &name("u"), change).await.unwrap();
    assert_eq!(same.projects.len(), 1);
    assert_eq!(same.service_roles, [ServiceRole::MetricsViewer]);
    assert_eq!((same.created, same.modified), (Time::from_secs(1_000_000), world.clock.wall()));
    let change = UserChange {
        projects: Some(Vec::new()),
        service_roles: Some(Vec::new()),
        ..UserChange::default()
    };
    let bare = broker.update_user(&root, &name("u"), change).await.unwrap();
    assert!(bare.projects.is_empty() && bare.service_roles.is_empty());
}

#[tokio::test]
async fn a_refreshed_token_and_a_deleted_user_admit_no_more_also_after_a_restart() {
    let world = World::with(Settings { reveal_tokens: false, ..settings() }).await;
    world.furnish().await;
    let old = world.user("u", &["project_admin"], &[]).await;
    let gone = world.user("gone", &["project_admin"], &[]).await;
    let acl = vec!["u".to_owned(), "gone".to_owned()];
    let by = world.root(Route::TopicsModifyAcl);
    world.broker.set_topic_acl(&by, &name("t"), acl).await.unwrap();
    world.clock.advance(Duration::from_secs(7));
    let refresh = world.root(Route::UsersRefreshToken);
    let view = world.broker.refresh_token(&refresh, &name("u")).await.unwrap();
    let new = view.token.unwrap();
    assert_eq!(new.len(), 64, "its text is shown this once");
    assert_eq!(view.modified, view.created, "and else nothing changed");
    let delete = world.root(Route::UsersDelete);
    world.broker.delete_user(&delete, &name("gone")).await.unwrap();
    let again = world.broker.delete_user(&delete, &name("gone")).await;
    assert!(matches!(again, Err(Error::UserNotFound)));
    let none = world.broker.refresh_token(&refresh, &name("gone")).await;
    assert!(matches!(none, Err(Error::UserNotFound)));

    let judge = |world: &World| {
        for token in [&old, &gone] {
            let admitted = world.admit(Route::ProjectsShow, token);
            assert!(matches!(admitted, Err(Error::Unauthorized)));
            assert!(matches!(world.broker.profile(Some(token)), Err(Error::Unauthorized)));
            let root = world.root(Route::UsersByToken);
            let found = world.broker.user_by_token(&root, token);
            assert!(matches!(found, Err(Error::UserNotFound)));
        }
        assert!(world.admit(Route::ProjectsShow, &new).is_ok());
        let by = world.root(Route::TopicsAcl);
        assert_eq!(world.broker.topic_acl(&by, &name("t")).unwrap(), [name::<UserName>("u")]);
    };
    judge(&world);
    let world = world.restarted().await;
    judge(&world);
    // Whoever takes the name later is somebody else.
    world.user("gone", &["publisher"], &[]).await;
    let by = world.root(Route::TopicsAcl);
    assert_eq!(world.broker.topic_acl(&by, &name("t")).unwrap(), [name::<UserName>("u")]);
}

#[tokio::test]
async fn a_start_gives_the_admin_its_role_back_when_nobody_has_it() {
    let world = World::furnished().await;
    let demoted = || UserChange { service_roles: Some(Vec::new()), ..UserChange::default() };
    let root = world.root(Route::UsersUpdate);
    world.broker.update_user(&root, &name("admin"), demoted()).await.unwrap();
    assert!(world.admit(Route::UsersList, &world.admin).is_err());
    let world = world.restarted().await;
    assert!(world.admit(Route::UsersList, &world.admin).is_ok());

    // While somebody else has it, the operators' wish stands.
    let other = world.user("other", &[], &["service_admin"]).await;
    let root = world.root(Route::UsersUpdate);
    world.broker.update_user(&root, &name("admin"), demoted()).await.unwrap();
    let world = world.restarted().await;
    assert!(world.admit(Route::UsersList, &world.admin).is_err());
    let caller = world.admit(Route::UsersDelete, &other).unwrap();
    world.broker.delete_user(&caller, &name("admin")).await.unwrap();
    world.broker.delete_user(&caller, &name("other")).await.unwrap();
    let world = world.restarted().await;
    assert!(world.admit(Route::UsersList, &world.admin).is_ok(), "made anew");
    assert!(world.admit(Route::UsersList, &other).is_err());
}

#[tokio::test]
async fn lists_of_users_are_paged_newest_first_and_narrowed_to_a_project() {
    let world = World::furnished().await;
    world.project("q").await;
    for user in ["a", "b", "c"] {
        world.user(user, &["consumer"], &[]).await;
    }
    let broker = &world.broker;
    let root = world.root(Route::UsersList);
    let all = broker.users(&root, None, page(None, None), false).unwrap();
    assert_eq!(listed(&all), ["c", "b", "a", "admin"]);
    assert_eq!((all.next, all.total), (None, 4));
    assert!(all.items.iter().all(|user| user.projects.is_empty()));

    let of = Some(broker.users_filter(&root, "p").unwrap());
    let first = broker.users(&root, of, page(Some(2), None), true).unwrap();
    assert_eq!((listed(&first), first.total), (vec!["c", "b"], 3));
    assert_eq!(first.items[0].projects.len(), 1);
    let second = broker.users(&root, of, page(Some(2), first.next), true).unwrap();
    assert_eq!((listed(&second), second.next, second.total), (vec!["a"], None, 3));
    let nobody = Some(broker.users_filter(&root, "q").unwrap());
    let nobody = broker.users(&root, nobody, page(None, None), true).unwrap();
    assert_eq!((nobody.items.len(), nobody.total), (0, 0));
    for unknown in ["nope", "a b", "P"] {
        let unknown = broker.users_filter(&root, unknown);
        assert!(matches!(unknown, Err(Error::ProjectFilterNotFound)));
    }
}
