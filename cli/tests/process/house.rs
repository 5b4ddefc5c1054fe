//! A broker that runs, and the client against it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::harness::{Ams, FREE_PORTS, PATIENCE};

/// A broker and a directory beside its data, where the client is run.
pub(crate) struct House {
    pub(crate) ams: Ams,
    home: tempfile::TempDir,
}

/// What the client said: exit code, standard output, standard error.
pub(crate) struct Said(pub(crate) Option<i32>, pub(crate) String, pub(crate) String);

impl House {
    pub(crate) fn open() -> Self {
        Self::with(&[&["broker"], &FREE_PORTS[..2]].concat(), &[])
    }

    /// A server that is started with `arguments` and `environment`.
    pub(crate) fn with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let ams = Ams::start(&home.path().join("data"), arguments, environment);
        Self { ams, home }
    }

    /// Kills the broker and starts it again where it was.
    pub(crate) fn restart(&mut self) {
        let address = self.ams.url().replace("https://localhost:", "127.0.0.1:");
        self.ams.kill();
        self.ams = Ams::start(&self.path("data"), &["broker", "--listen", &address], &[]);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs the client with nothing but `set` in its environment and `input` to read.
    pub(crate) fn bare(&self, line: &str, set: &[(&str, &str)], input: &str) -> Said {
        let mut child = self.spawn(line, set);
        // Who needs no input may have ended already.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said = Said(output.status.code(), text(output.stdout), text(output.stderr));
        let token = std::fs::read_to_string(self.path("data/admin.token")).unwrap();
        assert!(!said.1.contains(&token) && !said.2.contains(&token), "{line} shows a token");
        said
    }

    fn spawn(&self, line: &str, set: &[(&str, &str)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ams"));
        command.args(line.split_whitespace());
        self.spawn_as(command, set)
    }

    fn spawn_as(&self, mut command: Command, set: &[(&str, &str)]) -> Child {
        command.env_clear().envs(set.iter().copied()).current_dir(self.home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// What says that it is the administrator who runs the client.
    fn admin(&self) -> [(&str, &str); 3] {
        [
            ("AMS_URL", self.ams.url()),
            ("AMS_TOKEN_FILE", "data/admin.token"),
            ("AMS_CA", "data/tls/ca.pem"),
        ]
    }

    /// The same with the administrator's token.
    pub(crate) fn run(&self, line: &str, input: &str) -> Said {
        self.bare(line, &self.admin(), input)
    }

    /// One that goes on until it is told to end.
    pub(crate) fn begin(&self, line: &str) -> Going {
        Self::hear(self.spawn(line, &self.admin()))
    }

    /// One whose outputs are a terminal.
    pub(crate) fn begin_on_terminal(&self, line: &str) -> Going {
        let mut command = Command::new("script");
        let line = format!("{} {line}", env!("CARGO_BIN_EXE_ams"));
        command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        let set = [&self.admin()[..], &[("TERM", "xterm"), ("PATH", "/usr/bin:/bin")]].concat();
        Self::hear(self.spawn_as(command, &set))
    }

    fn hear(mut child: Child) -> Going {
        let (said, heard) = mpsc::channel();
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().unwrap());
        let error: Box<dyn Read + Send> = Box::new(child.stderr.take().unwrap());
        for from in [out, error] {
            let said = said.clone();
            std::thread::spawn(move || {
                let lines = BufReader::new(from).lines().map_while(Result::ok);
                lines.map(|line| said.send(line)).take_while(Result::is_ok).for_each(drop);
            });
        }
        Going { child, heard }
    }

    /// The output of a use that succeeds.
    pub(crate) fn good(&self, line: &str) -> String {
        self.good_with(line, "")
    }

    pub(crate) fn good_with(&self, line: &str, input: &str) -> String {
        let Said(code, out, error) = self.run(line, input);
        assert_eq!(code, Some(0), "{line}: {error}");
        out
    }

    /// The words of a use that fails with `code`.
    pub(crate) fn bad(&self, line: &str, input: &str, code: i32) -> String {
        let Said(actual, _, error) = self.run(line, input);
        assert_eq!(actual, Some(code), "{line}: {error}");
        error
    }

    /// A project with a topic and a subscription.
    pub(crate) fn furnished() -> Self {
        let house = Self::open();
        house.good("project create P");
        house.good("topic create t");
        house.good("sub create s --topic t --ack-deadline 60");
        house
    }
}

/// A client that goes on. Killed when dropped.
pub(crate) struct Going {
    pub(crate) child: Child,
    heard: mpsc::Receiver<String>,
}

impl Going {
    /// The next lines up to one with `text` in it, from either output.
    pub(crate) fn until(&self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.contains(text)) {
            match self.heard.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(error) => panic!("no `{text}` ({error}): {lines:?}"),
            }
        }
        lines
    }

    /// All further lines of one that has ended.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.heard.iter().collect()
    }

    /// Tells it to end; its exit code.
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
