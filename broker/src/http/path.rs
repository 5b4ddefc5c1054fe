//! Paths and query strings, decoded once.

/// A path's segments: percent-decoded as a whole (so `%2F` separates like `/`), empty and dot
/// segments resolved. AMS redirects to the cleaned path; clients lose their body on that, so it is
/// followed here (`ams-clients.md` 0.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(String);

impl Path {
    /// Reads the path of a request target.
    pub(super) fn new(raw: &str) -> Self {
        Self(decode(raw))
    }

    /// The segments; `None` when the path ends in a slash, which names nothing.
    pub(super) fn segments(&self) -> Option<Vec<&str>> {
        if self.0.ends_with('/') {
            return None;
        }
        let mut segments = Vec::with_capacity(6);
        for segment in self.0.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                name => segments.push(name),
            }
        }
        Some(segments)
    }
}

/// A query string.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a>(pub(super) &'a str);

impl Query<'_> {
    /// The first value of `key`; `None` when absent or empty.
    pub(super) fn get(self, key: &str) -> Option<String> {
        let mut pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(name, _)| decode(&name.replace('+', " ")) == key)?;
        let value = decode(&value.replace('+', " "));
        (!value.is_empty()).then_some(value)
    }
}

/// Undoes percent-encoding. What is not well encoded stays as it is and what is no UTF-8 becomes
/// U+FFFD: neither can be part of a lawful name.
fn decode(raw: &str) -> String {
    if !raw.contains('%') {
        return raw.to_owned();
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = match tail {
            [high, low, behind @ ..] if *first == b'%' => {
                hex(*high).zip(hex(*low)).map(|(high, low)| (high * 16 + low, behind))
            }
            _ => None,
        };
        match escaped {
            Some((byte, behind)) => {
                out.push(byte);
                rest = behind;
            }
            None => out.push(*first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::{Path, Query};

    #[test]
    fn a_path_is_decoded_once_and_cleaned_like_its_redirect_would_be() {
        let segments = |raw| Path::new(raw).segments().map(|s| s.join("|"));
        assert_eq!(segments("/v1///projects/P").as_deref(), Some("v1|projects|P"));
        assert_eq!(segments("/v1/./a/../projects/P").as_deref(), Some("v1|projects|P"));
        assert_eq!(segments("/v1/projects%2FP").as_deref(), Some("v1|projects|P"));
        assert_eq!(segments("/v1/%2570").as_deref(), Some("v1|%70"));
        assert_eq!(segments("/v1/%zz%4").as_deref(), Some("v1|%zz%4"));
        assert_eq!(segments("/v1/%ff").as_deref(), Some("v1|\u{fffd}"));
        assert_eq!(segments("/v1/projects/"), None);
        assert_eq!(segments("/../..").as_deref(), Some(""));
    }

    #[test]
    fn the_first_value_of_a_query_key_counts() {
        let query = Query("a=1&key=t%2Bk&key=other&empty=&b=x+y&flag");
        assert_eq!(query.get("key").as_deref(), Some("t+k"));
        assert_eq!(query.get("b").as_deref(), Some("x y"));
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.get("flag"), None);
        assert_eq!(query.get("nope"), None);
    }
}
