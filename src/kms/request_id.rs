//! Ids of requests.

use parking_lot::Mutex;

use crate::gate::kms::RequestId;

const ID_BYTES: usize = 16;
/// Ids that are drawn at once: the generator takes as long for one as for many.
const IDS_DRAWN: usize = 64;

/// Random ids, drawn beforehand: they are to be different, not secret.
#[derive(Default)]
pub(super) struct RequestIds(Mutex<Vec<[u8; ID_BYTES]>>);

impl RequestIds {
    /// A UUID of version 4.
    pub(super) fn next(&self) -> RequestId {
        // Without randomness there is no id, but still an answer.
        let mut id = self.draw().unwrap_or_default();
        let [.., version, _, variant, _, _, _, _, _, _, _] = &mut id;
        *version = *version & 0x0f | 0x40;
        *variant = *variant & 0x3f | 0x80;
        RequestId(id)
    }

    fn draw(&self) -> Option<[u8; ID_BYTES]> {
        let mut drawn = self.0.lock();
        if drawn.is_empty() {
            let mut random = [0; ID_BYTES * IDS_DRAWN];
            aws_lc_rs::rand::fill(&mut random).ok()?;
            drawn.extend_from_slice(random.as_chunks().0);
        }
        drawn.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::RequestIds;

    #[test]
    fn no_id_comes_twice_and_each_is_a_uuid() {
        let (ids, mut seen) = (RequestIds::default(), HashSet::new());
        for _ in 0..1000 {
            let id = ids.next();
            assert!(seen.insert(id.0));
            assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (4, 2), "{id}");
        }
    }
}
