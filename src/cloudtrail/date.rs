//! Times as records have them: `2022-08-10T22:38:27Z` of the event itself, `Aug 10, 2022, 10:38:27 PM` in requests and
//! answers.

use time::{Month, OffsetDateTime};

use crate::domain::kms::UnixMillis;

/// `eventTime`: to the second, in UTC.
pub(super) fn push_event_time(out: &mut Vec<u8>, at: UnixMillis) {
    let time = utc(at);
    push_number(out, time.year().unsigned_abs(), 4);
    for (before, number) in [
        (b'-', u8::from(time.month())),
        (b'-', time.day()),
        (b'T', time.hour()),
        (b':', time.minute()),
        (b':', time.second()),
    ] {
        out.push(before);
        push_number(out, number.into(), 2);
    }
    out.push(b'Z');
}

/// A date inside `requestParameters` and `responseElements`: `MMM d, yyyy, h:mm:ss a`, in UTC.
pub fn push_date_text(out: &mut Vec<u8>, at: UnixMillis) {
    let time = utc(at);
    out.extend_from_slice(month(time.month()).as_bytes());
    out.push(b' ');
    push_number(out, time.day().into(), 1);
    out.extend_from_slice(b", ");
    push_number(out, time.year().unsigned_abs(), 4);
    out.extend_from_slice(b", ");
    let hour = time.hour() % 12;
    push_number(out, if hour == 0 { 12 } else { hour.into() }, 1);
    for number in [time.minute(), time.second()] {
        out.push(b':');
        push_number(out, number.into(), 2);
    }
    out.extend_from_slice(if time.hour() < 12 { b" AM" } else { b" PM" });
}

pub fn date_text(at: UnixMillis) -> String {
    let mut text = Vec::new();
    push_date_text(&mut text, at);
    String::from_utf8(text).unwrap_or_default()
}

/// What is no time of this calendar is the epoch.
fn utc(at: UnixMillis) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// At least so many digits.
fn push_number(out: &mut Vec<u8>, number: u32, digits_min: u32) {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    for place in (0..digits.max(digits_min)).rev() {
        let digit = number / 10_u32.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or_default());
    }
}

const fn month(month: Month) -> &'static str {
    match month {
        Month::January => "Jan",
        Month::February => "Feb",
        Month::March => "Mar",
        Month::April => "Apr",
        Month::May => "May",
        Month::June => "Jun",
        Month::July => "Jul",
        Month::August => "Aug",
        Month::September => "Sep",
        Month::October => "Oct",
        Month::November => "Nov",
        Month::December => "Dec",
    }
}
