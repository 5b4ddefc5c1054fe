//! `ams context`: servers by name, in one file that only its owner may read.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::names::Name;
use super::options::Output;
use super::place::{Environment, token_of};
use super::server::check_url;
use super::table::{self, column};
use crate::failure::Failure;
use crate::print;

/// `ams context ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Remember a server; the token comes from a file, or is read from standard input and kept
    Add {
        /// What to call it; a context of this name is replaced
        name: Name,
        // No docstring: it would have to be a link.
        #[arg(help = "Such as https://ams.example.org:8443", long)]
        url: String,
        /// Where its metrics-svc is, for `ams status`; it gets the token too
        #[arg(long, value_name = "URL")]
        metrics_url: Option<String>,
        /// The file with the token, read each time; without it the token is read from standard input
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// The certificates (PEM) that alone are trusted, instead of the system's
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// The project to use there
        #[arg(long, value_name = "NAME")]
        project: Option<Name>,
    },
    /// Make a context the current one
    Use {
        /// Which
        name: Name,
    },
    /// All contexts, without their tokens
    List {
        /// For people, or for scripts
        #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
        output: Output,
    },
    /// Forget a context, and its token
    Remove {
        /// Which
        name: Name,
    },
}

/// The file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Context>,
}

/// One server. No `Debug`: it holds a token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    pub(super) url: String,
    /// Where the metrics-svc of this server is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metrics_url: Option<String>,
    /// The token itself, if it is not in a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
}

impl Contexts {
    /// What `path` holds; nothing when it is absent.
    ///
    /// # Errors
    /// Others may read it, or it is no such file. The error quotes nothing of it.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |error: io::Error| Failure::Usage(format!("{shown}: {error}"));
        let mut file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            let text = format!("{shown} can be read by others: chmod 600 {shown}");
            return Err(Failure::Usage(text));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            // `message` alone: the whole error shows the line, which may be that of a token.
            Failure::Usage(format!("{shown}: {}", error.message()))
        })
    }

    /// Replaces the file at once: there is always a whole one, and only its owner may read it.
    fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::Other(format!("{}: {error}", path.display()));
        let text = toml::to_string(self)
            .map_err(|error| Failure::Other(format!("cannot write contexts: {error}")))?;
        let home = match path.parent() {
            Some(home) if !home.as_os_str().is_empty() => home,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(home).map_err(failed)?;
        // Made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(home).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// The context `name`.
    pub(super) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { String::from("none") } else { known.join(", ") };
            Failure::Usage(format!("there is no context `{name}`; there are: {known}"))
        })
    }
}

/// Does `command`.
pub(super) fn run(command: &Command, environment: &Environment) -> Result<(), Failure> {
    let path = environment.contexts_file().ok_or_else(|| {
        Failure::Usage(String::from("no place for contexts: set AMS_CONTEXTS to a file"))
    })?;
    let mut all = Contexts::read(&path)?;
    match command {
        Command::Add { name, url, metrics_url, token_file, ca, project } => {
            check_url(url)?;
            metrics_url.as_deref().map(check_url).transpose()?;
            let token_file = token_file.as_deref().map(readable_token).transpose()?;
            let token = if token_file.is_none() { Some(token_from_stdin()?) } else { None };
            let ca = ca.as_deref().map(readable).transpose()?;
            let project = project.as_ref().map(Name::to_string);
            let (url, metrics_url) = (url.clone(), metrics_url.clone());
            let context = Context { url, metrics_url, token, token_file, ca, project };
            all.contexts.insert(name.to_string(), context);
            let is_current = *all.current.get_or_insert_with(|| name.to_string()) == name.as_str();
            all.write(&path)?;
            let what = if is_current { ", the current one" } else { "" };
            print::lines(&[format!("context {name}{what}, in {}", path.display())])
        }
        Command::Use { name } => {
            all.get(name.as_str())?;
            all.current = Some(name.to_string());
            all.write(&path)?;
            print::lines(&[format!("context {name} is the current one")])
        }
        Command::List { output } => list(&all, *output),
        Command::Remove { name } => {
            all.get(name.as_str())?;
            all.contexts.remove(name.as_str());
            let was_current = all.current.as_deref() == Some(name.as_str());
            if was_current {
                all.current = None;
            }
            all.write(&path)?;
            let none = if was_current { "; none is the current one now" } else { "" };
            print::lines(&[format!("context {name} removed{none}")])
        }
    }
}

fn list(all: &Contexts, output: Output) -> Result<(), Failure> {
    let one = |(name, context): (&String, &Context)| {
        let is_current = all.current.as_ref() == Some(name);
        let token = match &context.token_file {
            Some(file) => file.display().to_string(),
            None => String::from("stored"),
        };
        let ca = context.ca.as_ref().map(|path| path.display().to_string());
        json!({
            "current": if output == Output::Json { json!(is_current) }
                else { json!(if is_current { "*" } else { "" }) },
            "name": name, "url": context.url, "project": context.project,
            "token": token, "ca": ca, "metricsUrl": context.metrics_url,
        })
    };
    let items: Vec<_> = all.contexts.iter().map(one).collect();
    let columns = [
        column("CURRENT", "current"),
        column("NAME", "name"),
        column("URL", "url"),
        column("PROJECT", "project"),
        column("TOKEN", "token"),
        column("CA", "ca"),
        column("METRICS", "metricsUrl"),
    ];
    table::list(output, &columns, &items)
}

/// The absolute path of a file that can be read.
fn readable(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: io::Error| Failure::Usage(format!("{}: {error}", path.display()));
    std::fs::File::open(path).map_err(failed)?;
    std::path::absolute(path).map_err(failed)
}

/// The absolute path of a file with a token in it.
fn readable_token(path: &Path) -> Result<PathBuf, Failure> {
    token_of(path)?;
    readable(path)
}

fn token_from_stdin() -> Result<String, Failure> {
    let mut input = io::stdin();
    if input.is_terminal() {
        let text = "no token: pipe it in (`ams context add ... < FILE`, which keeps it in the \
                    contexts), or name its file with --token-file";
        return Err(Failure::Usage(text.to_owned()));
    }
    let mut text = String::new();
    input
        .read_to_string(&mut text)
        .map_err(|error| Failure::Other(format!("standard input: {error}")))?;
    super::place::token("standard input", &text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn one() -> Contexts {
        let context = Context {
            url: String::from("https://h"),
            metrics_url: None,
            token: Some(String::from("s3cret")),
            token_file: None,
            ca: None,
            project: None,
        };
        let contexts = BTreeMap::from([(String::from("a"), context)]);
        Contexts { current: Some(String::from("a")), contexts }
    }

    #[test]
    fn the_file_survives_a_round_trip_and_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new/contexts.toml");
        assert!(Contexts::read(&path).unwrap().contexts.is_empty());
        one().write(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let read = Contexts::read(&path).unwrap();
        assert_eq!(read.current.as_deref(), Some("a"));
        assert_eq!(read.get("a").unwrap().token.as_deref(), Some("s3cret"));
        let Err(error) = read.get("b") else { panic!("there is no b") };
        assert!(error.to_string().contains("there are: a"), "{error}");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let Err(error) = Contexts::read(&path) else { panic!("others may read it") };
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn an_error_about_the_file_shows_no_token() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("contexts.toml");
        for bad in ["[contexts.a]\nurl = 'x'\ntokn = 's3cret'\n", "[contexts.a]\ntoken = s3cret\n"]
        {
            std::fs::write(&path, bad).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let Err(error) = Contexts::read(&path) else { panic!("{bad} is no such file") };
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
