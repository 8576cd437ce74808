//! A second factor: time-based one-time passwords (RFC 6238), each good once, and wrong ones slowed down.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::config::credentials::random_base32;
use crate::domain::kms::AccountId;
use crate::identity::kms::rules::InvalidIdentity;
use crate::secret::SecretBytes;

/// RFC 4648, section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 16..=128;
/// Room for the usual URI, so that the secret in it is not copied while it grows.
const URI_BYTES_USUAL: usize = 512;
/// 160 bits (RFC 4226, section 4).
const NEW_SECRET_CHARS: usize = 32;
/// RFC 6238, section 4.1: the usual.
const STEP_SECONDS: u64 = 30;
const CODE_DIGITS: usize = 6;
const CODES: u32 = 1_000_000;
/// RFC 6238, section 5.2: steps that the clocks may differ.
const SKEW_STEPS: u64 = 1;
/// Wrong codes in a row that cost nothing; each further one doubles the wait.
const FREE_FAILURES: u32 = 5;
const WAIT_SECONDS_FIRST: u64 = 30;
const WAIT_SECONDS_MAX: u64 = 3600;

/// What the codes of one device are made from.
pub(super) struct Device {
    /// Its ARN.
    pub(super) serial: Box<str>,
    key: hmac::Key,
}

/// Why a code is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MfaRefused {
    /// There were too many wrong ones.
    Throttled,
    /// No such code now, or it was used already.
    Wrong,
}

/// What is remembered of the codes of all devices.
#[derive(Debug, Default)]
pub(super) struct MfaGuard(Mutex<HashMap<Box<str>, Attempts>>);

#[derive(Debug, Default)]
struct Attempts {
    /// The step of the last good code: neither it nor an earlier one is good again.
    used_step: Option<u64>,
    failures: u32,
    wait_until_unix_seconds: u64,
}

impl Device {
    pub(super) fn new(serial: String, secret: &SecretBytes) -> Result<Self, InvalidIdentity> {
        let bytes = decode_base32(secret.expose()).ok_or(InvalidIdentity::MfaSecret)?;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
        Ok(Self { serial: serial.into_boxed_str(), key })
    }

    /// RFC 4226, section 5.3, of a step of time.
    fn code(&self, step: u64) -> Option<String> {
        let tag = hmac::sign(&self.key, &step.to_be_bytes());
        let offset = usize::from(tag.as_ref().last()? & 0x0f);
        let word: [u8; 4] = tag.as_ref().get(offset..offset + 4)?.try_into().ok()?;
        let number = (u32::from_be_bytes(word) & 0x7fff_ffff) % CODES;
        Some(format!("{number:0width$}", width = CODE_DIGITS))
    }

    /// The latest step that has this code.
    fn step_of(&self, code: &str, now_unix_seconds: u64) -> Option<u64> {
        let now = now_unix_seconds / STEP_SECONDS;
        let steps = now.saturating_sub(SKEW_STEPS)..=now.saturating_add(SKEW_STEPS);
        let mut found = None;
        // All are computed, whichever it is.
        for step in steps {
            let is_it =
                self.code(step).is_some_and(|known| bool::from(known.as_bytes().ct_eq(code.as_bytes())));
            found = is_it.then_some(step).or(found);
        }
        found
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("serial", &self.serial).finish_non_exhaustive()
    }
}

impl MfaGuard {
    /// Takes a code of a device, once.
    pub(super) fn take(&self, device: &Device, code: &str, now_unix_seconds: u64) -> Result<(), MfaRefused> {
        let mut all = self.0.lock();
        let attempts = all.entry(device.serial.clone()).or_default();
        if now_unix_seconds < attempts.wait_until_unix_seconds {
            return Err(MfaRefused::Throttled);
        }
        let step = device.step_of(code, now_unix_seconds);
        match step.filter(|step| attempts.used_step.is_none_or(|used| used < *step)) {
            Some(step) => {
                *attempts = Attempts { used_step: Some(step), ..Attempts::default() };
                Ok(())
            }
            None => {
                attempts.failures = attempts.failures.saturating_add(1);
                let doublings = attempts.failures.checked_sub(FREE_FAILURES);
                let factor =
                    doublings.map_or(0, |doublings| 1_u64.checked_shl(doublings).unwrap_or(u64::MAX));
                let wait = WAIT_SECONDS_FIRST.saturating_mul(factor).min(WAIT_SECONDS_MAX);
                attempts.wait_until_unix_seconds = now_unix_seconds.saturating_add(wait);
                Err(MfaRefused::Wrong)
            }
        }
    }
}

/// A fresh secret, in Base32.
pub(super) fn random_secret() -> Option<SecretBytes> {
    random_base32(NEW_SECRET_CHARS).ok().map(|text| SecretBytes::new(text.into_bytes()))
}

/// What an authenticator app reads (Key URI Format): the secret, and whose it is.
pub(super) fn otpauth_uri(account: &AccountId, user: &str, secret: &SecretBytes) -> SecretBytes {
    let mut uri = Zeroizing::new(String::with_capacity(URI_BYTES_USUAL));
    uri.push_str("otpauth://totp/Holdfast:");
    uri.extend(form_urlencoded::byte_serialize(user.as_bytes()));
    uri.push_str("%40");
    uri.push_str(account.as_str());
    uri.push_str("?issuer=Holdfast&secret=");
    uri.push_str(str::from_utf8(secret.expose()).unwrap_or_default());
    SecretBytes::new(std::mem::take(&mut *uri).into_bytes())
}

fn decode_base32(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if !SECRET_CHARS.contains(&text.len()) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut buffer, mut bits) = (0_u32, 0_u32);
    for character in text {
        let digit = BASE32.iter().position(|digit| *digit == character.to_ascii_uppercase())?;
        buffer = (buffer << 5) | u32::try_from(digit).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((buffer >> bits) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Device, MfaGuard, MfaRefused, decode_base32, otpauth_uri};
    use crate::domain::kms::AccountId;
    use crate::identity::kms::rules::InvalidIdentity;
    use crate::secret::SecretBytes;

    /// `12345678901234567890`, the secret of RFC 6238.
    const SECRET: &[u8] = b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    const NOW: u64 = 1_800_000_000;

    fn device() -> Device {
        Device::new("arn:aws:iam::1:mfa/a".to_owned(), &SecretBytes::new(SECRET.to_vec())).unwrap()
    }

    /// The code of the step that is so many steps away.
    fn code(steps: i64) -> String {
        device().code((NOW / 30).checked_add_signed(steps).unwrap()).unwrap()
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238_appendix_b() {
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(device().code(seconds / 30).unwrap(), code);
        }
    }

    #[test]
    fn a_code_is_good_one_step_around_its_time() {
        for (steps, is_good) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let taken = MfaGuard::default().take(&device(), &code(steps), NOW);
            assert_eq!(taken.is_ok(), is_good, "{steps}");
        }
    }

    #[test]
    fn a_code_is_good_once_and_none_before_it_is_good_after_it() {
        let guard = MfaGuard::default();
        assert_eq!(guard.take(&device(), &code(0), NOW), Ok(()));
        assert_eq!(guard.take(&device(), &code(0), NOW), Err(MfaRefused::Wrong));
        assert_eq!(guard.take(&device(), &code(-1), NOW), Err(MfaRefused::Wrong));
        assert_eq!(guard.take(&device(), &code(1), NOW), Ok(()));
    }

    #[test]
    fn wrong_codes_are_slowed_down_and_a_good_one_ends_that() {
        let guard = MfaGuard::default();
        for _ in 0..5 {
            assert_eq!(guard.take(&device(), "wrong", NOW), Err(MfaRefused::Wrong));
        }
        assert_eq!(guard.take(&device(), &code(0), NOW), Err(MfaRefused::Throttled));
        assert_eq!(guard.take(&device(), &code(0), NOW + 29), Err(MfaRefused::Throttled));
        assert_eq!(guard.take(&device(), "wrong", NOW + 30), Err(MfaRefused::Wrong));
        assert_eq!(guard.take(&device(), "wrong", NOW + 89), Err(MfaRefused::Throttled));
        assert_eq!(guard.take(&device(), &code(3), NOW + 90), Ok(()));
        assert_eq!(guard.take(&device(), "wrong", NOW + 90), Err(MfaRefused::Wrong));
        assert_eq!(guard.take(&device(), &code(4), NOW + 91), Ok(()));
    }

    #[test]
    fn one_device_does_not_wait_for_the_wrong_codes_of_another() {
        let guard = MfaGuard::default();
        for _ in 0..6 {
            assert!(guard.take(&device(), "wrong", NOW).is_err());
        }
        let other = Device::new("other".to_owned(), &SecretBytes::new(SECRET.to_vec())).unwrap();
        assert_eq!(guard.take(&other, &code(0), NOW), Ok(()));
    }

    #[test]
    fn the_uri_names_account_and_user_and_has_the_secret() {
        let account = AccountId::parse("111122223333").unwrap();
        let uri = otpauth_uri(&account, "a+b@c", &SecretBytes::new(SECRET.to_vec()));
        let expected = "otpauth://totp/Holdfast:a%2Bb%40c%40111122223333?issuer=Holdfast&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert_eq!(str::from_utf8(uri.expose()).unwrap(), expected);
    }

    #[test]
    fn a_secret_is_base32_of_a_fair_length() {
        assert_eq!(&**decode_base32(SECRET).unwrap(), b"12345678901234567890");
        assert_eq!(&**decode_base32(&SECRET.to_ascii_lowercase()).unwrap(), b"12345678901234567890");
        for text in [&b""[..], b"GEZDGNBVGY3TQOJ", b"GEZDGNBVGY3TQOJ1", b"GEZDGNBVGY3TQOJ=", &[b'A'; 129]] {
            let secret = SecretBytes::new(text.to_vec());
            assert_eq!(Device::new(String::new(), &secret).unwrap_err(), InvalidIdentity::MfaSecret);
        }
    }
}
