//! F6 and F7 from outside: bytes that change under the program, between two starts and while it runs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Ams, Api, Dice, FREE_PORTS};
use crate::report;

const SETTINGS: &[(&str, &str)] = &[
    ("AMS_BROKER__STORE__EMBEDDED__FIRST_SLOT_BYTES", "262144"),
    ("AMS_BROKER__STORE__EMBEDDED__MAX_SLOT_BYTES", "262144"),
    ("AMS_BROKER__STORE__EMBEDDED__LARGEST_RECORD_BYTES", "131072"),
    ("AMS_BROKER__HTTP__BODY_LIMIT", "98304"),
    // Everything is read from the disk.
    ("AMS_BROKER__STORE__EMBEDDED__CACHE_BYTES", "0"),
];
const MESSAGES: u64 = 100;
/// What no frame's head can be mistaken for.
const SIZE: usize = 8_000;

/// The message at an offset: its own base64.
fn text(offset: u64) -> String {
    format!("{offset:08}").repeat(SIZE / 8)
}

fn arguments() -> Vec<&'static str> {
    [&["broker"], &FREE_PORTS[..2]].concat()
}

async fn fill(client: &Api) {
    client.furnish(&["t"]).await;
    for offset in 0..MESSAGES {
        let body = json!({"messages": [{"data": text(offset)}]});
        client.post("projects/P/topics/t:publish", body).await;
    }
}

/// Turns one bit of the byte at `at`; twice is nothing.
fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Where, in the message files, the text of `offset` lies.
fn place(dir: &Path, offset: u64) -> (PathBuf, u64) {
    let text = text(offset);
    // Base64 of the text is text; what is stored are the bytes it stands for.
    let bytes = decode(&text);
    for entry in std::fs::read_dir(dir.join("broker")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with('e') {
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        if let Some(at) = content.windows(64).position(|found| *found == bytes[..64]) {
            return (path, at as u64);
        }
    }
    panic!("message {offset} is in no file");
}

/// Base64 of digits only.
fn decode(text: &str) -> Vec<u8> {
    let sextets: Vec<u8> = text.bytes().map(|digit| digit - b'0' + 52).collect();
    let group = |four: &[u8]| {
        [four[0] << 2 | four[1] >> 4, four[1] << 4 | four[2] >> 2, four[2] << 6 | four[3]]
    };
    sextets.chunks(4).flat_map(group).collect()
}

/// The status of a pull that begins at `offset`, and the messages it brought.
async fn pull(client: &Api, offset: u64) -> (u16, Vec<(u64, String)>) {
    let path = "projects/P/subscriptions/t";
    let (seek, to) = (format!("{path}:modifyOffset"), json!({"offset": offset}));
    let (status, _) = client.try_call(Method::POST, &seek, &to).await.unwrap();
    if status != 200 {
        return (status, Vec::new());
    }
    let body = json!({"maxMessages": "1"});
    let (status, answer) =
        client.try_call(Method::POST, &format!("{path}:pull"), &body).await.unwrap();
    let messages = answer["receivedMessages"].as_array().cloned().unwrap_or_default();
    let read = |message: &Value| {
        let message = &message["message"];
        let offset = message["messageId"].as_str().unwrap().parse().unwrap();
        (offset, message["data"].as_str().unwrap().to_owned())
    };
    (status, messages.iter().map(read).collect())
}

#[tokio::test]
async fn damage_under_the_running_program_is_an_error_and_never_a_message() {
    under_the_running_program(&[]).await;
}

/// `more` is what the program finds in its environment besides.
pub(super) async fn under_the_running_program(more: &[(&str, &str)]) {
    let settings = [SETTINGS, more].concat();
    let begun = Instant::now();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let ams = Ams::start(&dir, &arguments(), &settings);
    let client = ams.api();
    fill(&client).await;
    let (mut refused, mut whole) = (0, 0);
    for offset in (0..MESSAGES).step_by(7) {
        let (path, at) = place(&dir, offset);
        for within in [0, 700, 5_000] {
            flip(&path, at + within);
            let (status, messages) = pull(&client, offset).await;
            assert_eq!(status, 500, "damage is served: offset {offset} + {within}");
            assert!(messages.is_empty(), "offset {offset}: {messages:?}");
            refused += 1;
            // The others are served: it is that range alone.
            let other = (offset + MESSAGES / 2) % MESSAGES;
            assert_eq!(pull(&client, other).await, (200, vec![(other, text(other))]));
            flip(&path, at + within);
            assert_eq!(pull(&client, offset).await, (200, vec![(offset, text(offset))]));
            whole += 2;
        }
    }
    report::write(
        "F7",
        json!({
            "what": "a bit flipped in a file under the running program",
            "flips": refused,
            "answered_500": refused,
            "others_served_whole": whole,
            "wrong_messages": 0,
            "seconds": begun.elapsed().as_secs(),
        }),
    );
}

/// F6 is exhaustive on a simulated disk, in the store's own tests; this shows that the program
/// makes of it what operators are told: exit 3 and the file named, nothing changed; or, where a
/// start need not look, an error for whoever does.
#[tokio::test]
async fn damage_between_two_starts_is_refused_and_named() {
    between_two_starts(&[]).await;
}

/// `more` is what the program finds in its environment besides.
pub(super) async fn between_two_starts(more: &[(&str, &str)]) {
    let settings = [SETTINGS, more].concat();
    let begun = Instant::now();
    let (home, mut dice) = (tempfile::tempdir().unwrap(), Dice(report::seed() | 1));
    let dir = home.path().join("data");
    let mut ams = Ams::start(&dir, &arguments(), &settings);
    fill(&ams.api()).await;
    ams.kill();
    let (flips, mut at_start, mut when_read) = (report::number("FLIPS", 10), 0, 0);
    for flipped in 0..flips {
        // Never of the last messages: damage there cannot be told from a torn write. The first is
        // in the open file, which a start reads, whatever the dice say.
        let offset = if flipped == 0 { MESSAGES - 11 } else { dice.roll(0, MESSAGES - 10) };
        let (path, at) = place(&dir, offset);
        let at = at + dice.roll(0, SIZE as u64 / 2);
        flip(&path, at);
        let file = path.file_name().unwrap().to_str().unwrap();
        match Ams::start_under(&["/usr/bin/env"], &dir, &arguments(), &settings) {
            // What a start need not read is met by whoever reads it.
            Ok(ams) => {
                let answer = pull(&ams.api(), offset).await;
                assert_eq!(answer.0, 500, "damage in {file} is taken for none: {answer:?}");
                when_read += 1;
            }
            Err((status, said)) => {
                assert_eq!(status.code(), Some(3), "{file} {at}: {said}");
                assert!(said.contains(file), "{file} is not named: {said}");
                at_start += 1;
            }
        }
        flip(&path, at);
    }
    let ams = Ams::start(&dir, &arguments(), &settings);
    for offset in 0..MESSAGES {
        assert_eq!(pull(&ams.api(), offset).await, (200, vec![(offset, text(offset))]));
    }
    report::write(
        "F6 (program)",
        json!({
            "what": "a bit flipped between two starts",
            "flips": flips,
            "refused_with_3": at_start,
            "answered_500": when_read,
            "seed": report::seed(),
            "seconds": begun.elapsed().as_secs(),
        }),
    );
}
