//! A cursor over DER (X.690, section 10): definite lengths only, no recursion, nothing copied.

use ::der::{AnyRef, Decode as _, Reader as _, SliceReader, Tag, Tagged as _};

/// One element: its tag, its content, and the exact bytes of both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) tag: Tag,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// The elements of some content, one after the other.
pub(crate) struct Cursor<'a>(Option<SliceReader<'a>>);

/// A problem, as a clause.
pub(crate) type Problem = String;

impl<'a> Cursor<'a> {
    /// The elements in these bytes; there may be none.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        SliceReader::new(bytes).map(|reader| Self(Some(reader))).map_err(|error| error.to_string())
    }

    /// The elements inside the one element that these bytes are.
    pub(crate) fn inside(bytes: &'a [u8], tag: Tag) -> Result<Self, Problem> {
        let mut outer = Self::new(bytes)?;
        let item = outer.take(tag)?;
        outer.end()?;
        Self::new(item.content)
    }

    /// The next element, when there is one.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>, Problem> {
        let Some(reader) = self.0.as_mut().filter(|reader| !reader.is_finished()) else { return Ok(None) };
        let whole = reader.tlv_bytes().map_err(|error| error.to_string())?;
        let any = AnyRef::from_der(whole).map_err(|error| error.to_string())?;
        Ok(Some(Item { tag: any.tag(), content: any.value(), whole }))
    }

    /// The next element, which must have this tag.
    pub(crate) fn take(&mut self, tag: Tag) -> Result<Item<'a>, Problem> {
        match self.next()? {
            Some(item) if item.tag == tag => Ok(item),
            Some(item) => Err(format!("found {} where {tag} belongs", item.tag)),
            None => Err(format!("it ends where {tag} belongs")),
        }
    }

    /// The next element, when it has this tag.
    pub(crate) fn take_if(&mut self, tag: Tag) -> Result<Option<Item<'a>>, Problem> {
        let next = self.0.as_ref().filter(|reader| !reader.is_finished()).map(|reader| reader.peek_byte());
        if next.flatten() == Some(tag.octet()) { self.take(tag).map(Some) } else { Ok(None) }
    }

    /// That nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), Problem> {
        match self.next()? {
            None => Ok(()),
            Some(item) => Err(format!("{} follows where nothing belongs", item.tag)),
        }
    }
}
