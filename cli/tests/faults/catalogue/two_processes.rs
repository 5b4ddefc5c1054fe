//! F8: two processes on one directory. The second is refused; a lock file proves nothing.

use std::time::Instant;

use serde_json::json;

use crate::harness::{Ams, FREE_PORTS};
use crate::report;

#[tokio::test]
async fn a_second_process_is_refused_and_a_lock_left_behind_is_not_one() {
    beside_each_other(&[]).await;
}

/// `more` is what the program finds in its environment.
pub(super) async fn beside_each_other(more: &[(&str, &str)]) {
    let begun = Instant::now();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let arguments = [&["broker"], &FREE_PORTS[..2]].concat();
    let mut ams = Ams::start(&dir, &arguments, more);
    ams.api().furnish(&["t"]).await;
    let mut refused = 0;
    for round in 0..3 {
        let body = json!({"messages": [{"data": "aGVsbG8="}]});
        let second = Ams::start_under(&["/usr/bin/env"], &dir, &arguments, more);
        let Err((status, said)) = second else { panic!("a second process was let in") };
        assert_eq!(status.code(), Some(5), "{said}");
        assert!(said.contains("in use by another process"), "{said}");
        refused += 1;
        // The first did not feel it, and is found by its successor whole.
        let told = ams.api().post("projects/P/topics/t:publish", body).await;
        assert_eq!(told, json!({"messageIds": [round.to_string()]}));
        ams.kill();
        assert!(dir.join("broker/lock").exists());
        ams = Ams::start(&dir, &arguments, more);
    }
    report::write(
        "F8",
        json!({
            "what": "two processes on one directory",
            "refused_with_5": refused,
            "started_after_a_kill": refused,
            "seconds": begun.elapsed().as_secs(),
        }),
    );
}
