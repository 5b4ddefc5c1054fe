//! The JSON dialect: Go's `encoding/json` as AMS clients see it, read and written without a tree.

mod read;
mod write;

pub(super) use read::{
    Alert, Fields, List, Loose, Object, Scalar, Text, boolean, first_object, integer, object, text,
};
pub(super) use write::Writer;
