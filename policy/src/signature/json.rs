//! JSON that is read more strictly than `serde_json` does: maps in which a key must not be there twice, lists and maps that
//! end, and objects of which nothing is kept.
//!
//! `serde_json` keeps the last of two equal keys in a map. Two readers that keep different ones read two documents
//! from one signature, so such a document is not read at all.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Reads a map, refusing a key that is there twice; `null` is an empty map.
pub(super) fn unique<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    deserializer.deserialize_any(Unique(PhantomData))
}

struct Unique<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map without duplicate keys")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = access.next_entry::<String, V>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is there twice"));
            }
        }
        Ok(map)
    }
}

/// Reads a list, and gives up with the first element beyond `most`: a large document must not become a larger list. `null`
/// is none.
pub(crate) fn at_most<'de, D, T>(deserializer: D, most: usize) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(AtMost { most, takes_more: false, of: PhantomData })
}

/// Reads a list and keeps its first elements, at most `most`: enough to see that there are too many.
pub(super) fn first<'de, D, T>(deserializer: D, most: usize) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(AtMost { most, takes_more: true, of: PhantomData })
}

struct AtMost<T> {
    most: usize,
    takes_more: bool,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {}", self.most)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() < self.most {
            match access.next_element()? {
                Some(element) => list.push(element),
                None => return Ok(Some(list)),
            }
        }
        while access.next_element::<IgnoredAny>()?.is_some() {
            if !self.takes_more {
                return Err(A::Error::custom(format!("a list has more than {} elements", self.most)));
            }
        }
        Ok(Some(list))
    }
}

/// The same for a map. Of two equal keys the last is kept.
pub(crate) fn at_most_entries<'de, D, V>(deserializer: D, most: usize) -> Result<Option<BTreeMap<String, V>>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    deserializer.deserialize_any(AtMostEntries { most, of: PhantomData })
}

struct AtMostEntries<V> {
    most: usize,
    of: PhantomData<V>,
}

impl<'de, V: Deserialize<'de>> Visitor<'de> for AtMostEntries<V> {
    type Value = Option<BTreeMap<String, V>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {}", self.most)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = access.next_entry()? {
            map.insert(key, value);
            if map.len() > self.most {
                return Err(A::Error::custom(format!("a map has more than {} entries", self.most)));
            }
        }
        Ok(Some(map))
    }
}

/// A JSON object of which nothing is kept: it is only read, down to the depth at which `serde_json` gives up.
pub(crate) struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Passing { is_object: true })?;
        Ok(Self)
    }
}

/// Any value. (`IgnoredAny` would do but for the depth, which it does not look at.)
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Passing { is_object: false })?;
        Ok(Self)
    }
}

struct Passing {
    is_object: bool,
}

impl Passing {
    fn take<E: Error>(self) -> Result<(), E> {
        if self.is_object { Err(E::custom("it is another kind of value")) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Passing {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_object { "an object" } else { "a value" })
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.take()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.take()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.take()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.take()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.take()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.take()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.take()?;
        while access.next_element::<Anything>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while access.next_key::<IgnoredAny>()?.is_some() {
            access.next_value::<Anything>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Few {
        #[serde(default, deserialize_with = "two")]
        list: Option<Vec<u8>>,
        #[serde(default, deserialize_with = "first_two")]
        first: Option<Vec<u8>>,
        #[serde(default, deserialize_with = "two_entries")]
        map: Option<BTreeMap<String, u8>>,
    }

    fn two<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        at_most(deserializer, 2)
    }

    fn first_two<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        first(deserializer, 2)
    }

    fn two_entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, u8>>, D::Error> {
        at_most_entries(deserializer, 2)
    }

    #[test]
    fn lists_and_maps_end_where_they_must() {
        let read = |text: &str| serde_json::from_str::<Few>(text);
        assert_eq!(read(r#"{"list":[1,2]}"#).unwrap().list, Some(vec![1, 2]));
        assert_eq!(read(r#"{"first":[1,2,{"a":[]},"x"]}"#).unwrap().first, Some(vec![1, 2]));
        assert_eq!(read(r#"{"map":{"a":1,"b":2}}"#).unwrap().map.unwrap().len(), 2);
        for none in ["{}", r#"{"list":null,"map":null}"#] {
            let few = read(none).unwrap();
            assert!(few.list.is_none() && few.map.is_none(), "{none}");
        }
        for bad in [r#"{"list":[1,2,3]}"#, r#"{"map":{"a":1,"b":2,"c":3}}"#, r#"{"list":{}}"#, r#"{"map":[]}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn objects_that_are_only_read_are_read_as_deep_as_others_and_no_deeper() {
        let object = |text: &str| serde_json::from_str::<Object>(text).is_ok();
        for good in ["{}", r#" {"a":[1,-1,1.5,true,null,"x",{"b":[]}]} "#] {
            assert!(object(good), "{good}");
        }
        for bad in
            ["[]", "1", "1.5", "-1", "\"x\"", "null", "true", "{}{}", "{\"a\":}", "{\"a\":[1,}", "{\"a\":1e999}", ""]
        {
            assert!(!object(bad), "{bad}");
        }
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        for levels in [100, 127, 128, 200] {
            assert_eq!(object(&deep(levels)), serde_json::from_str::<serde_json::Value>(&deep(levels)).is_ok());
        }
        assert!(object(&deep(127)) && !object(&deep(128)));
    }
}
