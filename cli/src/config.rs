//! Settings: defaults < file < environment < flags. The one place that reads the environment.

use std::ffi::{OsStr, OsString};

use figment::error::Kind;
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::failure::Failure;

/// Every key with its default and what it means.
const DEFAULTS: &str = include_str!("../config.default.toml");

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) log: Log,
    pub(crate) broker: broker::config::Settings,
    pub(crate) metrics: metrics_svc::config::Settings,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// A level, or `module=level` pairs.
    pub(crate) filter: String,
    /// For people or for collectors.
    pub(crate) format: telemetry::Format,
}

impl Config {
    /// What is in force for `args` and `environment`.
    pub(crate) fn load(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Failure> {
        let mut sources = Figment::from(Layer::of_text("the defaults", DEFAULTS)?);
        if let Some(path) = &args.config {
            let source = format!("file {}", path.display());
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("{source}: {error}")))?;
            sources = sources.merge(Layer::of_text(&source, &text)?);
        }
        for (name, value) in environment {
            if let Some(layer) = Layer::of_variable(&name, &value)? {
                sources = sources.merge(layer);
            }
        }
        let flags = [
            ("--listen", "broker.listen", args.listen),
            ("--metrics-listen", "metrics.listen", args.metrics_listen),
        ];
        for (flag, key, address) in flags {
            if let Some(address) = address {
                sources = sources.merge(Layer::of_key(flag, key, &address.to_string()));
            }
        }
        // Lossy: the environment knows texts only, so a text may stand for a number.
        sources.extract_lossy().map_err(|error| Failure::Usage(explain(error)))
    }

    /// As a file that says the same, secrets masked.
    pub(crate) fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string(self).map_err(|error| Failure::Other(format!("cannot print: {error}")))
    }
}

/// Settings from one place, which is named where one of them is wrong.
struct Layer {
    source: String,
    settings: Dict,
}

impl Layer {
    fn of_text(source: &str, text: &str) -> Result<Self, Failure> {
        let settings = Toml::from_str(text)
            .map_err(|error| Failure::Usage(format!("{source}: {}", error.to_string().trim())))?;
        Ok(Self { source: source.to_owned(), settings })
    }

    /// One setting, by its path.
    fn of_key(source: &str, key: &str, value: &str) -> Self {
        let nested = figment::util::nest(key, Value::from(value));
        Self { source: source.to_owned(), settings: nested.into_dict().unwrap_or_default() }
    }

    /// One environment variable; none of ours without `AMS_` and `__`.
    fn of_variable(name: &OsStr, value: &OsStr) -> Result<Option<Self>, Failure> {
        let Some(path) = name.to_str().and_then(|name| name.strip_prefix("AMS_")) else {
            return Ok(None);
        };
        if !path.contains("__") {
            return Ok(None);
        }
        let source = format!("environment variable AMS_{path}");
        let value = value
            .to_str()
            .ok_or_else(|| Failure::Usage(format!("{source}: its value is no UTF-8 text")))?;
        let key = path.to_ascii_lowercase().replace("__", ".");
        if key.split('.').any(str::is_empty) {
            return Err(Failure::Usage(format!("{source}: there is no such key")));
        }
        Ok(Some(Self::of_key(&source, &key, value)))
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.settings.clone())]))
    }
}

/// Every mistake on a line of its own: which key, where it comes from, what is wrong.
fn explain(errors: figment::Error) -> String {
    let one = |error: figment::Error| {
        let mut path = error.path.clone();
        let what = match &error.kind {
            Kind::UnknownField(field, known) => {
                if path.last() != Some(field) {
                    path.push(field.clone());
                }
                format!("there is no such key; there are: {}", known.join(", "))
            }
            Kind::UnknownVariant(name, known) => {
                format!("there is no `{name}`; there are: {}", known.join(", "))
            }
            kind => kind.to_string(),
        };
        let source = error.metadata.as_ref().map(|from| format!(" ({})", from.name));
        format!("{}{}: {what}", path.join("."), source.unwrap_or_default())
    };
    errors.into_iter().map(one).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use clap::Parser as _;
    use proptest::prelude::*;

    use super::*;

    fn load(line: &[&str], environment: &[(&str, &str)]) -> Result<Config, String> {
        let args = Args::try_parse_from([&["ams"], line].concat()).unwrap();
        let variables = environment.iter().map(|(name, value)| (name.into(), value.into()));
        Config::load(&args, variables).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_programs_and_complete() {
        let config = load(&[], &[]).unwrap();
        assert_eq!(config.broker, broker::config::Settings::default());
        assert_eq!(config.metrics, metrics_svc::config::Settings::default());
        // What is printed names every key there is; each must be in the commented file.
        let printed: toml::Table = config.to_toml().unwrap().parse().unwrap();
        let written: toml::Table = DEFAULTS.parse().unwrap();
        assert_eq!(keys("", &printed), keys("", &written));
    }

    fn keys(path: &str, table: &toml::Table) -> Vec<String> {
        let mut found: Vec<String> = table
            .iter()
            .flat_map(|(key, value)| match value {
                toml::Value::Table(inner) => keys(&format!("{path}{key}."), inner),
                _ => vec![format!("{path}{key}")],
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file_over_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ams.toml");
        let text = "[broker]\nlisten = '127.0.0.1:1'\n[broker.report]\nevery = '1m'\n\
                    [metrics]\nlisten = '127.0.0.1:1'\n";
        std::fs::write(&file, text).unwrap();
        let line = ["--config", file.to_str().unwrap(), "--metrics-listen", "127.0.0.1:3"];
        let environment =
            [("AMS_BROKER__LISTEN", "127.0.0.1:2"), ("AMS_METRICS__LISTEN", "127.0.0.1:2")];
        let config = load(&line, &environment).unwrap();
        assert_eq!(config.broker.listen.port(), 2);
        assert_eq!(config.metrics.listen.port(), 3);
        assert_eq!(config.broker.report.every.as_secs(), 60);
        assert_eq!(config.metrics.ingest.listen.port(), 9465);
    }

    #[test]
    fn the_environment_takes_numbers_lists_and_durations_as_texts() {
        let config = load(
            &[],
            &[
                ("AMS_BROKER__HTTP__BODY_LIMIT", "1000"),
                ("AMS_BROKER__STORE__EMBEDDED__CACHE_BYTES", "4096"),
                ("AMS_BROKER__AUTH__REVEAL_TOKENS", "false"),
                ("AMS_BROKER__PLAIN_LISTEN", "127.0.0.1:8080"),
                ("AMS_BROKER__ADMIN__EMAIL", "12345"),
                ("AMS_METRICS__ALERT__TO", "a@example.org,b@example.org"),
                ("AMS_METRICS__ALERT__MIN_STALL", "3s"),
                ("AMS_TOKEN", "not ours"),
                ("OTHER__THING", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.broker.http.body_limit, 1_000);
        assert_eq!(
            config.broker.store,
            broker::config::Store::Embedded(broker::config::Embedded {
                cache_bytes: 4_096,
                ..Default::default()
            })
        );
        assert!(!config.broker.auth.reveal_tokens);
        assert_eq!(config.broker.plain_listen.unwrap().port(), 8080);
        assert_eq!(config.broker.admin.email, "12345");
        assert_eq!(config.metrics.alert.to, ["a@example.org", "b@example.org"]);
        assert_eq!(config.metrics.alert.min_stall.unwrap().as_secs(), 3);
    }

    #[test]
    fn a_mistake_names_its_key_and_where_it_comes_from() {
        let error = load(&[], &[("AMS_BROKER__LISTNE", "x")]).unwrap_err();
        assert!(
            error.starts_with("broker.listne (environment variable AMS_BROKER__LISTNE): "),
            "{error}"
        );
        for name in ["AMS___LISTEN", "AMS_BROKER__", "AMS_BROKER____LISTEN"] {
            let error = load(&[], &[(name, "x")]).unwrap_err();
            assert!(error.contains(name) && error.contains("no such key"), "{error}");
        }
        let error = load(&[], &[("AMS_BROKER__LISTEN", "nowhere")]).unwrap_err();
        assert!(
            error.starts_with("broker.listen (environment variable AMS_BROKER__LISTEN): "),
            "{error}"
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ams.toml");
        let of_file = |text: &str| {
            std::fs::write(&file, text).unwrap();
            load(&["--config", file.to_str().unwrap()], &[]).unwrap_err()
        };
        let named = format!("(file {})", file.display());
        let error = of_file("[metrics.smtp]\nurk = 'x'\n");
        assert!(error.starts_with(&format!("metrics.smtp.urk {named}: ")), "{error}");
        let error = of_file("[broker.store.scylla]\nhosts = 'x'\n");
        assert!(error.contains(&named), "{error}");
        let error = of_file("[broker\n");
        assert!(error.starts_with(&format!("file {}: ", file.display())), "{error}");
        let error = load(&["--config", "/nonexistent/ams.toml"], &[]).unwrap_err();
        assert!(error.starts_with("file /nonexistent/ams.toml: "), "{error}");
    }

    #[test]
    fn what_is_printed_masks_secrets_and_can_be_read_again() {
        let set = [("AMS_METRICS__SMTP__URL", "smtp://me:hunter2@mail.example.org:25")];
        let text = load(&[], &set).unwrap().to_toml().unwrap();
        assert!(text.contains("smtp://me:***@mail.example.org:25"), "{text}");
        assert!(!text.contains("hunter2"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ams.toml");
        let plain = load(&[], &[]).unwrap();
        std::fs::write(&file, plain.to_toml().unwrap()).unwrap();
        assert_eq!(load(&["--config", file.to_str().unwrap()], &[]).unwrap(), plain);
    }

    /// Settings that are not there in a text of their own, or a text that says what is wrong.
    fn is_answered(outcome: Result<Config, String>) {
        match outcome {
            Ok(config) => {
                config.to_toml().unwrap();
                let _lawful_or_told = config.broker.check();
            }
            Err(text) => assert!(!text.is_empty()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_file_brings_a_panic(
            at: prop::sample::Index,
            gone in 0..40_usize,
            put in r##"(\PC{0,9}|[\[\]=.'"#\n]{0,4}|-?[0-9]{0,25}[a-z]?|\[broker\.[a-z]+\])"##,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("ams.toml");
            let mut text = DEFAULTS.as_bytes().to_vec();
            let at = at.index(text.len());
            text.splice(at..(at + gone).min(text.len()), put.bytes());
            std::fs::write(&file, text).unwrap();
            is_answered(load(&["--config", file.to_str().unwrap()], &[]));
        }

        #[test]
        fn no_variable_brings_a_panic(
            key in r"(BROKER|METRICS)__(HTTP__KEEP_ALIVE|HTTP__BODY_LIMIT|LISTEN|RETENTION__MAX|SMTP__URL|[A-Z_]{0,9})",
            value in r"(\PC{0,9}|-?[0-9]{0,25}[a-z]?|smtp://\PC{0,9})",
        ) {
            is_answered(load(&[], &[(&format!("AMS_{key}"), &value)]));
        }
    }
}
