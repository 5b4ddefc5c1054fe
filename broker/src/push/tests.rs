#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Instant;

use super::*;

fn endpoint(url: &str) -> Endpoint {
    Endpoint::try_from(url.to_owned()).unwrap()
}

#[tokio::test]
async fn strangers_have_us_call_nothing_inside() {
    for url in [
        "https://127.0.0.1",
        "https://0x7f.1/",
        "https://2130706433",
        "https://localhost:8443/x",
        "https://[::1]",
        "https://[::ffff:10.0.0.1]",
        "https://169.254.169.254/latest",
        "https://8.8.8.8:22",
        "https://8.8.8.8:9000/x",
    ] {
        let seen = verification(&endpoint(url), &Reach::Public).await;
        assert_eq!(seen, Err(Unheard::NotAllowed), "{url}");
    }
}

#[tokio::test]
async fn what_is_called_is_what_was_judged() {
    let at = |url| async move { addresses(&endpoint(url), &Reach::Public).await };
    assert_eq!(at("https://8.8.8.8/x").await, Ok(vec!["8.8.8.8:443".parse().unwrap()]));
    let six = "https://[2606:4700::1111]:8443";
    assert_eq!(at(six).await, Ok(vec!["[2606:4700::1111]:8443".parse().unwrap()]));
    let inside = Reach::Inside(Vec::new());
    let seen = addresses(&endpoint("https://127.0.0.1:9"), &inside).await;
    assert_eq!(seen, Ok(vec!["127.0.0.1:9".parse().unwrap()]));
}

#[tokio::test]
async fn nobody_waits_for_an_endpoint_that_says_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let begun = Instant::now();
    let seen = verification(&endpoint(&url), &Reach::Inside(Vec::new())).await;
    assert_eq!(seen, Err(Unheard::Unreachable));
    assert!(begun.elapsed() < TIME * 2, "{:?}", begun.elapsed());
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("https://127.0.0.1:{port}");
    let seen = verification(&endpoint(&url), &Reach::Inside(Vec::new())).await;
    assert_eq!(seen, Err(Unheard::Unreachable));
}
