//! What needs no secret: public keys in DER, signatures verified, RSA encryption, ML-KEM encapsulation.

pub mod der;
pub mod prehashed;
pub mod spki;
