//! Numbers: what is whole, what is a multiple, and how gojsonschema writes them.

use serde_json::{Number, Value};

/// Whether a number is whole, however it is written.
pub(super) fn is_integer(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// A limit as text: as short as it can be.
pub(super) fn text(number: f64) -> String {
    number.to_string()
}

/// Whether `number` is a multiple of `of`, in decimals: 19.99 is one of 0.01.
pub(super) fn is_multiple(number: f64, of: f64) -> bool {
    let exact = decimal(number).zip(decimal(of)).and_then(|((a, fa), (b, fb))| {
        let digits = fa.max(fb);
        let scaled = |m: i128, f: u32| m.checked_mul(10i128.checked_pow(digits - f)?);
        scaled(a, fa)?.checked_rem(scaled(b, fb)?)
    });
    // Beyond 38 digits one is no more than a rounding away from the other.
    exact.map_or_else(|| number % of == 0.0, |rest| rest == 0)
}

/// A number as its digits and how many of them are a fraction.
fn decimal(number: f64) -> Option<(i128, u32)> {
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{fraction}").parse().ok()?;
    Some((digits, u32::try_from(fraction.len()).ok()?))
}

/// Whether two values are the same to a schema: numbers by what they are worth.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let equal = |(key, a)| b.get(key).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(equal)
        }
        _ => a == b,
    }
}

/// How a value is told to clients, and one text for all that are the same: compact JSON, keys
/// sorted, whole numbers without a fraction.
pub(super) fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(number) => out.push_str(&text(number)),
            None => out.push_str(&number.to_string()),
        },
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{canonical, is_multiple, text};

    #[test]
    fn multiples_are_decimal() {
        for (number, of, expected) in [
            (19.99, 0.01, true),
            (19.995, 0.01, false),
            (7.0, 2.0, false),
            (8.0, 2.0, true),
            (0.0, 3.0, true),
            (-9.0, 3.0, true),
            (1e30, 1e20, true),
            (1e300, 7.0, 1e300 % 7.0 == 0.0),
            (4.5, 1.5, true),
            (1e-7, 1e-8, true),
        ] {
            assert_eq!(is_multiple(number, of), expected, "{number} of {of}");
        }
    }

    #[test]
    fn values_are_told_one_way() {
        let told = |json: &str| {
            let mut out = String::new();
            canonical(&serde_json::from_str(json).unwrap(), &mut out);
            out
        };
        assert_eq!(told(r#"{"b": [1.0, null], "a": "é\""}"#), r#"{"a":"é\"","b":[1,null]}"#);
        assert_eq!(text(0.5), "0.5");
        assert_eq!(text(3.0), "3");
    }
}
