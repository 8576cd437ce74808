//! Test vectors of others over what needs no HSM; README.md says where they come from.

mod nist;
mod tally;
mod wycheproof_ecdh;
mod wycheproof_ml_dsa;
mod wycheproof_ml_kem;
mod wycheproof_signatures;
