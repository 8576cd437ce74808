//! The parameters of a request in the Query protocol, from a form-encoded body or a query string.

use std::collections::BTreeMap;

use crate::sts::error::Error;

/// More than any request needs: 50 tags of two parameters, and the rest.
const PARAMETERS_MAX: usize = 256;
pub(super) const FORM_BYTES_MAX: usize = 64 * 1024;

/// Parameters by name, each once.
#[derive(Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(super) fn parse(form: &[u8]) -> Result<Self, Error> {
        let refused = |text: &str| Error::MalformedQueryString(text.to_owned());
        if form.len() > FORM_BYTES_MAX {
            return Err(refused("The request is too long."));
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(form) {
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(refused("A parameter is given twice."));
            }
            if parameters.len() > PARAMETERS_MAX {
                return Err(refused("There are too many parameters."));
            }
        }
        Ok(Self(parameters))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Error> {
        self.get(name).ok_or_else(|| {
            let member = lower_first(name);
            Error::validation(format!(
                "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must \
                 not be null"
            ))
        })
    }

    /// Whether there is a parameter, or a list or structure, of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        let is_part = |key: &String| {
            key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.keys().any(is_part)
    }

    /// `name.member.1`, `name.member.2` and so on, until one is absent.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        (1..=PARAMETERS_MAX).map_while(|index| self.get(&format!("{name}.member.{index}"))).collect()
    }

    /// `name.member.1.Key` with `name.member.1.Value` and so on, until one is absent.
    pub(super) fn pairs(&self, name: &str) -> Vec<(&str, &str)> {
        let pair = |index| {
            let key = self.get(&format!("{name}.member.{index}.Key"))?;
            Some((key, self.get(&format!("{name}.member.{index}.Value"))?))
        };
        (1..=PARAMETERS_MAX).map_while(pair).collect()
    }

    /// How many parameters belong to this list.
    pub(super) fn count(&self, name: &str) -> usize {
        let prefix = format!("{name}.");
        self.0.keys().filter(|key| key.starts_with(&prefix)).count()
    }
}

/// A member as AWS spells it in its messages.
pub(super) fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
