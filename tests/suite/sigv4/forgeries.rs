//! Requests that nobody with the secret signed as they arrive, each wrong in one way.

use http::{HeaderValue, Method};
use proxy_api::client::Outgoing;

use super::oracle::{by_the_oracle, in_the_query, unsigned_payload};
use crate::support::client::Signed;
use crate::support::site::ACCESS_KEY_ID;

/// What the log says of a forgery, and how to make it from a request that is right but for its signature.
pub(super) type Forgery = (&'static str, fn(Signed, &str) -> Outgoing);

pub(super) fn signed_wrong(mut signed: Signed, host: &str, spoil: impl Fn(&mut Signed)) -> Outgoing {
    spoil(&mut signed);
    signed.outgoing(host)
}

pub(super) fn changed(signed: &Signed, host: &str, change: impl Fn(&mut Outgoing)) -> Outgoing {
    let mut outgoing = signed.outgoing(host);
    change(&mut outgoing);
    outgoing
}

pub(super) fn with_authorization(signed: &Signed, host: &str, rewrite: impl Fn(&str) -> String) -> Outgoing {
    changed(signed, host, |outgoing| {
        let value = rewrite(outgoing.headers["authorization"].to_str().unwrap());
        outgoing.headers.insert("authorization", HeaderValue::from_str(&value).unwrap());
    })
}

/// Signed by somebody who does not know how, or what, or with what.
pub(super) const SIGNED_WRONG: &[Forgery] = &[
    ("unknown_access_key_id", |signed, host| {
        signed_wrong(signed, host, |signed| signed.access_key_id = format!("Invalid{ACCESS_KEY_ID}"))
    }),
    ("unknown_access_key_id", |signed, host| {
        signed_wrong(signed, host, |signed| signed.access_key_id = ACCESS_KEY_ID.to_lowercase())
    }),
    ("unknown_access_key_id", |signed, host| {
        signed_wrong(signed, host, |signed| {
            signed.access_key_id = "MUBSXM6K3KMXHN6RRCXI7TWQH4NU76HYFKRSESPMTSTIBADXQQXQ".to_owned()
        })
    }),
    ("signature_mismatch", |signed, host| {
        signed_wrong(signed, host, |signed| signed.secret_access_key.insert(0, 'x'))
    }),
    ("signature_mismatch", |signed, host| {
        signed_wrong(signed, host, |signed| signed.secret_access_key = String::new())
    }),
    ("service_wrong", |signed, host| signed_wrong(signed, host, |signed| signed.service = "kms".to_owned())),
    ("clock_skew", |signed, host| signed_wrong(signed, host, |signed| signed.skew_seconds = 330)),
    ("clock_skew", |signed, host| signed_wrong(signed, host, |signed| signed.skew_seconds = -330)),
    ("clock_skew", |signed, host| signed_wrong(signed, host, |signed| signed.skew_seconds = 366 * 86_400)),
    ("host_unsigned", |signed, host| {
        signed_wrong(signed, host, |signed| {
            signed.signed_headers = Some("content-type;x-amz-date".to_owned())
        })
    }),
    ("date_unsigned", |signed, host| {
        signed_wrong(signed, host, |signed| signed.signed_headers = Some("content-type;host".to_owned()))
    }),
    ("signature_mismatch", |signed, host| {
        let mut outgoing = signed_wrong(signed, host, |signed| signed.method = Method::GET);
        outgoing.method = Method::POST;
        outgoing
    }),
    ("signature_mismatch", |signed, host| unsigned_payload(&signed, host)),
    ("query_present", |signed, host| {
        changed(&signed, host, |outgoing| outgoing.path = format!("{}?", signed.path).parse().unwrap())
    }),
    ("query_present", |signed, host| {
        changed(&signed, host, |outgoing| outgoing.path = format!("{}?a=b", signed.path).parse().unwrap())
    }),
    ("query_present", |signed, host| {
        let path = format!("{}?a=b", signed.path);
        by_the_oracle(&Signed { path, ..signed }, host)
    }),
    ("authorization_missing", |signed, host| in_the_query(&signed, host)),
];

/// Signed right, and changed on the way.
pub(super) const CHANGED_AFTER: &[Forgery] = &[
    ("signature_mismatch", |signed, host| {
        changed(&signed, host, |outgoing| outgoing.body = [&outgoing.body[..], b" "].concat().into())
    }),
    ("signature_mismatch", |signed, host| changed(&signed, host, |outgoing| outgoing.body = "[]".into())),
    ("signature_mismatch", |signed, host| {
        let path =
            if signed.path.ends_with("health") { "keys/foo/metadata" } else { "keys/impotent_key/metadata" };
        changed(&signed, host, |outgoing| outgoing.path = format!("/test/kms/xks/v1/{path}").parse().unwrap())
    }),
    ("signature_mismatch", |signed, host| {
        changed(&signed, host, |outgoing| {
            outgoing.headers.insert("host", HeaderValue::from_static("proxy.example.com"));
        })
    }),
    ("signature_mismatch", |mut signed, host| {
        signed.extra_headers = vec![("x-extra", "1".to_owned())];
        changed(&signed, host, |outgoing| {
            outgoing.headers.append("x-extra", HeaderValue::from_static("2"));
        })
    }),
    ("signed_header_absent", |mut signed, host| {
        signed.extra_headers = vec![("x-extra", "1".to_owned())];
        changed(&signed, host, |outgoing| {
            outgoing.headers.remove("x-extra");
        })
    }),
    ("signature_mismatch", |signed, host| {
        let later = signed.outgoing(host);
        let earlier = Signed { skew_seconds: -100, ..signed }.outgoing(host);
        Outgoing {
            headers: [("x-amz-date", &earlier), ("authorization", &later), ("host", &later)]
                .map(|(name, from)| (name.parse().unwrap(), from.headers[name].clone()))
                .into_iter()
                .collect(),
            ..later
        }
    }),
    ("date_outside_scope", |signed, host| {
        changed(&signed, host, |outgoing| {
            outgoing.headers.insert("x-amz-date", HeaderValue::from_static("20200101T000000Z"));
        })
    }),
    ("date_malformed", |signed, host| {
        changed(&signed, host, |outgoing| {
            outgoing.headers.insert("x-amz-date", HeaderValue::from_static("Sun, 22 Nov 2026 04:11:26 GMT"));
        })
    }),
    ("date_missing", |signed, host| {
        changed(&signed, host, |outgoing| {
            outgoing.headers.remove("x-amz-date");
            outgoing.headers.insert("date", HeaderValue::from_static("Sun, 22 Nov 2026 04:11:26 GMT"));
        })
    }),
    ("date_duplicated", |signed, host| {
        changed(&signed, host, |outgoing| {
            let date = outgoing.headers["x-amz-date"].clone();
            outgoing.headers.append("x-amz-date", date);
        })
    }),
    ("host_ambiguous", |signed, host| {
        changed(&signed, host, |outgoing| {
            outgoing.headers.append("host", HeaderValue::from_static("proxy.example.com"));
        })
    }),
];

/// Headers that are no AWS4 signature.
pub(super) const MALFORMED: &[Forgery] = &[
    ("authorization_missing", |signed, host| {
        changed(&signed, host, |outgoing| {
            outgoing.headers.remove("authorization");
        })
    }),
    ("authorization_duplicated", |signed, host| {
        changed(&signed, host, |outgoing| {
            let authorization = outgoing.headers["authorization"].clone();
            outgoing.headers.append("authorization", authorization);
        })
    }),
    ("algorithm_unsupported", |signed, host| with_authorization(&signed, host, |_| "Bearer x".to_owned())),
    ("algorithm_unsupported", |signed, host| {
        with_authorization(&signed, host, |text| text.replacen(' ', ", ", 1))
    }),
    ("algorithm_unsupported", |signed, host| {
        with_authorization(&signed, host, |text| text.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"))
    }),
    ("authorization_malformed", |signed, host| {
        with_authorization(&signed, host, |_| "AWS4-HMAC-SHA256 x".to_owned())
    }),
    ("authorization_malformed", |signed, host| {
        with_authorization(&signed, host, |text| text.replace("aws4_request", "aws5_request"))
    }),
    ("authorization_malformed", |signed, host| {
        with_authorization(&signed, host, |text| text.replace(ACCESS_KEY_ID, ""))
    }),
    ("authorization_malformed", |signed, host| {
        with_authorization(&signed, host, |text| text[..text.len() - 1].to_owned())
    }),
    ("authorization_malformed", |signed, host| with_authorization(&signed, host, |text| format!("{text}0"))),
    ("authorization_malformed", |signed, host| {
        with_authorization(&signed, host, |text| text[..text.len() - 64].to_owned() + &"A".repeat(64))
    }),
    ("signature_mismatch", |signed, host| {
        with_authorization(&signed, host, |text| text[..text.len() - 64].to_owned() + &"0".repeat(64))
    }),
];
