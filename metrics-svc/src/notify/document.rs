//! A mail's content before it has a form, and its two forms: text and HTML say the same because
//! they are made of the same document.

use std::fmt::Write as _;

/// A form longer than this many bytes is made again with smaller cuts, so that a mail stays under
/// 100 KB in the least favourable encoding. Names and evidence come from outside.
const MAX_TEXT: usize = 24 * 1024;
const MAX_HTML: usize = 40 * 1024;

/// How much is shown.
#[derive(Debug, Clone, Copy)]
struct Cuts {
    /// Characters of a name or value.
    value: usize,
    /// Characters of a paragraph or command.
    paragraph: usize,
    /// Lines of a table.
    rows: usize,
}

impl Cuts {
    const USUAL: Self = Self { value: 400, paragraph: 1_600, rows: 60 };

    const fn halved(self) -> Self {
        Self { value: self.value / 2, paragraph: self.paragraph / 2, rows: self.rows }
    }
}

/// The form that fits: cut to a half again and again.
fn fitting(max: usize, form: impl Fn(Cuts) -> String) -> String {
    let mut cuts = Cuts::USUAL;
    loop {
        let out = form(cuts);
        if out.len() <= max || cuts.value == 0 {
            return out;
        }
        cuts = cuts.halved();
    }
}

/// What a mail says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Document {
    /// One sentence.
    pub(super) headline: String,
    /// In this order.
    pub(super) sections: Vec<Section>,
    /// Small print.
    pub(super) footer: Vec<String>,
}

/// One part under a title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// Names and values.
    Table(Vec<(String, String)>),
    /// A paragraph.
    Text(String),
    /// A command to copy.
    Command(String),
    /// A link that is its own text.
    Link(String),
}

impl Document {
    pub(super) fn push(&mut self, title: &'static str, body: Body) {
        self.sections.push(Section { title, body });
    }

    /// Plain text.
    pub(super) fn to_text(&self) -> String {
        fitting(MAX_TEXT, |cuts| self.text(cuts))
    }

    /// HTML without remote parts, scripts or styles that a mail reader would strip.
    pub(super) fn to_html(&self, title: &str) -> String {
        fitting(MAX_HTML, |cuts| self.html(title, cuts))
    }

    fn text(&self, cuts: Cuts) -> String {
        let cut = |text: &str| cut_at(text, cuts.value);
        let cut_long = |text: &str| cut_at(text, cuts.paragraph);
        let mut out = format!("{}\n", cut(&self.headline));
        for section in &self.sections {
            out.push_str(&format!("\n{}\n", section.title));
            match &section.body {
                Body::Table(rows) => {
                    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
                    let width = width.unwrap_or(0).min(40);
                    for (name, value) in rows.iter().take(cuts.rows) {
                        // Writing to a text cannot fail.
                        let line = writeln!(out, "  {:width$}  {}", cut(name), cut(value));
                        debug_assert!(line.is_ok());
                    }
                }
                Body::Text(text) => out.push_str(&format!("  {}\n", cut_long(text))),
                Body::Command(text) | Body::Link(text) => {
                    out.push_str(&format!("  {}\n", cut_long(text)));
                }
            }
        }
        out.push_str("\n-- \n");
        for line in &self.footer {
            out.push_str(&cut_long(line));
            out.push('\n');
        }
        out
    }

    fn html(&self, title: &str, cuts: Cuts) -> String {
        let cut = |text: &str| cut_at(text, cuts.value);
        let cut_long = |text: &str| cut_at(text, cuts.paragraph);
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
             </head>\n<body style=\"font-family:sans-serif;color:#222;max-width:44em\">\n\
             <p style=\"font-size:1.1em\"><strong>{}</strong></p>\n",
            escape(&cut(title)),
            escape(&cut(&self.headline))
        );
        for section in &self.sections {
            out.push_str(&format!(
                "<h3 style=\"margin:1em 0 .3em\">{}</h3>\n",
                escape(section.title)
            ));
            match &section.body {
                Body::Table(rows) => {
                    out.push_str("<table style=\"border-collapse:collapse\">\n");
                    for (name, value) in rows.iter().take(cuts.rows) {
                        out.push_str(&format!(
                            "<tr><td style=\"padding:.1em 1em .1em 0;color:#666\">{}</td>\
                             <td>{}</td></tr>\n",
                            escape(&cut(name)),
                            escape(&cut(value))
                        ));
                    }
                    out.push_str("</table>\n");
                }
                Body::Text(text) => {
                    out.push_str(&format!("<p>{}</p>\n", escape(&cut_long(text))));
                }
                Body::Command(text) => out.push_str(&format!(
                    "<pre style=\"background:#f4f4f4;padding:.6em;white-space:pre-wrap\">{}</pre>\n",
                    escape(&cut_long(text))
                )),
                Body::Link(url) => {
                    let url = escape(&cut_long(url));
                    out.push_str(&format!("<p><a href=\"{url}\">{url}</a></p>\n"));
                }
            }
        }
        out.push_str("<hr>\n<p style=\"color:#666;font-size:.85em\">");
        let footer: Vec<String> = self.footer.iter().map(|line| escape(&cut_long(line))).collect();
        out.push_str(&footer.join("<br>\n"));
        out.push_str("</p>\n</body></html>\n");
        out
    }
}

/// One line of at most `max` characters.
fn cut_at(text: &str, max: usize) -> String {
    let mut out: String =
        text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        out.push('…');
    }
    out
}

/// Text as HTML shows it, in elements and in quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// A count with its thousands apart: `4 213`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A duration for people, two units at most: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.
pub(super) fn span(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let pair = |big: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {unit}"),
        _ => format!("{big} {unit} {small} {small_unit}"),
    };
    match () {
        () if days > 0 => pair(days, "d", hours % 24, "h"),
        () if hours > 0 => pair(hours, "h", minutes % 60, "min"),
        () if minutes > 0 => format!("{minutes} min"),
        () => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn both_forms_say_the_same_and_html_is_escaped() {
        let mut document = Document {
            headline: String::from("<script>alert('x')</script>\r\nBcc: a@b"),
            ..Document::default()
        };
        let evil = String::from("\"><img src=http://evil/x>");
        document.push("Evidence", Body::Table(vec![(String::from("error"), evil.clone())]));
        document.push("Next", Body::Command(String::from("curl 'a&b'")));
        document.push("More", Body::Link(evil));
        let html = document.to_html("t");
        for harmful in ["<script", "<img"] {
            assert!(!html.contains(harmful), "{harmful} in {html}");
        }
        assert!(html.contains("curl &#39;a&amp;b&#39;"), "{html}");
        let text = document.to_text();
        assert!(!text.contains('\r'), "{text:?}");
        assert!(text.contains("curl 'a&b'") && text.contains("\"><img src=http://evil/x>"));
    }

    #[test]
    fn figures_read_like_figures() {
        let counts: Vec<String> = [0, 7, 999, 1_000, 4_213, 12_345_678].map(count).to_vec();
        assert_eq!(counts, ["0", "7", "999", "1 000", "4 213", "12 345 678"]);
        let spans = [0, 45, 60, 750, 3_600, 12_000, 86_400, 187_200];
        let spans: Vec<String> = spans.iter().map(|s| span(Duration::from_secs(*s))).collect();
        let want = ["0 s", "45 s", "1 min", "12 min", "1 h", "3 h 20 min", "1 d", "2 d 4 h"];
        assert_eq!(spans, want);
    }
}
