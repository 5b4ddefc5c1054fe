//! The formats that gojsonschema knows; others ask for nothing, and so do all of what is no text.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest text that is taken for a pattern.
const LONGEST_PATTERN: usize = 4096;

/// A known format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Date,
    Time,
    DateTime,
    Hostname,
    Email,
    IdnEmail,
    Ipv4,
    Ipv6,
    Uri,
    UriReference,
    Iri,
    IriReference,
    UriTemplate,
    Uuid,
    Regex,
    JsonPointer,
    RelativeJsonPointer,
}

impl Format {
    const ALL: [(Self, &'static str); 17] = [
        (Self::Date, "date"),
        (Self::Time, "time"),
        (Self::DateTime, "date-time"),
        (Self::Hostname, "hostname"),
        (Self::Email, "email"),
        (Self::IdnEmail, "idn-email"),
        (Self::Ipv4, "ipv4"),
        (Self::Ipv6, "ipv6"),
        (Self::Uri, "uri"),
        (Self::UriReference, "uri-reference"),
        (Self::Iri, "iri"),
        (Self::IriReference, "iri-reference"),
        (Self::UriTemplate, "uri-template"),
        (Self::Uuid, "uuid"),
        (Self::Regex, "regex"),
        (Self::JsonPointer, "json-pointer"),
        (Self::RelativeJsonPointer, "relative-json-pointer"),
    ];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(format, _)| format)
    }

    pub(super) fn as_str(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(format, _)| *format == self);
        found.map_or("", |(_, name)| name)
    }

    /// What it takes to judge `text`: a pattern is compiled for it.
    pub(super) const fn steps(self, text: &str) -> usize {
        if matches!(self, Self::Regex) { 10_000 } else { text.len() / 16 }
    }

    /// Whether `text` is of this format.
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Self::Date => is_date(text),
            Self::Time => is_time(text, Zone::May),
            Self::DateTime => {
                // gojsonschema takes a date or a time alone for one.
                is_date(text)
                    || is_time(text, Zone::May)
                    || text
                        .split_once('T')
                        .is_some_and(|(date, time)| is_date(date) && is_time(time, Zone::Must))
            }
            Self::Hostname => is_hostname(text),
            Self::Email | Self::IdnEmail => is_address(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Uri | Self::Iri => has_scheme(text) && is_reference(text),
            Self::UriReference | Self::IriReference => is_reference(text),
            Self::UriTemplate => is_template(text),
            Self::Uuid => is_uuid(text),
            Self::Regex => text.len() <= LONGEST_PATTERN && super::compile::pattern(text).is_ok(),
            Self::JsonPointer => is_pointer(text),
            Self::RelativeJsonPointer => is_relative_pointer(text),
        }
    }
}

/// Exactly `digits` digits, as a number.
fn digits(text: &str, digits: usize) -> Option<u32> {
    let lawful = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if lawful { text.parse().ok() } else { None }
}

/// `YYYY-MM-DD`, a day that exists.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Some(year), Some(month), Some(day)) = (digits(year, 4), digits(month, 2), digits(day, 2))
    else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(is_leap),
        _ => return false,
    };
    (1..=days).contains(&day)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zone {
    May,
    Must,
}

/// `HH:MM:SS`, a fraction or not, `Z` or an offset.
fn is_time(text: &str, zone: Zone) -> bool {
    let Some((clock, rest)) = text.split_at_checked(8) else { return false };
    let mut parts = clock.split(':');
    let mut below =
        |limit| parts.next().and_then(|part| digits(part, 2)).is_some_and(|number| number < limit);
    if !(below(24) && below(60) && below(60) && parts.next().is_none()) {
        return false;
    }
    let rest = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let behind = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if behind.len() == fraction.len() {
                return false;
            }
            behind
        }
    };
    match rest {
        "" => zone == Zone::May,
        "Z" => true,
        offset => {
            let offset = offset.strip_prefix(['+', '-']).and_then(|offset| offset.split_once(':'));
            offset.is_some_and(|(hours, minutes)| {
                digits(hours, 2).is_some_and(|hours| hours < 25)
                    && digits(minutes, 2).is_some_and(|minutes| minutes < 60)
            })
        }
    }
}

fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() < 256 && text.split('.').all(is_label)
}

/// An address, or a name with an address in angle brackets.
fn is_address(text: &str) -> bool {
    let address = match text.trim().strip_suffix('>') {
        Some(named) => named.rsplit_once('<').map_or("", |(_, address)| address),
        None => text.trim(),
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let is_quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let foreign = |c: char| c.is_whitespace() || c.is_control() || "()<>[]:;@\\,\"".contains(c);
    let is_dotted =
        |part: &str| part.split('.').all(|atom| !atom.is_empty()) && !part.contains(foreign);
    (is_quoted || is_dotted(local)) && is_dotted(domain)
}

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// What Go's `url.Parse` reads, as far as it refuses anything.
fn is_reference(text: &str) -> bool {
    let first = text.split(['/', '?', '#']).next().unwrap_or_default();
    let mut escapes = text.split('%').skip(1);
    !text.contains('\\')
        && !text.chars().any(|c| c.is_ascii_control())
        && (!first.contains(':') || has_scheme(text))
        && escapes.all(|escape| {
            escape
                .as_bytes()
                .first_chunk()
                .is_some_and(|[a, b]| a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
        })
}

/// Every brace is closed, none inside of another.
fn is_template(text: &str) -> bool {
    let mut open = false;
    for c in text.chars() {
        match c {
            '{' if open => return false,
            '{' => open = true,
            '}' if !open => return false,
            '}' => open = false,
            _ => {}
        }
    }
    !open
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn is_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/'))
        && text.split('~').skip(1).all(|escape| escape.starts_with(['0', '1']))
}

fn is_relative_pointer(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.get(..text.len() - rest.len()).unwrap_or_default();
    !number.is_empty()
        && (number == "0" || !number.starts_with('0'))
        && (rest == "#" || is_pointer(rest))
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn each_format_takes_its_own() {
        for (name, good, bad) in [
            (
                "date",
                &["2024-02-29", "2020-11-19"][..],
                &["2023-02-29", "2020-1-1", "x", "2020-13-01"][..],
            ),
            (
                "time",
                &["10:00:00", "10:00:00Z", "10:00:00+02:00"],
                &["25:00:00", "10:00", "10:00:00x"],
            ),
            (
                "date-time",
                &["2020-11-19T10:00:00Z", "2020-11-19T10:00:00.123+01:00"],
                &["2020-11-19T10:00:00", "now", "2020-11-19 10:00:00Z"],
            ),
            ("hostname", &["example.org", "a-b.c"], &["-a", "a_b", "", "a..b"]),
            ("email", &["a@b.org", "A B <a@b>"], &["a", "a@", "@b", "a b@c"]),
            ("ipv4", &["127.0.0.1"], &["256.1.1.1", "::1", "1.2.3"]),
            ("ipv6", &["::1", "2001:db8::1"], &["127.0.0.1", "12345::"]),
            (
                "uri",
                &["https://example.org/a?b#c", "urn:a"],
                &["/a", "a b c", "https://\\x", "http://%zz"],
            ),
            ("uri-reference", &["/a", "a", ""], &["\\a", "%z"]),
            ("uri-template", &["/a/{b}"], &["/a/{b", "}"]),
            (
                "uuid",
                &["123e4567-e89b-12d3-a456-426614174000"],
                &["123e4567", "123e4567-e89b-12d3-a456-42661417400g"],
            ),
            ("regex", &["a+", ""], &["(", "a(?=b)"]),
            ("json-pointer", &["", "/a/b~0~1"], &["a", "/~2", "/~"]),
            ("relative-json-pointer", &["0", "1/a", "2#"], &["/a", "01", "1a"]),
        ] {
            let format = Format::from_name(name).unwrap();
            assert_eq!(format.as_str(), name);
            good.iter().for_each(|text| assert!(format.fits(text), "{name}: {text}"));
            bad.iter().for_each(|text| assert!(!format.fits(text), "{name}: {text}"));
        }
        assert_eq!(Format::from_name("unheard-of"), None);
    }
}
