//! Who is told.

use serde_json::json;
use uuid::Uuid;

use super::world::{PROJECT, World, mins};
use crate::alert::{Incident, Recipients, Step, recipients};

const USERS: [(u128, &str, &str); 4] = [
    (10, "anna@example.org", "consumer"),
    (11, "", "consumer"),
    (12, "boss@example.org", "project_admin"),
    (13, "Boss@example.org", "project_admin"),
];

fn world() -> World {
    let mut world = World::new();
    for (id, email, role) in USERS {
        let id = Uuid::from_u128(id);
        world.service_objects.push(json!({"kind":"user","id":id,"name":"u","email":email,
            "projects":[{"project":PROJECT,"roles":[role]}],"serviceRoles":[]}));
    }
    world.send_directory();
    world
}

fn told(world: &mut World, acl: &[u128], contacts: &[&str]) -> (Recipients, Incident) {
    let mut object = world.sub_object();
    object["acl"] = acl.iter().map(|id| json!(Uuid::from_u128(*id))).collect();
    object["alert"] = json!({ "contacts": contacts });
    world.change(&[object], &[]);
    if world.opened().is_empty() {
        world.run(mins(1), |sub, now| {
            sub.pull(now);
        });
        world.run(mins(15), |sub, now| sub.publish(now));
    }
    let incident = world.opened()[0].clone();
    (recipients(&world.series, &incident, &world.settings), incident)
}

#[test]
fn the_first_rule_that_yields_an_address_wins() {
    let mut world = world();
    let (told_to, _) = told(&mut world, &[10, 11, 12], &["team@example.org"]);
    assert_eq!(told_to.step, Step::Contacts);
    assert_eq!(told_to.addresses, ["team@example.org"]);

    let (told_to, _) = told(&mut world, &[10, 11, 12], &[]);
    assert_eq!(told_to.step, Step::Acl);
    assert_eq!(told_to.addresses, ["anna@example.org", "boss@example.org"]);

    // Nobody on the ACL has an address: the project's admins, each mailbox once.
    let (told_to, _) = told(&mut world, &[11], &["no address", "a@b\r\nBcc: c@d"]);
    assert_eq!(told_to.step, Step::ProjectAdmins);
    assert_eq!(told_to.addresses, ["boss@example.org"]);
    assert!(!told_to.unreachable);

    world.service_objects.retain(|object| object["kind"] == "project");
    let to_forget: Vec<_> = world.series.users().map(|user| user.id).collect();
    assert_eq!(to_forget.len(), 4);
    world.forget_users();
    let (told_to, _) = told(&mut world, &[11], &[]);
    assert_eq!(told_to.step, Step::Operators);
    assert_eq!(told_to.addresses, ["ops@example.org"]);
    assert!(told_to.unreachable);
}

#[test]
fn contacts_of_the_project_count_and_troubles_of_the_service_go_to_the_operators() {
    let mut world = world();
    world.service_objects[0]["alert"] = json!({"contacts":["project@example.org"]});
    world.forget_users();
    let (told_to, incident) = told(&mut world, &[10], &[]);
    assert_eq!(
        (told_to.step, told_to.addresses),
        (Step::Contacts, vec![String::from("project@example.org")])
    );
    world.broker_up = false;
    world.run(mins(3), |_, _| {});
    let blind = world.opened().last().copied().unwrap().clone();
    assert_ne!(blind.id, incident.id);
    let told_to = recipients(&world.series, &blind, &world.settings);
    assert_eq!(told_to.step, Step::Operators);
    assert!(!told_to.unreachable);
}
