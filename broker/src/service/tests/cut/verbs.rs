//! Every verb that changes the store, each with something to do in the state of [`Base`].
//!
//! Not here: what writes piece by piece, and may stay between two (`letters`, `retained`).

use super::base::wish;
use super::*;

/// A verb and what may be seen of it when it was cut.
pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) run: for<'a> fn(&'a World) -> Doing<'a>,
    /// Parts of the picture that may be written though the verb was not done.
    pub(super) ahead: &'static [&'static str],
    /// It leaves a mark first: from there on it is finished also where the store then refused.
    pub(super) is_marked: bool,
    /// Done a second time it does more.
    pub(super) adds: bool,
}

impl Verb {
    pub(super) fn writes_ahead(self, ahead: &'static [&'static str]) -> Self {
        Self { ahead, ..self }
    }

    fn marks(self) -> Self {
        Self { is_marked: true, ..self }
    }

    pub(super) fn adds(self) -> Self {
        Self { adds: true, ..self }
    }
}

pub(super) fn verb(name: &'static str, run: for<'a> fn(&'a World) -> Doing<'a>) -> Verb {
    Verb { name, run, ahead: &[], is_marked: false, adds: false }
}

pub(super) fn verbs() -> Vec<Verb> {
    let mut all = of_projects();
    all.extend(of_users());
    all.extend(of_topics());
    all.extend(of_schemas());
    all.extend(delivery::of_subscriptions());
    all.extend(delivery::of_messages());
    all
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|text| (*text).to_owned()).collect()
}

pub(super) fn stalls_after(text: &str) -> AlertSettings {
    let stall_after = Some(text.to_owned().try_into().unwrap());
    AlertSettings { stall_after, ..AlertSettings::default() }
}

fn of_projects() -> Vec<Verb> {
    vec![
        verb("create project", |world| {
            Box::pin(async {
                let (by, new) = (world.by(Route::ProjectsCreate)?, name("new"));
                let made =
                    world.broker.create_project(&by, &new, String::new(), stalls_after("1h"));
                made.await.map(drop)
            })
        }),
        verb("rename project", |world| {
            Box::pin(async {
                let by = world.by(Route::ProjectsUpdate)?;
                let made = world.broker.update_project(&by, Some(name("r")), Some("said".into()));
                made.await.map(drop)
            })
        }),
        verb("alert of project", |world| {
            Box::pin(async {
                let by = world.by(Route::ProjectsModifyAlert)?;
                world.broker.set_project_alert(&by, stalls_after("2h")).await
            })
        }),
        verb("delete project", |world| {
            Box::pin(async {
                let by = world.by(Route::ProjectsDelete)?;
                world.broker.delete_project(&by).await
            })
        }),
    ]
}

fn of_users() -> Vec<Verb> {
    vec![
        verb("create user", |world| {
            Box::pin(async {
                let by = world.by(Route::UsersCreate)?;
                let projects = vec![("p".to_owned(), words(&["publisher"]))];
                let service_roles = words(&["metrics_viewer"]);
                let new = NewUser { projects, service_roles, ..NewUser::default() };
                world.broker.create_user(&by, &name("new"), new).await.map(drop)
            })
        }),
        verb("change user", |world| {
            Box::pin(async {
                let by = world.by(Route::UsersUpdate)?;
                let projects =
                    ["p", "q"].map(|project| (project.to_owned(), words(&["publisher"])));
                let change = UserChange {
                    email: "u@example.org".to_owned(),
                    projects: Some(projects.to_vec()),
                    service_roles: Some(words(&["admin_viewer"])),
                    ..UserChange::default()
                };
                world.broker.update_user(&by, &name("u"), change).await.map(drop)
            })
        }),
        verb("refresh token", |world| {
            Box::pin(async {
                let by = world.by(Route::UsersRefreshToken)?;
                world.broker.refresh_token(&by, &name("u")).await.map(drop)
            })
        })
        .adds(),
        verb("delete user", |world| {
            Box::pin(async {
                let by = world.by(Route::UsersDelete)?;
                world.broker.delete_user(&by, &name("u")).await
            })
        }),
        verb("create member", |world| {
            Box::pin(async {
                let by = world.by(Route::ProjectsCreateUser)?;
                let (new, roles) = (name("new"), words(&["consumer"]));
                world.broker.create_member(&by, &new, "e@example.org".into(), roles).await.map(drop)
            })
        }),
        verb("add member", |world| {
            Box::pin(async {
                let by = world.by(Route::ProjectsAddUser)?;
                world.broker.add_member(&by, &name("m"), words(&["publisher"])).await.map(drop)
            })
        }),
        verb("roles of member", |world| {
            Box::pin(async {
                let by = world.by(Route::ProjectsUpdateUser)?;
                let roles = Some(words(&["publisher", "project_admin"]));
                world.broker.update_member(&by, &name("u"), roles).await.map(drop)
            })
        }),
        verb("remove member", |world| {
            Box::pin(async {
                let by = world.by(Route::ProjectsRemoveUser)?;
                world.broker.remove_member(&by, &name("u")).await
            })
        }),
        verb("register", |world| {
            Box::pin(async {
                let by = world.by(Route::RegistrationsNewUser)?;
                world.broker.register(&by, wish("new")).await.map(drop)
            })
        })
        .adds(),
        verb("accept registration", |world| {
            Box::pin(async {
                let by = world.by(Route::RegistrationsAcceptNewUser)?;
                world.broker.accept_registration(&by, &world.newcomer()).await.map(drop)
            })
        }),
        verb("decline registration", |world| {
            Box::pin(async {
                let by = world.by(Route::RegistrationsDeclineNewUser)?;
                let id = world.broker.find_pending(&by, &world.newcomer())?;
                world.broker.decline_registration(&by, id, "no".to_owned()).await
            })
        }),
        verb("delete registration", |world| {
            Box::pin(async {
                let by = world.by(Route::RegistrationsDelete)?;
                world.broker.delete_registration(&by, &world.newcomer()).await
            })
        }),
    ]
}

fn of_topics() -> Vec<Verb> {
    vec![
        verb("create topic", |world| Box::pin(async { world.topic("new").await.map(drop) })),
        verb("create topic again", |world| Box::pin(async { world.topic("gone").await.map(drop) })),
        // What retention took of it is saved first, while it can be told.
        verb("delete topic", |world| Box::pin(world.delete_topic("t")))
            .writes_ahead(&["progress of sub"])
            .marks(),
        verb("acl of topic", |world| {
            Box::pin(async {
                let by = world.by(Route::TopicsModifyAcl)?;
                world.broker.set_topic_acl(&by, &name("d"), words(&["u"])).await
            })
        }),
        verb("alert of topic", |world| {
            Box::pin(async {
                let by = world.by(Route::TopicsModifyAlert)?;
                world.broker.set_topic_alert(&by, &name("t"), stalls_after("3h")).await
            })
        }),
        verb("retention of topic", |world| {
            Box::pin(async {
                let by = world.by(Route::TopicsModifyRetention)?;
                let age = Some("2d".to_owned().try_into().unwrap());
                let keeps = RetentionSettings { age, bytes: Some(1_000) };
                world.broker.set_topic_retention(&by, &name("t"), keeps).await
            })
        }),
        verb("attach schema", |world| {
            Box::pin(async {
                let by = world.by(Route::TopicsAttachSchema)?;
                world.broker.set_topic_schema(&by, &name("t"), Some(name("x"))).await
            })
        }),
        verb("detach schema", |world| {
            Box::pin(async {
                let by = world.by(Route::TopicsDetachSchema)?;
                world.broker.set_topic_schema(&by, &name("judged"), None).await
            })
        }),
    ]
}

fn of_schemas() -> Vec<Verb> {
    vec![
        verb("create schema", |world| {
            Box::pin(async {
                let by = world.by(Route::SchemasCreate)?;
                let definition = Some(r#"{"type":"array"}"#.to_owned());
                world.broker.create_schema(&by, &name("new"), "json", definition).await.map(drop)
            })
        }),
        verb("replace schema", |world| {
            Box::pin(async {
                let by = world.by(Route::SchemasUpdate)?;
                let edit = SchemaEdit {
                    name: None,
                    language: Some("avro".to_owned()),
                    definition: Some(r#"{"type":"string"}"#.to_owned()),
                };
                world.broker.update_schema(&by, &name("x"), edit).await.map(drop)
            })
        }),
        verb("delete schema", |world| {
            Box::pin(async {
                let by = world.by(Route::SchemasDelete)?;
                world.broker.delete_schema(&by, &name("x")).await
            })
        }),
        verb("create snapshot", |world| {
            Box::pin(async {
                let by = world.by(Route::SnapshotsCreate)?;
                world.broker.create_snapshot(&by, &name("new"), &name("a")).await.map(drop)
            })
        }),
        verb("delete snapshot", |world| {
            Box::pin(async {
                let by = world.by(Route::SnapshotsDelete)?;
                world.broker.delete_snapshot(&by, &name("n")).await
            })
        }),
    ]
}

impl World {
    /// The id of the registration that there is.
    fn newcomer(&self) -> String {
        let state = self.broker.0.service.read();
        let newcomer = name("newcomer");
        let found = state.index.registrations.values().find(|record| record.name == newcomer);
        found.map(|record| record.id.to_string()).unwrap_or_default()
    }
}
