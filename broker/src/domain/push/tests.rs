use super::*;

fn fresh(mark: &str) -> FreshSecrets {
    FreshSecrets {
        authorization: format!("authorization {mark}"),
        verification_hash: format!("hash {mark}"),
    }
}

fn to(endpoint: &str) -> PushRequest {
    PushRequest { endpoint: endpoint.to_owned(), ..PushRequest::default() }
}

fn http(settings: &PushSettings) -> &HttpEndpoint {
    settings.http().unwrap()
}

#[test]
fn a_missing_type_is_told_by_the_address_and_no_other_is_taken() {
    let kind = |kind: &str, endpoint: &str, mattermost_url: &str| {
        let kind = kind.to_owned();
        let request = PushRequest { kind, mattermost_url: mattermost_url.into(), ..to(endpoint) };
        request.of_new(fresh("1")).map(|made| made.destination.as_str())
    };
    // O58
    assert_eq!(kind("", "https://a", ""), Ok("http_endpoint"));
    assert_eq!(kind("", "https://a", "https://m"), Ok("http_endpoint"));
    assert_eq!(kind("", "", "m"), Ok("mattermost"));
    assert_eq!(kind("", "", ""), Err(InvalidPush::Kind));
    assert_eq!(kind("http_endpoint", "", "m"), Err(InvalidPush::Endpoint));
    assert_eq!(kind("mattermost", "https://a", "m"), Ok("mattermost"));
    assert_eq!(kind("mattermost", "https://a", ""), Err(InvalidPush::MattermostUrl));
    assert_eq!(kind("HTTP_ENDPOINT", "https://a", ""), Err(InvalidPush::Kind));
}

#[test]
fn objections_come_in_the_order_of_the_route() {
    let bad = PushRequest {
        authorization: String::from("x"),
        retry: String::from("x"),
        kind: String::from("x"),
        ..to("http://a")
    };
    let both = |request: &PushRequest| {
        let made = request.of_new(fresh("1")).unwrap_err();
        (made, request.in_place_of(None, fresh("1")).unwrap_err())
    };
    assert_eq!(both(&bad), (InvalidPush::Kind, InvalidPush::Retry));
    let bad = PushRequest { kind: String::new(), ..bad };
    assert_eq!(both(&bad), (InvalidPush::Endpoint, InvalidPush::Retry));
    let bad = PushRequest { endpoint: String::from("https://a"), ..bad };
    assert_eq!(both(&bad), (InvalidPush::Authorization, InvalidPush::Retry));
    let bad = PushRequest { authorization: String::from("autogen"), ..bad };
    assert_eq!(both(&bad), (InvalidPush::Retry, InvalidPush::Retry));
}

#[test]
fn an_endpoint_is_an_absolute_https_url_with_a_host() {
    for good in [
        "https://a",
        "HTTPS://a.example.org:8443/p/q?x=y#z",
        "https://127.0.0.1/",
        "https://[::1]:9/x",
        "https://user:word@host/",
        "https://host/a b",
    ] {
        let endpoint = Endpoint::try_from(good.to_owned()).unwrap();
        assert_eq!(endpoint.as_str(), good);
    }
    for bad in [
        "",
        "a",
        "https:",
        "https://",
        "https:a",
        "https:///a",
        "http://a",
        "ftp://a",
        "//a/b",
        " https://a",
        "https://a b/",
        "https://a\\b/",
        "https://\\a",
        "https:\\\\a",
        "https://a/\n",
        "https://a\t/",
        "https://?x",
        "https://a:99999/",
        "https://[::1/",
        "xhttps://a",
    ] {
        assert_eq!(Endpoint::try_from(bad.to_owned()), Err(InvalidPush::Endpoint), "{bad:?}");
    }
}

#[test]
fn host_and_port_are_those_that_are_dialled() {
    let seen = |text: &str| Endpoint::try_from(text.to_owned()).unwrap().verification_url();
    assert_eq!(seen("https://A.org/x?y"), "https://a.org/ams_verification_hash");
    assert_eq!(seen("https://a.org:443"), "https://a.org/ams_verification_hash");
    assert_eq!(seen("https://u:w@a.org:8443/x"), "https://a.org:8443/ams_verification_hash");
    assert_eq!(seen("https://0x7f.1/"), "https://127.0.0.1/ams_verification_hash");
    assert_eq!(seen("https://[::1]:9/"), "https://[::1]:9/ams_verification_hash");
}

#[test]
fn defaults_are_those_of_the_contract() {
    let made = to("https://a").of_new(fresh("1")).unwrap();
    assert_eq!(made.retry, Retry::Linear { period_ms: 3_000 });
    assert!(!made.base64_decode && !made.is_verified());
    let expected = HttpEndpoint {
        endpoint: Endpoint::try_from(String::from("https://a")).unwrap(),
        max_messages: 1,
        authorization_sealed: Some("authorization 1".into()),
        verification_hash_sealed: "hash 1".into(),
        verified: false,
    };
    assert_eq!(http(&made), &expected);
    let request = PushRequest { retry: "slowstart".into(), period: 7, ..to("https://a") };
    let made = request.of_new(fresh("1")).unwrap();
    assert_eq!((made.retry, made.retry.period_ms()), (Retry::Slowstart, 0));
    for (given, kept) in [(-1, 3_000), (0, 3_000), (1, 1), (i64::MAX, i64::MAX.unsigned_abs())] {
        let made = PushRequest { period: given, ..to("https://a") }.of_new(fresh("1")).unwrap();
        assert_eq!(made.retry.period_ms(), kept);
    }
    let mattermost = PushRequest { mattermost_url: "m".into(), ..PushRequest::default() };
    assert!(mattermost.of_new(fresh("1")).unwrap().is_verified());
}

/// A verified one with 5 messages, and `change` made of it.
fn changed(change: &PushRequest) -> PushSettings {
    let request = PushRequest { max_messages: 5, base64_decode: Some(true), ..to("https://a") };
    let mut before = request.of_new(fresh("1")).unwrap();
    if let Destination::HttpEndpoint(http) = &mut before.destination {
        http.verified = true;
    }
    change.in_place_of(Some(&before), fresh("2")).unwrap()
}

#[test]
fn the_same_endpoint_stays_verified_and_another_must_be_verified_anew() {
    let same = changed(&to("https://a"));
    assert_eq!(http(&same).verification_hash_sealed, "hash 1");
    assert!(same.is_verified());
    let other = changed(&to("https://a/"));
    assert_eq!(http(&other).verification_hash_sealed, "hash 2");
    assert!(!other.is_verified());
}

#[test]
fn what_a_change_does_not_name_stays() {
    let same = changed(&to("https://a"));
    assert_eq!(http(&same).max_messages, 5);
    assert!(same.base64_decode, "O31");
    let given = PushRequest { max_messages: 7, base64_decode: Some(false), ..to("https://a") };
    let given = changed(&given);
    assert_eq!((http(&given).max_messages, given.base64_decode), (7, false));
}

#[test]
fn authorization_follows_the_table() {
    let value = |authorization: &str, before: Option<&PushSettings>| {
        let request = PushRequest { authorization: authorization.into(), ..to("https://a") };
        let made = request.in_place_of(before, fresh("2")).unwrap();
        http(&made).authorization_sealed.clone()
    };
    let (one, two) = (Some("authorization 1".into()), Some("authorization 2".into()));
    let autogen = to("https://a").of_new(fresh("1")).unwrap();
    let disabled = PushRequest { authorization: "disabled".into(), ..to("https://a") };
    let disabled = disabled.of_new(fresh("1")).unwrap();
    let mattermost = PushRequest { mattermost_url: "m".into(), ..PushRequest::default() };
    let mattermost = mattermost.of_new(fresh("1")).unwrap();
    assert_eq!(value("", None), two, "it was pulled");
    assert_eq!(value("", Some(&autogen)), one, "kept");
    assert_eq!(value("", Some(&disabled)), None, "kept");
    assert_eq!(value("", Some(&mattermost)), None, "it had none");
    for before in [None, Some(&autogen), Some(&disabled), Some(&mattermost)] {
        assert_eq!(value("autogen", before), two, "new each time");
        assert_eq!(value("disabled", before), None);
    }
}
