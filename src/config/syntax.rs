//! TOML read into types; of what is wrong with it, the first is told.

use serde::de::DeserializeOwned;
use toml::de::DeTable;

/// What is wrong, and in which line.
#[derive(Debug)]
pub(super) struct Malformed {
    pub(super) line: usize,
    pub(super) reason: String,
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Malformed> {
    toml::from_str(text).map_err(|error| {
        // Of several errors the parser names one that others led to: a quote is missing, and it tells of the lines
        // below.
        let (_, errors) = DeTable::parse_recoverable(text);
        let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let first = errors.into_iter().min_by_key(start).unwrap_or(error);
        Malformed { line: line_number(text, start(&first)), reason: first.message().to_owned() }
    })
}

/// What can be read in spite of errors in the syntax, and the first of them.
pub(super) fn recover<T: DeserializeOwned>(text: &str) -> Result<(T, Option<Malformed>), Malformed> {
    let error = match read(text) {
        Ok(value) => return Ok((value, None)),
        Err(error) => error,
    };
    let (table, _) = DeTable::parse_recoverable(text);
    match T::deserialize(toml::Deserializer::from(table)) {
        Ok(value) => Ok((value, Some(error))),
        Err(_) => Err(error),
    }
}

fn line_number(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}
