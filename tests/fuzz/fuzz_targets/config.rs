//! The configuration file: no panic, whatever is in it.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use holdfast::config::Config;
use libfuzzer_sys::fuzz_target;

static PATH: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("holdfast-fuzz-{}.toml", std::process::id())));

fuzz_target!(|text: &str| {
    std::fs::write(&*PATH, text).expect("the folder for temporary files can be written");
    if let Ok(config) = Config::load_without_files(&PATH) {
        let _ = config.warnings();
        let _ = config.watched_files();
        let _ = config.environment();
    }
});
