//! The time of a request, in the one spelling that SigV4 has for it.

use std::fmt;

use time::{Date, Month, OffsetDateTime, Time};

const CHARS: usize = 16;
const DATE_CHARS: usize = 8;

/// A time as `YYYYMMDDTHHMMSSZ`, with the seconds since the Unix epoch that it stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    text: [u8; CHARS],
    unix_seconds: i64,
}

impl Timestamp {
    /// Nothing unless `text` is exactly `YYYYMMDDTHHMMSSZ` and a time that exists.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let &[y1, y2, y3, y4, mo1, mo2, d1, d2, b'T', h1, h2, m1, m2, s1, s2, b'Z'] = text.as_bytes() else {
            return None;
        };
        let century = two_digits(y1, y2)?;
        let year = i32::from(century) * 100 + i32::from(two_digits(y3, y4)?);
        let month = Month::try_from(two_digits(mo1, mo2)?).ok()?;
        let date = Date::from_calendar_date(year, month, two_digits(d1, d2)?).ok()?;
        let time = Time::from_hms(two_digits(h1, h2)?, two_digits(m1, m2)?, two_digits(s1, s2)?).ok()?;
        Some(Self {
            text: text.as_bytes().try_into().ok()?,
            unix_seconds: date.with_time(time).assume_utc().unix_timestamp(),
        })
    }

    /// Nothing outside the years 0 to 9999.
    #[must_use]
    pub fn from_unix_seconds(unix_seconds: i64) -> Option<Self> {
        let utc = OffsetDateTime::from_unix_timestamp(unix_seconds).ok()?;
        let text = format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
            utc.year(),
            u8::from(utc.month()),
            utc.day(),
            utc.hour(),
            utc.minute(),
            utc.second()
        );
        Some(Self { text: text.as_bytes().try_into().ok()?, unix_seconds })
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn unix_seconds(&self) -> i64 {
        self.unix_seconds
    }

    /// `YYYYMMDDTHHMMSSZ`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text).unwrap_or_default()
    }

    /// `YYYYMMDD`, as in a scope.
    #[must_use]
    pub fn date(&self) -> &str {
        self.as_str().get(..DATE_CHARS).unwrap_or_default()
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    let digit = |character: u8| character.is_ascii_digit().then(|| character - b'0');
    Some(digit(tens)? * 10 + digit(ones)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Timestamp;

    #[test]
    fn a_known_time_goes_both_ways() {
        let timestamp = Timestamp::parse("20150830T123600Z").unwrap();
        assert_eq!(timestamp.unix_seconds(), 1_440_938_160);
        assert_eq!(timestamp.date(), "20150830");
        assert_eq!(Timestamp::from_unix_seconds(1_440_938_160), Some(timestamp));
    }

    #[test]
    fn other_spellings_and_impossible_times_are_refused() {
        for text in [
            "",
            "20150830T123600",
            "20150830T123600z",
            "20150830 123600Z",
            "20150830T1236000Z",
            "20150230T123600Z",
            "20150830T240000Z",
            "20150830T126000Z",
            "+0150830T123600Z",
            "2015-08-30T12:36",
            "Sun, 30 Aug 2015",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_second_goes_both_ways(unix_seconds in 0_i64..253_402_300_800) {
            let timestamp = Timestamp::from_unix_seconds(unix_seconds).unwrap();
            prop_assert_eq!(Timestamp::parse(timestamp.as_str()), Some(timestamp));
        }
    }
}
