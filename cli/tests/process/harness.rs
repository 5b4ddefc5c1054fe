//! A child process of the program, and a client of its API.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use reqwest::{Certificate, Method};
use serde_json::Value;

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A started program that said `ready`. Killed when dropped.
pub(crate) struct Ams {
    child: Child,
    /// What it said, `ready` included.
    pub(crate) lines: Vec<String>,
    dir: PathBuf,
}

/// The program with `arguments` on the data directory `dir`, nothing of our environment in it.
fn command(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ams"));
    command.env_clear().envs(environment.iter().copied());
    command.args(arguments).arg("--data").arg(dir);
    command
}

/// Runs the program to its end.
pub(crate) fn run(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(dir, arguments, environment).output().unwrap()
}

/// Flags that let any number of programs run beside each other.
pub(crate) const FREE_PORTS: &[&str] =
    &["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];

impl Ams {
    pub(crate) fn start(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn(dir, command(dir, arguments, environment))
    }

    /// One whose writes can be made to fail ([`Self::limit_files`]) without a signal that kills it.
    pub(crate) fn start_limitable(dir: &Path, arguments: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#]);
        shell.arg(env!("CARGO_BIN_EXE_ams")).args(arguments).arg("--data").arg(dir);
        Self::spawn(dir, shell)
    }

    /// From now on no write behind the first `bytes` of a file succeeds.
    pub(crate) fn limit_files(&self, bytes: u64) {
        let (id, limit) = (self.child.id().to_string(), format!("--fsize={bytes}:{bytes}"));
        assert!(Command::new("prlimit").args(["--pid", &id, &limit]).status().unwrap().success());
    }

    /// Waits for it to end by itself.
    pub(crate) fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// One that another program starts, such as a tracer: `words` come before the program's own.
    /// That program must become the broker (`exec`). An error says how it ended before `ready`.
    pub(crate) fn start_under(
        words: &[&str],
        dir: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, (ExitStatus, String)> {
        let mut command = Command::new(words[0]);
        command.env_clear().envs(environment.iter().copied()).args(&words[1..]);
        command.arg(env!("CARGO_BIN_EXE_ams")).args(arguments).arg("--data").arg(dir);
        Self::try_spawn(dir, command)
    }

    fn spawn(dir: &Path, command: Command) -> Self {
        Self::try_spawn(dir, command)
            .unwrap_or_else(|(status, said)| panic!("not ready: {status}; {said}"))
    }

    fn try_spawn(dir: &Path, mut command: Command) -> Result<Self, (ExitStatus, String)> {
        let log = dir.with_extension("log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let (said, heard) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        let mut started = Self { child, lines: Vec::new(), dir: dir.to_owned() };
        while started.lines.last().is_none_or(|line| line != "ready") {
            match heard.recv_timeout(PATIENCE) {
                Ok(line) => started.lines.push(line),
                Err(error) => {
                    // It closed its output, so it ends; or it hangs and is ended.
                    if error == mpsc::RecvTimeoutError::Timeout {
                        started.child.kill().unwrap();
                    }
                    let status = started.child.wait().unwrap();
                    let log = std::fs::read_to_string(dir.with_extension("log")).unwrap();
                    return Err((status, format!("{error}; {:?}\n{log}", started.lines)));
                }
            }
        }
        Ok(started)
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The word behind `before` in what it said.
    pub(crate) fn said(&self, before: &str) -> &str {
        let line = self.lines.iter().find(|line| line.contains(before));
        let line = line.unwrap_or_else(|| panic!("no `{before}` in {:?}", self.lines));
        let rest = line.split_once(before).unwrap().1;
        rest.split_whitespace().next().unwrap()
    }

    /// Where its API is.
    pub(crate) fn url(&self) -> &str {
        self.said("API ")
    }

    /// A client that trusts its CA and has the token of `admin`.
    pub(crate) fn api(&self) -> Api {
        let ca = std::fs::read(self.dir.join("tls/ca.pem")).unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .tls_certs_only([Certificate::from_pem(&ca).unwrap()])
            .build()
            .unwrap();
        let token = std::fs::read_to_string(self.dir.join("admin.token")).unwrap();
        Api { http, base: self.said("API ").to_owned(), token }
    }

    /// No time for last words.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end; how it ended and how long that took.
    pub(crate) fn terminate(self) -> (ExitStatus, Duration) {
        self.signalled("-TERM")
    }

    /// The same by Ctrl-C.
    pub(crate) fn interrupt(self) -> (ExitStatus, Duration) {
        self.signalled("-INT")
    }

    fn signalled(mut self, signal: &str) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        (status, begun.elapsed())
    }
}

impl Drop for Ams {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A client of one broker.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    /// Status and body; an error when no answer came.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value), reqwest::Error> {
        let url = format!("{}/v1/{path}", self.base);
        let request = self.http.request(method, url).header("x-api-key", &self.token);
        let answer = request.body(body.to_string()).send().await?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// The body of a call that succeeds.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_call(method, path, &body).await.unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, body).await
    }

    /// A project `P` with a topic and one subscription each of these names.
    pub(crate) async fn furnish(&self, names: &[&str]) {
        use serde_json::json;
        self.post("projects/P", json!({})).await;
        for name in names {
            let topic = format!("projects/P/topics/{name}");
            self.call(Method::PUT, &topic, json!({})).await;
            let path = format!("projects/P/subscriptions/{name}");
            let body = json!({"topic": topic, "ackDeadlineSeconds": 600});
            self.call(Method::PUT, &path, body).await;
        }
    }
}

/// The text of a page without TLS.
pub(crate) async fn page(url: &str) -> Result<String, reqwest::Error> {
    let http =
        reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build()?;
    http.get(url).send().await?.error_for_status()?.text().await
}

/// Numbers that look random, the same in each run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From `from` up to, without, `to`.
    pub(crate) const fn roll(&mut self, from: u64, to: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from + self.0 % (to - from)
    }
}
