//! Who waits for messages, and loses the right to them meanwhile.

use super::*;
use crate::domain::PushRequest;

/// How a right ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Token,
    User,
    Membership,
    Role,
    Acl,
    Push,
}

impl World {
    /// A consumer whom the ACL of `s` names; answers its token.
    async fn consumer(&self) -> String {
        let token = self.user("one", &["consumer"], &[]).await;
        self.allow(&["one"]).await;
        token
    }

    async fn allow(&self, users: &[&str]) {
        let by = self.root(Route::SubscriptionsModifyAcl);
        let users = users.iter().map(|user| (*user).to_owned()).collect();
        self.broker.set_subscription_acl(&by, &name("s"), users).await.unwrap();
    }

    async fn end(&self, way: End) {
        let (broker, one) = (&self.broker, name::<UserName>("one"));
        match way {
            End::Token => {
                let by = self.root(Route::UsersRefreshToken);
                broker.refresh_token(&by, &one).await.map(|_| ())
            }
            End::User => broker.delete_user(&self.root(Route::UsersDelete), &one).await,
            End::Membership => {
                broker.remove_member(&self.root(Route::ProjectsRemoveUser), &one).await
            }
            End::Role => {
                let by = self.root(Route::ProjectsUpdateUser);
                let roles = Some(vec![String::from("publisher")]);
                broker.update_member(&by, &one, roles).await.map(|_| ())
            }
            End::Acl => {
                self.allow(&[]).await;
                Ok(())
            }
            End::Push => {
                let by = self.root(Route::SubscriptionsModifyPushConfig);
                let endpoint = String::from("https://example.org");
                let wanted = PushRequest { endpoint, ..PushRequest::default() };
                broker.set_subscription_push(&by, &name("s"), Some(wanted)).await
            }
        }
        .unwrap();
    }
}

/// What a pull of somebody new is answered before there is anything to give.
fn anew(world: &World, token: &str) -> Option<Error> {
    let by = world.admit(Route::SubscriptionsPull, token);
    by.and_then(|by| world.broker.puller(&by, &name("s")).map(|_| ())).err()
}

#[tokio::test]
async fn a_pull_that_waits_gets_no_message_once_its_right_has_ended() {
    for way in [End::Token, End::User, End::Membership, End::Role, End::Acl, End::Push] {
        let world = World::with(Settings { push_enabled: true, ..settings() }).await;
        world.furnish().await;
        let token = world.consumer().await;
        let by = world.admit(Route::SubscriptionsPull, &token).unwrap();
        let puller = world.broker.puller(&by, &name("s")).unwrap();
        let waiting = puller.pull(1, Some(Duration::from_secs(60)));
        let revoked = async {
            world.end(way).await;
            world.publish("t", &["secret"]).await.unwrap();
        };
        let (pulled, ()) = tokio::join!(waiting, revoked);
        let refused = pulled.map(|pulled| texts(&pulled)).unwrap_err();
        let anew = anew(&world, &token).unwrap();
        assert_eq!(refused.to_string(), anew.to_string(), "{way:?}");
        let facts = world.facts("s");
        assert_eq!(facts.facts.progress.counters.delivered, 0, "{way:?}");
        // Its own, and that of the one that came anew, if that one came so far.
        let counted = matches!(way, End::Acl | End::Push);
        assert_eq!(facts.pulls.denied, 1 + u64::from(counted), "{way:?}");
    }
}

#[tokio::test]
async fn a_pull_that_waited_in_vain_is_told_that_its_right_has_ended() {
    let world = World::furnished().await;
    let token = world.consumer().await;
    let by = world.admit(Route::SubscriptionsPull, &token).unwrap();
    let puller = || world.broker.puller(&by, &name("s")).unwrap();
    let moment = Some(Duration::from_millis(1));
    assert_eq!(puller().pull(1, moment).await.unwrap().count, 0);
    let waiting = puller();
    world.end(End::Token).await;
    let pulled = waiting.pull(1, moment).await;
    assert!(matches!(pulled, Err(Error::Unauthorized)), "{pulled:?}");
}

#[tokio::test]
async fn a_pull_that_waits_goes_on_when_the_rights_of_others_end() {
    let world = World::furnished().await;
    let token = world.consumer().await;
    world.user("other", &["consumer"], &[]).await;
    world.allow(&["one", "other"]).await;
    let by = world.admit(Route::SubscriptionsPull, &token).unwrap();
    let puller = world.broker.puller(&by, &name("s")).unwrap();
    let waiting = puller.pull(1, Some(Duration::from_secs(60)));
    let revoked = async {
        world.allow(&["one"]).await;
        world.publish("t", &["a"]).await.unwrap();
    };
    let (pulled, ()) = tokio::join!(waiting, revoked);
    assert_eq!(texts(&pulled.unwrap()), ["a"]);
}

#[tokio::test]
async fn a_read_that_waits_gets_no_message_once_its_right_has_ended() {
    let world = World::furnished().await;
    let token = world.user("one", &["project_admin"], &[]).await;
    let by = world.admit(Route::TopicsRead, &token).unwrap();
    let (topic, wait) = (name("t"), Some(Duration::from_secs(60)));
    let waiting = world.broker.read_topic(&by, &topic, ReadFrom::Offset(0), 1, wait);
    let revoked = async {
        tokio::task::yield_now().await;
        world.end(End::Role).await;
        world.publish("t", &["secret"]).await.unwrap();
    };
    let (read, ()) = tokio::join!(waiting, revoked);
    assert!(matches!(read, Err(Error::Forbidden)), "{read:?}");
}
