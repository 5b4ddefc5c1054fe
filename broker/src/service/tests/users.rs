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
