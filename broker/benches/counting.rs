//! What rights and counting cost a request, in nanoseconds and in instructions, beside a whole
//! publish: `cargo bench --workspace --bench counting`, with `-- --markdown docs/counting.md` as a
//! page. Targets (`performance.md` 4.2): at most 100 ns a request and 5 ns a message of a batch.
//!
//! Instructions are those that valgrind counts in two runs of this program of different length:
//! their difference knows nothing of what comes before the first turn. They need no quiet machine.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for people; it may fail loudly"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::App;
use actix_web::http::Method;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use broker::clock::ManualClock;
use broker::domain::{
    BatchBuilder, Entry, Head, Offset, Progress, ProjectName, SubscriptionName, Time, TopicId,
    TopicName,
};
use broker::http::{Door, Settings as HttpSettings, configure};
use broker::service::{Broker, Peer, Rates, Retention, Roles, Route, Settings, Verb};
use broker::store::{self, Store};
use futures_util::future::LocalBoxFuture;
use sha2::Digest as _;
use tokio_util::task::TaskTracker;

const MESSAGES: u32 = 100;
const NOW: Time = Time::from_secs(1_600_000_000);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Call,
    Hash,
    Publisher,
    Puller,
    Fold,
    HandOut,
    PublishOne,
    PublishMany,
}

use Thing::{Call, Fold, HandOut, Hash, PublishMany, PublishOne, Publisher, Puller};

impl Thing {
    const ALL: [Self; 8] = [Call, Publisher, Puller, Hash, Fold, HandOut, PublishOne, PublishMany];

    const fn what(self) -> &'static str {
        match self {
            Call => "count a call",
            Publisher => "admit a publisher: token, user, roles; topic and its ACL",
            Puller => "admit a consumer: token, user, roles; subscription and its ACL",
            Hash => "of both: SHA-256 of the token",
            Fold => "fold an entry of 100 into its topic's head",
            HandOut => "count a pull of 100 in its subscription's progress",
            PublishOne => "publish 1 of 1 KiB, all of the request",
            PublishMany => "publish 100 of 1 KiB, all of the request",
        }
    }

    /// How many turns two runs differ by, and how many the shorter has.
    const fn turns(self) -> (u32, u32) {
        match self {
            PublishOne | PublishMany => (400, 100),
            Call | Hash | Publisher | Puller | Fold | HandOut => (20_000, 1_000),
        }
    }

    /// Messages of one turn, where they are what is counted.
    const fn messages(self) -> Option<u32> {
        match self {
            Fold | HandOut | PublishMany => Some(MESSAGES),
            Call | Hash | Publisher | Puller | PublishOne => None,
        }
    }

    /// At most so many ns a turn.
    const fn target(self) -> Option<f64> {
        match self {
            Call => Some(100.0),
            Fold | HandOut => Some(500.0),
            Hash | Publisher | Puller | PublishOne | PublishMany => None,
        }
    }
}

/// A broker with project P, topic `t` and subscription `s`, each with one user in its ACL.
struct World {
    broker: Broker,
    maker: String,
    eater: String,
    send: Box<dyn Fn(TestRequest) -> LocalBoxFuture<'static, String>>,
}

impl World {
    async fn open() -> Self {
        // Valgrind does not bear the embedded store's clock, nor is the disk to be counted.
        let broker = open(store::memory()).await;
        let admin = broker.ensure_admin("").await.unwrap();
        let door = Door::new(broker.clone(), HttpSettings::default());
        let app = Rc::new(init_service(App::new().configure(configure(door))).await);
        let send = move |request: TestRequest| -> LocalBoxFuture<'static, String> {
            let app = Rc::clone(&app);
            Box::pin(async move {
                let request = request.peer_addr(([127, 0, 0, 1], 40_000).into()).to_request();
                let answer = call_service(&*app, request).await;
                let status = answer.status();
                let body = read_body(answer).await;
                assert!(status.is_success(), "{body:?}");
                String::from_utf8(body.to_vec()).unwrap()
            })
        };
        let (maker, eater) = (String::new(), String::new());
        let mut world = Self { broker, maker, eater, send: Box::new(send) };
        let made = |user: &str, role: &str| {
            let roles = format!(r#"{{"projects":[{{"project":"P","roles":["{role}"]}}]}}"#);
            (format!("users/{user}"), roles)
        };
        world.call("POST", "projects/P", &admin, "{}").await;
        let (path, body) = made("maker", "publisher");
        world.maker = token(&world.call("POST", &path, &admin, &body).await);
        let (path, body) = made("eater", "consumer");
        world.eater = token(&world.call("POST", &path, &admin, &body).await);
        let subscription = r#"{"topic":"projects/P/topics/t"}"#;
        for (method, path, body) in [
            ("PUT", "topics/t", "{}"),
            ("POST", "topics/t:modifyAcl", r#"{"authorized_users":["maker"]}"#),
            ("PUT", "subscriptions/s", subscription),
            ("POST", "subscriptions/s:modifyAcl", r#"{"authorized_users":["eater"]}"#),
        ] {
            world.call(method, &format!("projects/P/{path}"), &admin, body).await;
        }
        world
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = TestRequest::default().method(method).uri(&format!("/v1/{path}"));
        let request = request.insert_header(("x-api-key", token));
        (self.send)(request.set_payload(body.to_owned())).await
    }

    /// So many turns of `thing`.
    async fn turn(&self, thing: Thing, turns: u32) {
        let many = |mut turn: Box<dyn FnMut() + '_>| (0..turns).for_each(|_| turn());
        let broker = &self.broker;
        let project: ProjectName = "P".parse().unwrap();
        let admit = |route, token| {
            broker.admit(route, Some(black_box(&project)), Some(token), Peer(None)).unwrap()
        };
        match thing {
            Call => many(Box::new(|| broker.count_call(black_box(Verb::Publish), Ok(())))),
            Hash => many(Box::new(|| {
                let hash = sha2::Sha256::digest(black_box(self.maker.as_bytes()));
                black_box(hash);
            })),
            Publisher => {
                let topic: TopicName = "t".parse().unwrap();
                many(Box::new(|| {
                    let caller = admit(Route::TopicsPublish, &self.maker);
                    drop(black_box(broker.publisher(&caller, &topic).unwrap()));
                }));
            }
            Puller => {
                let subscription: SubscriptionName = "s".parse().unwrap();
                many(Box::new(|| {
                    let caller = admit(Route::SubscriptionsPull, &self.eater);
                    drop(black_box(broker.puller(&caller, &subscription).unwrap()));
                }));
            }
            Fold => {
                let (head, entry) = (Head::default(), entry());
                many(Box::new(|| {
                    black_box(head.after(black_box(&entry)));
                }));
            }
            HandOut => {
                let mut progress = Progress::fresh(TopicId::random(), Offset(0));
                many(Box::new(|| {
                    progress.hand_out(black_box(u64::from(MESSAGES)), 400, NOW);
                    black_box(&progress);
                }));
            }
            PublishOne | PublishMany => {
                let message = format!(r#"{{"data":"{}"}}"#, "QUJD".repeat(342));
                let messages = vec![message; if thing == PublishOne { 1 } else { 100 }];
                let body = format!(r#"{{"messages":[{}]}}"#, messages.join(","));
                for _ in 0..turns {
                    let path = "projects/P/topics/t:publish";
                    self.call("POST", path, &self.maker, &body).await;
                }
            }
        }
    }
}

async fn open(store: Arc<dyn Store>) -> Broker {
    let week = Duration::from_secs(604_800);
    let settings = Settings {
        objects_per_project: 10,
        deadline: Duration::from_secs(1),
        reveal_tokens: true,
        roles: Roles::default(),
        pull_messages: 10_000,
        pull_bytes: 1 << 25,
        bodies_bytes: 96 << 20,
        answers_bytes: 128 << 20,
        bytes_per_project: 0,
        rates: Rates::default(),
        push_enabled: false,
        retention: Retention { default: week, max: week, every: week },
    };
    Broker::open(store, ManualClock::at(NOW), [7; 32], settings, TaskTracker::new()).await.unwrap()
}

fn entry() -> Entry {
    let mut batch = BatchBuilder::default();
    (0..MESSAGES).for_each(|_| batch.push::<&str, &str>(&[], "AAAA"));
    Head::default().entry(NOW, batch.finish(), Vec::new())
}

/// The token in a user as the broker shows it.
fn token(user: &str) -> String {
    let (_, rest) = user.split_once(r#""token": ""#).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// The fastest of several runs, ns for one turn: what the code costs when nothing disturbs it.
async fn nanos(world: &World, thing: Thing) -> f64 {
    const TURNS: u32 = 20_000;
    let mut fastest = f64::INFINITY;
    for _ in 0..20 {
        let begun = Instant::now();
        world.turn(thing, TURNS).await;
        fastest = fastest.min(begun.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS));
    }
    fastest
}

/// Instructions of one turn; `None` where there is no valgrind.
fn instructions(thing: Thing) -> Option<f64> {
    let run = |turns: u32| {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(std::env::current_exe().unwrap());
        let output = command.args(["turns", &format!("{thing:?}"), &turns.to_string()]).output();
        let output = output.ok()?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let (_, collected) = told.rsplit_once("Collected : ").unwrap();
        Some(collected.split_whitespace().next().unwrap().parse::<f64>().unwrap())
    };
    let (turns, first) = thing.turns();
    Some((run(first + turns)? - run(first)?) / f64::from(turns))
}

/// What is known of one thing.
struct Row {
    thing: Thing,
    nanos: Option<f64>,
    instructions: Option<f64>,
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | ns | target, ns | ns a message | target, ns | instructions | a message | of a \
         publish of 1 | of a publish of 100 |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let all = |thing| rows.iter().find(|row| row.thing == thing)?.instructions;
    let shown = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| String::from("-"), |value| format!("{value:.digits$}"))
    };
    let each = |value: Option<f64>, thing: Thing| Some(value? / f64::from(thing.messages()?));
    let share = |row: &Row, whole| {
        let percent = 100.0 * row.instructions? / all(whole)?;
        Some(format!("{percent:.2} %"))
    };
    for row in rows {
        let thing = row.thing;
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            thing.what(),
            shown(row.nanos, 1),
            shown(thing.target(), 0),
            shown(each(row.nanos, thing), 2),
            shown(each(thing.target(), thing), 0),
            shown(row.instructions, 0),
            shown(each(row.instructions, thing), 1),
            share(row, PublishOne).as_deref().unwrap_or("-"),
            share(row, PublishMany).as_deref().unwrap_or("-"),
        )
        .unwrap();
    }
    text
}

fn page(table: &str) -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown", |(_, name)| name.trim());
    let valgrind = Command::new("valgrind").arg("--version").output();
    let valgrind = valgrind.map_or_else(|_| Vec::new(), |output| output.stdout);
    format!(
        "# What rights and counting cost\n\n\
         Generated by `cargo bench --workspace --bench counting -- --markdown docs/counting.md`; no \
         figure is typed by hand.\n\n\
         broker {}, {model}, {}. Nanoseconds are the fastest of 20 runs of 20,000 turns. \
         Instructions are those of user space, counted by callgrind in two runs of different \
         length, their difference divided by the turns: set-up cancels out, and they come out the \
         same on a busy machine. Valgrind's processor has no instructions for SHA-256, so that \
         hashing a token costs far more there than here. A publish is the whole request on a \
         store in memory, from the parsed head to the answer (JSON, rights, batch, entry), without \
         socket, log and kernel.\n\n{table}",
        env!("CARGO_PKG_VERSION"),
        String::from_utf8_lossy(&valgrind).trim(),
    )
}

async fn run(arguments: Vec<String>) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["turns", name, turns] = arguments[..] {
        let thing = Thing::ALL.into_iter().find(|thing| format!("{thing:?}") == name).unwrap();
        return World::open().await.turn(thing, turns.parse().unwrap()).await;
    }
    let world = World::open().await;
    let mut rows = Vec::new();
    for thing in Thing::ALL {
        // How long a publish takes is for `ams bench` to say.
        let is_whole = matches!(thing, PublishOne | PublishMany);
        let nanos = if is_whole { None } else { Some(nanos(&world, thing).await) };
        rows.push(Row { thing, nanos, instructions: instructions(thing) });
    }
    let table = table(&rows);
    println!("{table}");
    if let ["--markdown", file] = arguments[..] {
        // Cargo runs this in the package's directory, and people think of the workspace's.
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        std::fs::write(root.join(file), page(&table)).unwrap();
    }
}

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    actix_web::rt::System::new().block_on(run(arguments.collect()));
}
