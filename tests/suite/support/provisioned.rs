//! A folder that `holdfast provision` makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const KEYS: [&str; 5] = ["foo", "encrypt_only_key", "decrypt_only_key", "impotent_key", "holdfast-health"];

pub(crate) struct Provisioned {
    parent: TempDir,
    name: &'static str,
}

impl Provisioned {
    /// Nothing is made yet, not even the folder.
    pub(crate) fn nothing(name: &'static str) -> Self {
        Self { parent: tempfile::tempdir().unwrap(), name }
    }

    pub(crate) fn new() -> Self {
        let folder = Self::nothing("quickstart");
        folder.run_ok(&[]);
        folder
    }

    pub(crate) fn move_to(&mut self, name: &'static str) {
        fs::rename(self.root(), self.parent().join(name)).unwrap();
        self.name = name;
    }

    pub(crate) fn parent(&self) -> &Path {
        self.parent.path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.parent.path().join(self.name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// `holdfast provision`, called from the parent folder with a relative path.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["provision", "--dir", self.name]).args(arguments);
        command.current_dir(self.parent()).env_remove("SOFTHSM2_CONF");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn run_ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The line on standard error by which the run refuses.
    #[track_caller]
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        let line = error.strip_prefix("holdfast: ").unwrap().strip_suffix('\n').unwrap();
        line.replace(&format!("{}/", self.parent().display()), "")
    }

    /// A `holdfast` command on the provisioned configuration.
    #[track_caller]
    pub(crate) fn holdfast_ok(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(arguments)
            .arg("--config")
            .arg(self.path("holdfast.toml"))
            .env_remove("SOFTHSM2_CONF")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The five keys with their usages and the tags that tell a key from one made in its place.
    #[track_caller]
    pub(crate) fn keys(&self) -> [String; 5] {
        KEYS.map(|key| self.holdfast_ok(&["key", "describe", key]))
    }

    /// What every file has in it, except for the token's and the daemon's.
    pub(crate) fn contents(&self) -> BTreeMap<String, String> {
        let root = self.root();
        let paths = files(&root).into_iter();
        let contents = paths.filter_map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let is_ours = !name.starts_with("tokens") && !name.starts_with("state");
            is_ours.then(|| (name, fs::read_to_string(path).unwrap()))
        });
        contents.collect()
    }

    /// The variables that a shell has after reading `env`.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let output = Command::new("sh")
            .args(["-c", ". \"$1\" && env -0", "sh"])
            .arg(self.path("env"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0')
            .map(|line| line.split_once('=').unwrap())
            .filter(|(name, _)| !matches!(*name, "PATH" | "PWD" | "OLDPWD" | "SHLVL" | "_"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// Every file under a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The files that are in only one of two folders, or not the same in both.
pub(crate) fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let names = one.keys().chain(other.keys());
    let mut differing: Vec<_> = names.filter(|name| one.get(*name) != other.get(*name)).cloned().collect();
    differing.dedup();
    differing
}
