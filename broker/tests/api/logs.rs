//! What is logged: nothing where all is well, each failure of ours once, never a secret.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use broker::store::{Call, Fault, StoreError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::api::World;

/// Keeps every line of this thread, fields and all.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        if event.metadata().target().starts_with("broker") {
            self.0.lock().unwrap().push(line.0);
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[actix_web::test]
async fn success_is_silent_failure_is_told_once_and_secrets_never() {
    let world = World::new().await;
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    world.publish(1).await;
    assert_eq!(world.pull(1).await, [0]);
    world.ack(0).await.ok();
    assert_eq!(lines.take(), Vec::<String>::new());

    // A client's mistake that AMS answers with 500 disturbs nobody.
    assert_eq!(world.ack(5).await.status, 500);
    let refused = lines.take();
    assert!(refused.iter().all(|line| line.starts_with("DEBUG")), "{refused:?}");

    let api = &world.api;
    api.store.fail_always(Call::Commit, Fault::Refuse(StoreError::Corrupt("slot 7".into())));
    let secret = api.admin.as_str();
    let publish = format!("/v1/projects/P/topics/t:publish?key={secret}");
    let failed = api.call("POST", &publish, "", br#"{"messages": [{"data": "private"}]}"#).await;
    assert_eq!(failed.status, 500);
    api.call("GET", &publish, secret, b"").await;
    api.call("GET", &format!("/v1/projects?key={secret}x"), "wrong-token", b"").await;
    let told = lines.take();
    let errors: Vec<_> = told.iter().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{told:?}");
    assert!(errors[0].contains("slot 7") && errors[0].contains("topic=\"t\""), "{errors:?}");
    for hidden in [secret, "private", "wrong-token", "key="] {
        assert!(told.iter().all(|line| !line.contains(hidden)), "{hidden}: {told:?}");
    }
}
