//! Reads JSON as Go's `Unmarshal` does (`ams-contract.md` 1.5): strict types, `null` is the zero
//! value, unknown keys are ignored, of equal keys the last one wins, case of keys does not matter,
//! nothing may follow. No tree is built: each body hands its keys to its own struct. `serde_json`
//! bounds the depth.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::domain::AlertSettings;
use crate::domain::alert::{Address, DurationText, MAX_CONTACTS, Severity, TimeText};

/// The body is not what the route takes. Which of the many ways is nothing AMS tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Invalid;

/// A JSON object whose keys are known.
pub(in super::super) trait Fields<'de>: Default {
    /// Reads the value of `key`, given in lower case, if it is a known one; says whether it was.
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;
}

/// Reads a whole body that is one object (or `null`, which is an empty one).
pub(in super::super) fn object<'de, T: Fields<'de>>(body: &'de [u8]) -> Result<T, Invalid> {
    let text = std::str::from_utf8(body).map_err(|_| Invalid)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let Object(value) = Object::<T>::deserialize(&mut reader).map_err(|_| Invalid)?;
    reader.end().map_err(|_| Invalid)?;
    Ok(value)
}

/// Reads the first JSON value of a body, an object; what follows does not matter.
pub(in super::super) fn first_object<'de, T: Fields<'de>>(body: &'de [u8]) -> Result<T, Invalid> {
    let text = std::str::from_utf8(body).map_err(|_| Invalid)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let Object(value) = Object::<T>::deserialize(&mut reader).map_err(|_| Invalid)?;
    Ok(value)
}

/// The value is a text, or `null`, which is an empty one.
pub(in super::super) fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<String, A::Error> {
    Ok(map.next_value::<Option<String>>()?.unwrap_or_default())
}

/// The value is a whole number without fraction or exponent, or `null`, which is 0.
pub(in super::super) fn integer<'de, A: MapAccess<'de>>(map: &mut A) -> Result<i64, A::Error> {
    Ok(map.next_value::<Option<i64>>()?.unwrap_or_default())
}

/// The value is `true`, `false` or `null`, which is `false`.
pub(in super::super) fn boolean<'de, A: MapAccess<'de>>(map: &mut A) -> Result<bool, A::Error> {
    Ok(map.next_value::<Option<bool>>()?.unwrap_or_default())
}

/// A nested object (or `null`).
#[derive(Debug, Default)]
pub(in super::super) struct Object<T>(pub(in super::super) T);

impl<'de, T: Fields<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Fields<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Object(T::default()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut value = T::default();
                while let Some(Text(key)) = map.next_key()? {
                    if !value.field(&key.to_ascii_lowercase(), &mut map)? {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Object(value))
            }
        }

        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

/// A text borrowed from the body where it has no escapes; `null` is an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Text<'de>(pub(in super::super) Cow<'de, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// A list, or `null`, which is an absent one; so are its elements' zero values.
#[derive(Debug)]
pub(in super::super) struct List<T>(pub(in super::super) Option<Vec<T>>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Vec<T>>::deserialize(deserializer).map(List)
    }
}

impl List<Text<'_>> {
    /// The texts; none for `null`.
    pub(in super::super) fn into_texts(self) -> Vec<String> {
        self.0.into_iter().flatten().map(|Text(text)| text.into_owned()).collect()
    }
}

/// A text, or a number or boolean as its text (O6, improved); `null` is an empty text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Scalar(pub(in super::super) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, number or boolean")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(format!("{value:?}")))
            }

            fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
                Ok(Scalar::default())
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// An `alert` value. A bad one is read to its end, so that it is told apart from a bad body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Alert {
    /// Not given, or `null`.
    #[default]
    Absent,
    /// An object of lawful settings; `{}` sets nothing.
    Lawful(Box<AlertSettings>),
    /// Anything else.
    Bad,
}

impl<'de> Deserialize<'de> for Alert {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AlertVisitor;

        impl<'de> Visitor<'de> for AlertVisitor {
            type Value = Alert;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E: Error>(self) -> Result<Alert, E> {
                Ok(Alert::Absent)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Alert, A::Error> {
                let mut alert = Some(AlertSettings::default());
                while let Some((Text(key), value)) = map.next_entry::<Text<'de>, Loose>()? {
                    alert = alert.and_then(|alert| with(alert, &key.to_ascii_lowercase(), value));
                }
                Ok(alert.map_or(Alert::Bad, |alert| Alert::Lawful(Box::new(alert))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Alert, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Alert::Bad)
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Alert, E> {
                Ok(Alert::Bad)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Alert, E> {
                Ok(Alert::Bad)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Alert, E> {
                Ok(Alert::Bad)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Alert, E> {
                Ok(Alert::Bad)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Alert, E> {
                Ok(Alert::Bad)
            }
        }

        deserializer.deserialize_any(AlertVisitor)
    }
}

/// `alert` with one more setting; `None` when key or value is not lawful.
fn with(mut alert: AlertSettings, key: &str, value: Loose) -> Option<AlertSettings> {
    match (key, value) {
        ("stallafter", Loose::Null) => alert.stall_after = None,
        ("stallafter", Loose::Text(text)) => {
            alert.stall_after = Some(DurationText::try_from(text).ok()?);
        }
        ("muteduntil", Loose::Null) => alert.muted_until = None,
        ("muteduntil", Loose::Text(text)) => {
            alert.muted_until = Some(TimeText::try_from(text).ok()?);
        }
        ("severitycap", Loose::Null) => alert.severity_cap = None,
        ("severitycap", Loose::Text(text)) => {
            let text = StrDeserializer::<serde::de::value::Error>::new(&text);
            alert.severity_cap = Some(Severity::deserialize(text).ok()?);
        }
        ("contacts", Loose::Null) => alert.contacts.clear(),
        ("contacts", Loose::Texts(texts)) => {
            alert.contacts =
                texts.into_iter().map(Address::try_from).collect::<Result<_, _>>().ok()?;
        }
        _ => return None,
    }
    alert.is_lawful().then_some(alert)
}

/// What a setting may look like; everything else is skipped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Loose {
    /// Not given, or `null`.
    #[default]
    Null,
    /// A text.
    Text(String),
    /// A whole number from 0.
    Number(u64),
    /// At most one more than is lawful.
    Texts(Vec<String>),
    /// Anything else.
    Other,
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LooseVisitor;

        impl<'de> Visitor<'de> for LooseVisitor {
            type Value = Loose;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E: Error>(self) -> Result<Loose, E> {
                Ok(Loose::Null)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose, A::Error> {
                let mut texts = Some(Vec::new());
                while let Some(element) = list.next_element::<Self::Value>()? {
                    texts = match (texts, element) {
                        (Some(mut texts), Loose::Text(text)) => {
                            if texts.len() <= MAX_CONTACTS {
                                texts.push(text);
                            }
                            Some(texts)
                        }
                        _ => None,
                    };
                }
                Ok(texts.map_or(Loose::Other, Loose::Texts))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose::Other)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Loose, E> {
                Ok(Loose::Other)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Loose, E> {
                Ok(Loose::Other)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Loose, E> {
                Ok(Loose::Number(number))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Loose, E> {
                Ok(Loose::Other)
            }
        }

        deserializer.deserialize_any(LooseVisitor)
    }
}
