//! One page of a list, and the opaque marker that leads to the next.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::gate::kms::Call;
use crate::kms::error::Error;

/// How many entries a page has if nothing is said, and at most.
#[derive(Clone, Copy)]
pub(super) struct PageLimits {
    pub(super) usual: usize,
    pub(super) max: usize,
}

/// What a request says of the page that it wants.
pub(super) struct PageRequest<'b> {
    pub(super) limit: Option<usize>,
    pub(super) limits: PageLimits,
    pub(super) marker: Option<Cow<'b, str>>,
}

/// A page: a marker leads to another page of the same list only, in the same account and Region.
pub(super) struct Page<'b> {
    list: [u8; CHECK_BYTES],
    limit: usize,
    marker: Option<Cow<'b, str>>,
}

const CHECK_BYTES: usize = 16;

impl<'b> Page<'b> {
    /// `list` names the list, with everything that chooses what is in it.
    pub(super) fn new(call: &Call<'_>, list: &[&str], request: PageRequest<'b>) -> Self {
        let mut digest = Context::new(&SHA256);
        let scope = call.caller().scope();
        for part in [scope.account.as_str(), scope.region.as_str()].iter().chain(list) {
            digest.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let list = digest.finish().as_ref().first_chunk().copied().unwrap_or_default();
        let PageRequest { limit, limits, marker } = request;
        // More than there can be on a page is as good as the most.
        Self { list, limit: limit.unwrap_or(limits.usual).clamp(1, limits.max), marker }
    }

    /// The entry behind which the page starts; none for the first page.
    pub(super) fn after<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let Some(marker) = &self.marker else { return Ok(None) };
        let entry = URL_SAFE_NO_PAD.decode(marker.as_bytes()).ok().and_then(|bytes| {
            let (list, entry) = bytes.split_first_chunk()?;
            (*list == self.list).then(|| str::from_utf8(entry).ok().and_then(parse)).flatten()
        });
        entry.map(Some).ok_or_else(invalid_marker)
    }

    /// For lists that always fit on one page.
    pub(super) fn refuse_marker(&self) -> Result<(), Error> {
        if self.marker.is_some() { Err(invalid_marker()) } else { Ok(()) }
    }

    /// How many entries to fetch: one more than fits, to know whether there is another page.
    pub(super) fn fetch(&self) -> usize {
        self.limit + 1
    }

    /// The entries of this page, and the marker of the next if there is one.
    pub(super) fn cut<T>(
        &self,
        mut entries: Vec<T>,
        name: impl FnOnce(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        if entries.len() <= self.limit {
            return (entries, None);
        }
        entries.truncate(self.limit);
        let marker = entries.last().map(|last| {
            let bytes = [&self.list[..], name(last).as_bytes()].concat();
            URL_SAFE_NO_PAD.encode(bytes)
        });
        (entries, marker)
    }
}

fn invalid_marker() -> Error {
    Error::InvalidMarker("The marker is not one that this list gave out.".to_owned())
}
