//! The audit log: of one commit with what it tells, and told before a position moves.

use super::*;
use crate::store::{Call, Catalog as _, Fault, StoreError};

impl World {
    /// Operation, resource, from and to of every line, the oldest first.
    fn told(&self) -> Vec<String> {
        let caller = self.root(Route::AuditList);
        let page = self.broker.audit(&caller, AuditFilter::default(), PageRequest::default());
        let line = |line: &crate::domain::audit::AuditRecord| {
            let text = format!("{} {}", line.operation.as_str(), line.resource);
            format!("{text} {} {}", line.from, line.to).trim().to_owned()
        };
        page.items.iter().rev().map(line).collect()
    }
}

#[tokio::test]
async fn a_change_that_fails_leaves_no_trace_and_a_restart_keeps_those_there_are() {
    let world = World::furnished().await;
    let before = world.told();
    assert_eq!(
        before,
        [
            "user.create /users/admin  service_admin",
            "project.create /projects/p",
            "topic.create /projects/p/topics/t",
            "subscription.create /projects/p/subscriptions/s  topic t",
        ]
    );
    world.store.fail_always(Call::CommitScope, Fault::Refuse(StoreError::Full));
    assert!(world.delete_topic("t").await.is_err());
    assert_eq!(world.told(), before);
    let world = world.restarted().await;
    assert_eq!(world.told(), before);
    world.delete_topic("t").await.unwrap();
    // The clock stands still: what comes after a restart is newer all the same.
    assert_eq!(world.told().last().unwrap(), "topic.delete /projects/p/topics/t");
    assert_eq!(world.told().len(), before.len() + 1, "once, not again when it is finished");
}

#[tokio::test]
async fn nothing_moves_before_it_is_told() {
    let world = World::furnished().await;
    world.publish("t", &["a", "b"]).await.unwrap();
    world.seek("s", 2).await.unwrap();
    let forward = "subscription.forward /projects/p/subscriptions/s 0 2";
    assert_eq!(world.told().last().unwrap(), forward);
    world.store.fail_always(Call::CommitScope, Fault::Refuse(StoreError::Full));
    assert!(world.seek("s", 0).await.is_err());
    world.store.heal();
    assert_eq!(world.offsets("s").await, (2, 0, 2));
    assert_eq!(world.told().last().unwrap(), forward);
    // The other way round it is told, and does not move.
    world.store.fail_always(Call::Save, Fault::Refuse(StoreError::Full));
    assert!(world.seek("s", 0).await.is_err());
    world.store.heal();
    assert_eq!(world.offsets("s").await, (2, 0, 2));
    let rewind = "subscription.rewind /projects/p/subscriptions/s 2 0";
    assert_eq!(world.told().last().unwrap(), rewind);
    // To where it stands is no move.
    let told = world.told().len();
    world.seek("s", 2).await.unwrap();
    assert_eq!(world.told().len(), told);
}

#[tokio::test]
async fn a_deleted_project_leaves_its_trace_in_the_service_and_nothing_behind() {
    let world = World::furnished().await;
    let caller = world.root(Route::ProjectsDelete);
    let scope = Scope::Project(caller.project().unwrap());
    let (schema, x) = (world.root(Route::SchemasCreate), name("x"));
    let definition = Some("{}".to_owned());
    world.broker.create_schema(&schema, &x, "json", definition).await.unwrap();
    world.broker.delete_project(&caller).await.unwrap();
    world.broker.sweep().await;
    let told = world.told();
    assert_eq!(told.last().unwrap(), "project.delete /projects/p");
    assert!(!told.iter().any(|line| line.contains("/projects/p/")), "{told:?}");
    let left = world.store.load_scope(scope).await.unwrap();
    assert_eq!(left.objects, [], "its scope is empty");
}

#[tokio::test]
async fn a_project_admin_sees_its_project_only() {
    let world = World::furnished().await;
    world.project("q").await;
    let owner = world.user("owner", &["project_admin"], &["metrics_viewer"]).await;
    let caller = world.admit(Route::ProjectsAudit, &owner).unwrap();
    let page = PageRequest::default();
    let seen = world.broker.project_audit(&caller, AuditFilter::default(), page).unwrap();
    let seen: Vec<_> = seen.items.iter().map(|line| line.resource.as_str()).collect();
    let wanted = [
        "/projects/p/members/owner",
        "/projects/p/subscriptions/s",
        "/projects/p/topics/t",
        "/projects/p",
    ];
    assert_eq!(seen, wanted);
    assert!(matches!(world.admit(Route::AuditList, &owner), Err(Error::Forbidden)));
}

#[tokio::test]
async fn pages_follow_each_other_over_all_scopes() {
    let world = World::furnished().await;
    world.user("u", &["consumer"], &[]).await;
    world.topic("u").await.unwrap();
    let caller = world.root(Route::AuditList);
    let all = world.broker.audit(&caller, AuditFilter::default(), PageRequest::default());
    let (mut items, mut page) = (Vec::new(), PageRequest { size: Some(2), from: None });
    loop {
        let found = world.broker.audit(&caller, AuditFilter::default(), page);
        assert_eq!(found.total, all.total);
        items.extend(found.items);
        let Some(next) = found.next else { break };
        page.from = Some(next);
    }
    assert_eq!(items, all.items);
    assert_eq!(all.total, 7);
    let later = AuditFilter { since: Some(Time(world.clock.wall().0 + 1)) };
    assert_eq!(world.broker.audit(&caller, later, PageRequest::default()).total, 0);
}
