//! The fields of a JSON object, read with errors that name the file and the field.

use std::path::Path;

use serde_json::Value;

use super::{Error, Object, field_error};

/// An object's fields, with errors that name the file.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'f> {
    file: &'f Path,
    /// Before each name in errors: `rope_parameters.` or nothing.
    inside: &'static str,
    pub(super) object: &'f Object,
}

impl<'f> Fields<'f> {
    /// The fields of a whole file.
    pub(crate) fn new(file: &'f Path, object: &'f Object) -> Self {
        Fields { file, inside: "", object }
    }

    pub(crate) fn error(&self, field: &str, reason: impl Into<String>) -> Error {
        field_error(self.file, format!("{}{field}", self.inside), reason)
    }

    /// The field's value; null counts as absent.
    pub(crate) fn get(&self, field: &str) -> Option<&'f Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn read<T>(
        &self,
        field: &str,
        kind: &str,
        convert: impl Fn(&'f Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(field)
            .map(|value| {
                convert(value)
                    .ok_or_else(|| self.error(field, format!("is {}, not {kind}", short(value))))
            })
            .transpose()
    }

    pub(crate) fn size(&self, field: &str) -> Result<Option<usize>, Error> {
        self.read(field, "a whole number of at least 0", |v| {
            v.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    pub(crate) fn required(&self, field: &str) -> Result<usize, Error> {
        self.size(field)?.ok_or_else(|| self.error(field, "is missing"))
    }

    pub(crate) fn float(&self, field: &str) -> Result<Option<f32>, Error> {
        self.read(field, "a number", |v| v.as_f64().map(|x| x as f32))
    }

    pub(crate) fn flag(&self, field: &str) -> Result<Option<bool>, Error> {
        self.read(field, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&self, field: &str) -> Result<Option<&'f str>, Error> {
        self.read(field, "a text", Value::as_str)
    }

    pub(crate) fn object(
        &self,
        field: &str,
        inside: &'static str,
    ) -> Result<Option<Fields<'f>>, Error> {
        let object = self.read(field, "an object", Value::as_object)?;
        Ok(object.map(|object| Fields { file: self.file, inside, object }))
    }
}

/// A value for an error message, never long.
pub(crate) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
