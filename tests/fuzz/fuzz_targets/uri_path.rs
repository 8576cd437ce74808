//! The path of a request: what is accepted prints as the same path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy_api::wire::parse_path;

fuzz_target!(|path: &str| {
    if let Some(route) = parse_path(path) {
        assert_eq!(route.to_string(), path);
    }
});
