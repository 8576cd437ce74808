//! SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) of the kinds of keys that there are, made from what tokens show.
