//! Where settings come from, as providers that carry the name under which a person knows them.

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Shown;
use super::settings::{Kind, SETTINGS, Setting};

/// Settings given as flags; absent ones are simply not added.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    given: Vec<(&'static str, &'static str, Value)>,
}

impl Flags {
    /// Adds the setting `key` when the flag was given.
    #[must_use]
    pub fn with(
        mut self,
        key: &'static str,
        flag: &'static str,
        value: Option<impl Into<Value>>,
    ) -> Self {
        self.given.extend(value.map(|value| (key, flag, value.into())));
        self
    }
}

/// One setting from one named place.
struct One {
    place: String,
    key: &'static str,
    value: Value,
}

impl Provider for One {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = Dict::from([(self.key.to_owned(), self.value.clone())]);
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

pub(super) struct Defaults;

impl Provider for Defaults {
    fn metadata(&self) -> Metadata {
        Metadata::named("default")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = SETTINGS
            .iter()
            .filter_map(|setting| {
                Some((setting.key.to_owned(), value_of(setting, setting.default?)))
            })
            .collect();
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// Adds every variable that is set to something.
pub(super) fn merge_variables(
    figment: Figment,
    variable: impl Fn(&str) -> Option<String>,
) -> Figment {
    SETTINGS.iter().fold(figment, |figment, setting| {
        match variable(setting.variable).filter(|text| !text.is_empty()) {
            None => figment,
            Some(text) => figment.merge(One {
                place: setting.variable.to_owned(),
                key: setting.key,
                value: value_of(setting, &text),
            }),
        }
    })
}

pub(super) fn merge_flags(figment: Figment, flags: Flags) -> Figment {
    flags.given.into_iter().fold(figment, |figment, (key, flag, value)| {
        figment.merge(One { place: flag.to_owned(), key, value })
    })
}

/// The place that had the last word on a setting.
pub(super) fn origin(figment: &Figment, key: &str) -> Option<String> {
    figment.find_metadata(key).map(describe)
}

pub(super) fn describe(metadata: &Metadata) -> String {
    let file = metadata.source.as_ref().and_then(figment::Source::file_path);
    file.map_or_else(|| metadata.name.to_string(), |file| file.display().to_string())
}

/// The setting with its value as text; a secret only says that it is set.
pub(super) fn show(figment: &Figment, setting: &'static Setting) -> Shown {
    let value = figment.find_value(setting.key).ok().map(|value| match setting.kind {
        Kind::Secret => "(set)".to_owned(),
        Kind::Text | Kind::Number | Kind::List => text_of(&value),
    });
    Shown { setting, value, origin: origin(figment, setting.key) }
}

fn text_of(value: &Value) -> String {
    if let Some(items) = value.as_array() {
        return items.iter().map(text_of).collect::<Vec<_>>().join(",");
    }
    let number = || value.to_u128().map(|number| number.to_string());
    value.as_str().map(str::to_owned).or_else(number).unwrap_or_default()
}

/// Text that is not what the setting wants stays text, so that the refusal can show it.
fn value_of(setting: &Setting, text: &str) -> Value {
    match setting.kind {
        Kind::Text | Kind::Secret => Value::from(text),
        Kind::Number => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.map(str::to_owned).collect::<Vec<_>>())
        }
    }
}
