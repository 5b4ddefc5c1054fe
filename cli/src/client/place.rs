//! Which server is meant, and who we are there: flags before the environment before the current
//! context before the data directory here.
//!
//! A stored token only goes to the server it was stored for: another URL takes no context.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::contexts::{Context, Contexts};
use super::names::Name;
use super::options::Connection;
use super::server::{check_url, is_loopback};
use crate::failure::Failure;

/// Where a broker serves when nothing is set.
const DEFAULT_URL: &str = "https://localhost:8443";

/// What of the environment matters to the client; empty is absent.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    context: Option<String>,
    url: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    project: Option<String>,
    contexts: Option<PathBuf>,
    config_home: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Environment {
    /// Picks what matters.
    ///
    /// # Errors
    /// A value that must be text is none.
    pub(super) fn read(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Failure> {
        let mut read = Self::default();
        for (name, value) in variables {
            if value.is_empty() {
                continue;
            }
            let text = |value: OsString| {
                let bad = |_| Failure::Usage(format!("{}: no text", name.to_string_lossy()));
                value.into_string().map_err(bad)
            };
            match name.to_str() {
                Some("AMS_CONTEXT") => read.context = Some(text(value)?),
                Some("AMS_URL") => read.url = Some(text(value)?),
                Some("AMS_TOKEN_FILE") => read.token_file = Some(value.into()),
                Some("AMS_CA") => read.ca = Some(value.into()),
                Some("AMS_PROJECT") => read.project = Some(text(value)?),
                Some("AMS_CONTEXTS") => read.contexts = Some(value.into()),
                Some("XDG_CONFIG_HOME") => read.config_home = Some(value.into()),
                Some("HOME") => read.home = Some(value.into()),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Where contexts are kept; `None` when nothing says where.
    pub(super) fn contexts_file(&self) -> Option<PathBuf> {
        let below = |home: &PathBuf| home.join("ams/contexts.toml");
        // The XDG specification ignores relative paths.
        let config_home = self.config_home.as_ref().filter(|home| home.is_absolute());
        self.contexts.clone().or_else(|| config_home.map(below)).or_else(|| {
            let home = self.home.as_ref()?;
            Some(below(&home.join(".config")))
        })
    }
}

/// A server and who we are there. No `Debug`: it holds a token.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) url: String,
    /// Where the metrics-svc of that server is, if it is stored.
    pub(super) metrics_url: Option<String>,
    pub(super) token: String,
    /// The file of the certificates that alone are trusted.
    pub(super) ca: Option<PathBuf>,
    pub(super) project: Option<String>,
    /// Who said so, for errors: `context prod`.
    pub(super) source: String,
    /// It is a stored one.
    pub(super) is_context: bool,
    /// Where the token comes from, for errors.
    pub(super) token_source: String,
    /// Nobody said which server: people are told which one it is.
    pub(super) is_guess: bool,
}

/// Where the server's own files are said to be, when nothing else says where.
enum Base {
    Context(String, Context),
    Url(String),
    Directory(PathBuf),
}

/// What is meant by `flags` and `environment`. `data` is the directory that was asked for.
pub(super) fn find(
    flags: &Connection,
    environment: &Environment,
    data: Option<&Path>,
    default_data: &Path,
) -> Result<Place, Failure> {
    let token_file = flags.token_file.as_ref().or(environment.token_file.as_ref());
    let ca = flags.ca.as_ref().or(environment.ca.as_ref());
    let project = flags.project.as_ref().map(Name::to_string).or(environment.project.clone());
    let base = base(flags, environment, data, default_data)?;

    let directory = data.unwrap_or(default_data);
    // The certificate of the directory makes sure that its token reaches no other server.
    let beside = match &base {
        Base::Directory(_) => true,
        Base::Url(url) => {
            let local = || check_url(url).is_ok_and(|url| is_loopback(&url));
            url.starts_with("https://")
                && directory_base(directory).is_some()
                && ca.is_none()
                && (token_file.is_none() || local())
        }
        Base::Context(..) => false,
    };
    let stored = match &base {
        Base::Context(_, context) => Some(context),
        _ => None,
    };
    let own = |name: &str| beside.then(|| directory.join(name));

    let token_file = token_file
        .cloned()
        .or_else(|| stored.and_then(|context| context.token_file.clone()))
        .or_else(|| own("admin.token"));
    let stored_token = stored.and_then(|context| context.token.clone());
    let (token, token_source) = match (&token_file, stored_token) {
        // A flag, or the environment, comes before what is stored.
        (Some(file), _) => (token_of(file)?, file.display().to_string()),
        (None, Some(token)) => (token, String::from("the context itself")),
        (None, None) => {
            let text = "no token: name its file with --token-file or AMS_TOKEN_FILE";
            return Err(Failure::Usage(text.to_owned()));
        }
    };
    let ca = ca.cloned().or_else(|| stored.and_then(|context| context.ca.clone()));
    let project = project.or_else(|| stored.and_then(|context| context.project.clone()));
    let metrics_url = stored.and_then(|context| context.metrics_url.clone());
    let is_context = stored.is_some();
    let (url, source, is_guess) = match base {
        Base::Context(name, context) => (context.url, format!("context {name}"), false),
        Base::Url(url) => (url, String::from("the URL given"), false),
        Base::Directory(path) => {
            let source = format!("the data directory {}", path.display());
            (DEFAULT_URL.to_owned(), source, true)
        }
    };
    let ca = ca.or_else(|| own("tls/ca.pem"));
    Ok(Place { url, metrics_url, token, ca, project, source, is_context, token_source, is_guess })
}

fn base(
    flags: &Connection,
    environment: &Environment,
    data: Option<&Path>,
    default_data: &Path,
) -> Result<Base, Failure> {
    let contexts = || match environment.contexts_file() {
        Some(path) => Contexts::read(&path),
        None => Ok(Contexts::default()),
    };
    let named = |name: &str| -> Result<Base, Failure> {
        let context = contexts()?.get(name)?.clone();
        Ok(Base::Context(name.to_owned(), context))
    };
    if let Some(name) = &flags.context {
        return named(name.as_str());
    }
    if let Some(url) = &flags.url {
        return Ok(Base::Url(url.clone()));
    }
    if let Some(data) = data {
        return directory_base(data).ok_or_else(|| {
            let data = data.display();
            Failure::Usage(format!("{data} holds no admin.token and tls/ca.pem of a broker"))
        });
    }
    if let Some(url) = &environment.url {
        if environment.context.is_some() {
            let text = "AMS_CONTEXT and AMS_URL both say which server: unset one";
            return Err(Failure::Usage(text.to_owned()));
        }
        return Ok(Base::Url(url.clone()));
    }
    if let Some(name) = &environment.context {
        return named(name);
    }
    let known = contexts()?;
    if let Some(name) = &known.current {
        return Ok(Base::Context(name.clone(), known.get(name)?.clone()));
    }
    directory_base(default_data).ok_or_else(|| {
        let data = default_data.display();
        Failure::Usage(format!(
            "no server: name one with --context or --url, or store one with `ams context add`; \
             there is none in {data} either"
        ))
    })
}

/// `path` if it holds what a broker leaves there for its operator.
fn directory_base(path: &Path) -> Option<Base> {
    let is_there = path.join("admin.token").is_file() && path.join("tls/ca.pem").is_file();
    is_there.then(|| Base::Directory(path.to_owned()))
}

/// The token in `file`.
pub(super) fn token_of(file: &Path) -> Result<String, Failure> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("token file {shown}: {error}")))?;
    token(&shown, &text)
}

/// The token that `text` from `source` is, white space around it ignored.
pub(super) fn token(source: &str, text: &str) -> Result<String, Failure> {
    let token = text.trim();
    if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token.to_owned());
    }
    let what = if token.is_empty() { "is empty" } else { "holds something else than one token" };
    Err(Failure::Usage(format!("{source} {what}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A home with a contexts file, a token file and a data directory.
    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir_all(home.path("data/tls")).unwrap();
            std::fs::write(home.path("data/admin.token"), "of-data").unwrap();
            std::fs::write(home.path("data/tls/ca.pem"), "").unwrap();
            std::fs::write(home.path("token"), "of-file\n").unwrap();
            home.contexts(
                "current = 'a'\n[contexts.a]\nurl = 'https://a'\ntoken = 'of-a'\nproject = 'P'\n\
                 [contexts.b]\nurl = 'https://b'\ntoken = 'of-b'\n",
            );
            home
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn contexts(&self, text: &str) {
            let path = self.path("contexts");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }

        /// URL, token, project.
        fn find(&self, flags: &Connection, set: &[(&str, &str)], data: bool) -> String {
            let contexts = self.path("contexts");
            let set = set.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            let set = set.chain([(OsString::from("AMS_CONTEXTS"), contexts.into())]);
            let environment = Environment::read(set).unwrap();
            let here = self.path("data");
            let data = data.then_some(here.as_path());
            match find(flags, &environment, data, &here) {
                Ok(place) => {
                    let project = place.project.unwrap_or_default();
                    format!("{} {} {project}", place.url, place.token).trim().to_owned()
                }
                Err(error) => error.to_string(),
            }
        }
    }

    #[test]
    fn flags_come_before_the_environment_before_the_current_context_before_the_directory() {
        let home = Home::new();
        let none = Connection::default();
        let context = |name: &str| Connection { context: name.parse().ok(), ..none.clone() };
        assert_eq!(home.find(&none, &[], false), "https://a of-a P");
        assert_eq!(home.find(&none, &[("AMS_CONTEXT", "b")], false), "https://b of-b");
        assert_eq!(home.find(&context("a"), &[("AMS_CONTEXT", "b")], false), "https://a of-a P");
        assert_eq!(home.find(&none, &[], true), "https://localhost:8443 of-data");
        assert_eq!(home.find(&context("b"), &[("AMS_PROJECT", "Q")], true), "https://b of-b Q");
        assert!(home.find(&context("c"), &[], false).contains("there are: a, b"));
        let file = home.path("token");
        let set = [("AMS_TOKEN_FILE", file.to_str().unwrap())];
        assert_eq!(home.find(&none, &set, false), "https://a of-file P");
        assert_eq!(home.find(&none, &set, true), "https://localhost:8443 of-file");
        home.contexts("");
        assert_eq!(home.find(&none, &[], false), "https://localhost:8443 of-data");
        std::fs::remove_file(home.path("data/admin.token")).unwrap();
        assert!(home.find(&none, &[], false).contains("ams context add"));
    }

    #[test]
    fn a_token_goes_to_no_server_it_was_not_stored_for() {
        let home = Home::new();
        let url = |url: &str| Connection { url: Some(url.to_owned()), ..Connection::default() };
        // Beside the certificate of the same directory, which no other server has.
        assert_eq!(home.find(&url("https://x"), &[], false), "https://x of-data");
        assert!(home.find(&url("http://x"), &[], false).contains("--token-file"));
        let own = Connection { ca: Some(home.path("token")), ..url("https://x") };
        assert!(home.find(&own, &[], false).contains("--token-file"));
        let both = [("AMS_URL", "https://x"), ("AMS_CONTEXT", "a")];
        assert!(home.find(&Connection::default(), &both, false).contains("unset one"));
    }

    #[test]
    fn a_bad_token_is_refused_without_being_shown() {
        for (text, what) in [("", "is empty"), (" \n", "is empty"), ("a b", "else"), ("ä", "else")]
        {
            let error = token("F", text).unwrap_err().to_string();
            assert!(error.contains(what) && !error.contains("a b"), "{error}");
        }
        assert_eq!(token("F", " abc\r\n").unwrap(), "abc");
    }
}
