//! Which members the configuration has, asked of the types that read it: they are offered every member they know.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::de::{Error as _, IntoDeserializer};

use crate::config::schema::File;

/// One member of a table.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    /// As TOML or in words.
    pub(super) default: String,
}

/// A table, as its heading in TOML names it; the first one has no heading.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) heading: String,
    pub(super) members: Vec<Member>,
}

/// What a walk is to offer, and what it finds.
#[derive(Default)]
struct Walk {
    /// Paths of tables, in the order in which they are met, and what they have.
    tables: RefCell<Vec<(String, &'static [&'static str])>>,
    /// Paths of tables that there may be several of.
    arrays: RefCell<Vec<String>>,
    /// Members that are not offered.
    withheld: Vec<String>,
    /// That something was missed.
    missed: RefCell<bool>,
}

/// The value at one path.
#[derive(Clone)]
struct Value<'a> {
    walk: &'a Walk,
    path: String,
}

/// Every table with its members, in the order of the schema.
pub(super) fn tables() -> Vec<Table> {
    let everything = Walk::default();
    let _ = File::deserialize(everything.root());
    let tables = everything.tables.into_inner();
    let is_table = |path: &str| tables.iter().any(|(table, _)| table == path);
    let leaves: Vec<_> = tables
        .iter()
        .flat_map(|(table, members)| members.iter().map(move |member| join(table, member)))
        .filter(|path| !is_table(path))
        .collect();
    let optional: Vec<_> = leaves.into_iter().filter(|path| !is_required(path)).collect();
    let smallest = Walk { withheld: optional.clone(), ..Walk::default() };
    let file = File::deserialize(smallest.root()).unwrap();
    let values = serde_json::to_value(&file).unwrap();
    let arrays = everything.arrays.into_inner();
    let table = |(path, members): &(String, &'static [&'static str])| {
        let member = |name: &&'static str| {
            let path = join(path, name);
            let default = if optional.contains(&path) { default(&values, &path) } else { "required".into() };
            (!is_table(&path)).then_some(Member { name, default })
        };
        let heading = match path.as_str() {
            "" => String::new(),
            path if arrays.iter().any(|array| array == path) => format!("[[{path}]]"),
            path => format!("[{path}]"),
        };
        Table { heading, members: members.iter().filter_map(member).collect() }
    };
    tables.iter().map(table).collect()
}

fn is_required(path: &str) -> bool {
    let walk = Walk { withheld: vec![path.to_owned()], ..Walk::default() };
    File::deserialize(walk.root()).is_err() || walk.missed.into_inner()
}

fn default(values: &serde_json::Value, path: &str) -> String {
    let mut value = values;
    for name in path.split('.') {
        value = if let Some(first) = value.get(0) { first } else { value };
        value = value.get(name).unwrap_or(&serde_json::Value::Null);
    }
    let is_empty = match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(values) => values.is_empty(),
        serde_json::Value::Object(values) => values.is_empty(),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_) => false,
    };
    if is_empty { "none".to_owned() } else { format!("`{value}`") }
}

fn join(table: &str, member: &str) -> String {
    if table.is_empty() { member.to_owned() } else { format!("{table}.{member}") }
}

impl Walk {
    fn root(&self) -> Value<'_> {
        Value { walk: self, path: String::new() }
    }
}

macro_rules! scalars {
    ($($method:ident $visit:ident $value:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    scalars! {
        deserialize_bool visit_bool false;
        deserialize_f64 visit_f64 0.0;
        deserialize_str visit_str "";
        deserialize_string visit_str "";
        deserialize_u8 visit_u8 0;
        deserialize_u16 visit_u16 0;
        deserialize_u32 visit_u32 0;
        deserialize_u64 visit_u64 0;
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom(format_args!("{} is of a type that nobody thought of", self.path)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.walk.tables.borrow_mut().push((self.path.clone(), fields));
        visitor.visit_map(Members { table: self, names: fields, member: None })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.walk.arrays.borrow_mut().push(self.path.clone());
        visitor.visit_seq(One(Some(self)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Members { table: self, names: &[], member: None })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Variant(variants[0]))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct
        identifier ignored_any
    }
}

/// The members of a table, one after the other.
struct Members<'a> {
    table: Value<'a>,
    names: &'static [&'static str],
    member: Option<&'static str>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let withheld = |name: &str| self.table.walk.withheld.contains(&join(&self.table.path, name));
        let Some(at) = self.names.iter().position(|name| !withheld(name)) else { return Ok(None) };
        let name = self.names[at];
        self.names = &self.names[at + 1..];
        self.member = Some(name);
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let path = join(&self.table.path, self.member.take().unwrap());
        seed.deserialize(Value { walk: self.table.walk, path })
    }
}

/// A list with one element, or with none if it takes none that is empty.
struct One<'a>(Option<Value<'a>>);

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.0.take() else { return Ok(None) };
        let walk = value.walk;
        seed.deserialize(value).map(Some).or_else(|error| {
            if error.to_string().starts_with("missing field") {
                *walk.missed.borrow_mut() = true;
            }
            Ok(None)
        })
    }
}

struct Variant(&'static str);

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(Error::custom("not in this configuration"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not in this configuration"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not in this configuration"))
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` | {}", self.name, self.default)
    }
}
