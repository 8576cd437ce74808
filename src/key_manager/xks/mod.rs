//! The seam to external key store proxies over HTTPS: `proxy_api::client`, validated answers, metrics.

mod answers;
mod certificate;
mod measured;
mod observation;
mod proxies;
mod proxy;
#[cfg(test)]
mod tests;
mod trust;

pub use proxies::Proxies;
pub use trust::Trust;
