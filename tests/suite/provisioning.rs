//! `holdfast provision`: everything is made once, whatever comes in between.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use holdfast::config::Config;

use crate::support::provisioned::{Provisioned, differences, files};

#[test]
fn a_first_run_makes_a_configuration_that_the_daemon_takes() {
    let folder = Provisioned::new();
    let config = Config::load(&folder.path("holdfast.toml")).unwrap();
    let ports: Vec<_> = config.listeners.iter().map(|listener| listener.listen.port()).collect();
    assert_eq!((ports, config.admin.listen.port()), (vec![8440, 8441], 8444));
    assert_eq!(config.key_stores[0].uri_path(), "/quickstart/kms/xks/v1");
    assert_eq!(config.warnings(), Vec::<String>::new());
    let usages = ["encrypt,decrypt", "encrypt", "decrypt", "none", "encrypt,decrypt"];
    for (key, usage) in folder.keys().iter().zip(usages) {
        assert!(key.contains(usage), "{usage}: {key}");
    }
}

#[test]
fn nobody_else_can_read_anything_and_nothing_secret_is_printed() {
    let folder = Provisioned::nothing("quickstart");
    let printed = folder.run_ok(&[]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&folder.root()), mode(&folder.path("tls"))), (0o700, 0o700));
    for path in files(&folder.root()) {
        let is_open = path.ends_with("provision.lock");
        assert!(is_open || mode(&path) == 0o600, "{} {:o}", path.display(), mode(&path));
    }
    let variables = folder.variables();
    let secrets =
        variables.iter().filter(|(name, _)| name.contains("SECRET")).map(|(_, value)| value.as_str());
    let pins = ["pin", "so-pin", "cluster-pin"].map(|name| folder.read(name));
    for secret in secrets.chain(pins.iter().map(String::as_str)) {
        assert!(secret.len() >= 32 && !printed.contains(secret));
    }
}

#[test]
fn a_second_run_keeps_everything() {
    let folder = Provisioned::new();
    let (contents, keys) = (folder.contents(), folder.keys());
    let printed = folder.run_ok(&[]);
    assert_eq!(differences(&folder.contents(), &contents), Vec::<String>::new());
    assert_eq!(folder.keys(), keys);
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(printed.starts_with("ready for `holdfast serve --config "), "{printed}");
}

#[test]
fn env_has_the_variables_that_clients_read_and_no_others() {
    let folder = Provisioned::new();
    let variables = folder.variables();
    let in_folder = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let mut expected = vec![
        ("AWS_CA_BUNDLE", in_folder("tls/ca.pem")),
        ("AWS_DEFAULT_REGION", "us-east-1".into()),
        ("AWS_ENDPOINT_URL_KMS", "https://localhost:8442".into()),
        ("AWS_ENDPOINT_URL_STS", "https://localhost:8442".into()),
        ("DECRYPT_ONLY_KEY_ID", "decrypt_only_key".into()),
        ("ENCRYPT_ONLY_KEY_ID", "encrypt_only_key".into()),
        ("HOLDFAST_ACCOUNT2_ID", "210987654321".into()),
        ("HOLDFAST_ACCOUNT_ID", "123456789012".into()),
        ("HOLDFAST_ADMIN_URL", "http://localhost:8444".into()),
        ("HOLDFAST_CA", in_folder("tls/ca.pem")),
        ("HOLDFAST_CLIENT_CERT", in_folder("tls/client.pem")),
        ("HOLDFAST_CLIENT_KEY", in_folder("tls/client.key")),
        ("HOLDFAST_CLUSTER_ID", "cluster-quickstartaa".into()),
        ("HOLDFAST_CLUSTER_PASSWORD", folder.read("cluster-pin")),
        ("HOLDFAST_CLUSTER_TRUST_ANCHOR", in_folder("tls/cluster-ca.pem")),
        ("HOLDFAST_KMS_HTTP", "http://localhost:8443".into()),
        ("IMPOTENT_KEY_ID", "impotent_key".into()),
        ("KEY_ID", "foo".into()),
        ("NODE_EXTRA_CA_CERTS", in_folder("tls/ca.pem")),
        ("REGION", "us-east-1".into()),
        ("SOFTHSM2_CONF", in_folder("softhsm2.conf")),
        ("URI_PREFIX", "quickstart".into()),
        ("XKS_PROXY_HOST", "localhost:8440".into()),
        ("XKS_PROXY_HOST_MTLS", "localhost:8441".into()),
    ];
    let credentials = [
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", 20, 40),
        ("HOLDFAST_ACCOUNT2_ACCESS_KEY_ID", "HOLDFAST_ACCOUNT2_SECRET_ACCESS_KEY", 20, 40),
        ("SIGV4_ACCESS_KEY_ID", "SIGV4_SECRET_ACCESS_KEY", 26, 44),
    ];
    for (id, secret, id_chars, secret_chars) in credentials {
        assert_eq!((variables[id].len(), variables[secret].len()), (id_chars, secret_chars), "{id}");
        expected.extend([(id, variables[id].clone()), (secret, variables[secret].clone())]);
    }
    expected.sort();
    let found: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    assert_eq!(found, expected);
    let credential = &Config::load(&folder.path("holdfast.toml")).unwrap().key_stores[0].credentials[0];
    assert_eq!(credential.access_key_id, variables["SIGV4_ACCESS_KEY_ID"]);
    assert_eq!(credential.secret_access_key.expose(), variables["SIGV4_SECRET_ACCESS_KEY"].as_bytes());
}

#[test]
fn a_folder_with_blanks_quotes_and_dollars_in_its_name_works() {
    let folder = Provisioned::nothing("it's \"my\" $HOME `dir` é\\");
    folder.run_ok(&[]);
    let variables = folder.variables();
    assert_eq!(variables["HOLDFAST_CA"], folder.path("tls/ca.pem").to_str().unwrap());
    assert_eq!(variables["SOFTHSM2_CONF"], folder.path("softhsm2.conf").to_str().unwrap());
    folder.run_ok(&[]);
}

#[test]
fn other_ports_move_ports_and_nothing_else() {
    let folder = Provisioned::new();
    let by_hand = folder
        .read("holdfast.toml")
        .replace("127.0.0.1:8441", "[::1]:8441")
        .replace("keys = [\"*\"]", "keys = [\"foo\"] # mine");
    fs::write(folder.path("holdfast.toml"), &by_hand).unwrap();
    let (mut contents, keys) = (folder.contents(), folder.keys());
    folder.run_ok(&["--port-base", "9000"]);
    let moved = |text: &str| {
        (0..5).fold(text.to_owned(), |text, n| {
            text.replace(&format!(":{}", 8440 + n), &format!(":{}", 9000 + n))
        })
    };
    for name in ["holdfast.toml", "env"] {
        let content = contents.get_mut(name).unwrap();
        *content = moved(content);
    }
    assert!(folder.read("holdfast.toml").contains("[::1]:9001"));
    assert_eq!(differences(&folder.contents(), &contents), Vec::<String>::new());
    assert_eq!(folder.keys(), keys);
}

#[test]
fn another_account_gets_keys_of_its_own_and_the_first_keeps_its() {
    let folder = Provisioned::new();
    let first = folder.variables();
    folder.run_ok(&["--account-id", "210987654321"]);
    let other = folder.variables();
    assert_eq!(
        (&*other["HOLDFAST_ACCOUNT_ID"], &*other["HOLDFAST_ACCOUNT2_ID"]),
        ("210987654321", "123456789012")
    );
    assert_eq!(other["AWS_SECRET_ACCESS_KEY"], first["HOLDFAST_ACCOUNT2_SECRET_ACCESS_KEY"]);
    assert_eq!(other["HOLDFAST_ACCOUNT2_ACCESS_KEY_ID"], first["AWS_ACCESS_KEY_ID"]);
    folder.run_ok(&["--account-id", "000000000001"]);
    assert_ne!(folder.variables()["AWS_ACCESS_KEY_ID"], first["AWS_ACCESS_KEY_ID"]);
    folder.run_ok(&[]);
    assert_eq!(folder.variables(), first);
}

#[test]
fn a_moved_folder_works_at_its_new_place() {
    let mut folder = Provisioned::new();
    let keys = folder.keys();
    folder.move_to("moved");
    folder.run_ok(&[]);
    assert_eq!(folder.keys(), keys);
    for name in ["env", "holdfast.toml", "softhsm2.conf"] {
        let text = folder.read(name);
        assert!(text.contains("/moved/") && !text.contains("/quickstart/"), "{name}: {text}");
    }
}

/// In the order in which they are made. The token's keys are made with the token.
const MADE: [&str; 18] = [
    "so-pin",
    "pin",
    "cluster-pin",
    "softhsm2.conf",
    "tokens",
    "tls",
    "tls/ca.key",
    "tls/ca.pem",
    "tls/server.key",
    "tls/server.pem",
    "tls/client.key",
    "tls/client.pem",
    "tls/cluster-ca.key",
    "tls/cluster-ca.pem",
    "accounts.toml",
    "credentials.toml",
    "holdfast.toml",
    "env",
];

#[test]
fn a_run_that_was_cut_off_is_completed_by_the_next() {
    for kept in 0..MADE.len() {
        let folder = Provisioned::new();
        for name in &MADE[kept..] {
            let path = folder.path(name);
            let _absent = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        // Half a token, as a SoftHSM that is killed leaves it behind.
        let half = folder.path("tokens.unfinished").join("half");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join("token.object"), "half").unwrap();
        let before = folder.contents();
        folder.run_ok(&[]);
        let after = folder.contents();
        let made_again = differences(&before, &after);
        for name in &MADE[..kept] {
            assert!(!made_again.contains(&(*name).to_owned()), "{name} after a cut before {}", MADE[kept]);
        }
        folder.keys();
        Config::load(&folder.path("holdfast.toml")).unwrap();
        folder.run_ok(&[]);
        assert_eq!(differences(&folder.contents(), &after), Vec::<String>::new());
    }
}

#[test]
fn a_run_that_was_killed_is_completed_by_the_next() {
    for name in
        ["provision.lock", "pin", "tokens.unfinished", "tokens", "tls/ca.pem", "credentials.toml", "env"]
    {
        let folder = Provisioned::nothing("quickstart");
        let mut child = folder.command(&[]).stdout(Stdio::null()).spawn().unwrap();
        while !folder.path(name).exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(status.signal() == Some(9) || status.success(), "{status}");
        folder.run_ok(&[]);
        folder.keys();
    }
}

#[test]
fn a_key_that_was_deleted_is_made_again_and_the_others_are_kept() {
    let folder = Provisioned::new();
    let keys = folder.keys();
    folder.holdfast_ok(&["key", "delete", "foo", "--confirm", "foo"]);
    assert!(folder.run_ok(&[]).contains("made key foo\n"));
    let keys_now = folder.keys();
    assert_ne!(keys_now[0], keys[0]);
    assert_eq!(keys_now[1..], keys[1..]);
}

#[test]
fn a_folder_from_before_there_were_clusters_stays_without() {
    let folder = Provisioned::new();
    let text = folder.read("holdfast.toml");
    let (before, rest) = text.split_once("# For custom key stores of the type AWS_CLOUDHSM").unwrap();
    let (_, after) = rest.split_once("[[key_store]]").unwrap();
    fs::write(folder.path("holdfast.toml"), format!("{before}[[key_store]]{after}")).unwrap();
    for name in ["cluster-pin", "tls/cluster-ca.pem", "tls/cluster-ca.key"] {
        fs::remove_file(folder.path(name)).unwrap();
    }
    let keys = folder.keys();
    folder.run_ok(&[]);
    assert_eq!(folder.keys(), keys);
    assert!(!folder.path("cluster-pin").exists());
    assert!(folder.variables().keys().all(|name| !name.contains("CLUSTER")));
    assert_eq!(Config::load(&folder.path("holdfast.toml")).unwrap().clusters, []);
}

#[test]
fn certificates_satisfy_openssl() {
    let folder = Provisioned::new();
    let verify = |purpose: &str, name: &str, more: &[&str]| {
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .arg(folder.path("tls/ca.pem"))
            .args(more)
            .arg(folder.path(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    verify("sslserver", "tls/server.pem", &["-verify_hostname", "localhost"]);
    verify("sslserver", "tls/server.pem", &["-verify_ip", "127.0.0.1"]);
    verify("sslserver", "tls/server.pem", &["-verify_ip", "::1"]);
    verify("sslclient", "tls/client.pem", &[]);
}

#[test]
fn what_cannot_be_provisioned_is_refused_with_the_reason() {
    let folder = Provisioned::nothing("home");
    fs::create_dir(folder.root()).unwrap();
    fs::write(folder.path("notes"), "mine").unwrap();
    fs::set_permissions(folder.root(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(folder.refusal(&[]), "home: has files in it that holdfast did not make; give an empty folder");
    assert_eq!(files(&folder.root()), [folder.path("notes")]);
    assert_eq!(fs::metadata(folder.root()).unwrap().permissions().mode() & 0o777, 0o755);

    let folder = Provisioned::nothing("a#b");
    let reason = "the path must be UTF-8 without control characters, `#` and `=`: SoftHSM cannot read it";
    assert_eq!(folder.refusal(&[]), format!("a#b: {reason}"));
    assert!(!folder.root().exists());

    let folder = Provisioned::nothing("no-module");
    let reason = "no SoftHSM library at absent.so: install `softhsm2` or name it with `--module`";
    assert_eq!(folder.refusal(&["--module", "absent.so"]), reason);
    // Nor can a library that is none be used.
    fs::write(folder.parent().join("fake.so"), "").unwrap();
    assert!(folder.refusal(&["--module", "fake.so"]).starts_with("SoftHSM: "));
    folder.run_ok(&[]);

    let folder = Provisioned::new();
    fs::remove_file(folder.path("pin")).unwrap();
    let reason = "is gone, and nothing else opens the token; start with an empty folder";
    assert_eq!(folder.refusal(&[]), format!("quickstart/pin: {reason}"));

    let folder = Provisioned::new();
    fs::write(folder.path("holdfast.toml"), "[").unwrap();
    let reason = "not TOML; mend it, or remove it to have it made again";
    assert_eq!(folder.refusal(&[]), format!("quickstart/holdfast.toml: {reason}"));

    let folder = Provisioned::new();
    fs::set_permissions(folder.path("tls/ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let refusal = folder.refusal(&[]);
    assert!(refusal.starts_with("quickstart/tls/ca.key: mode 0644 lets others read or write"), "{refusal}");

    let folder = Provisioned::new();
    let lock = fs::File::open(folder.path("provision.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(folder.refusal(&[]), "quickstart: is being provisioned by another process");
}

#[test]
fn bad_arguments_are_usage_errors() {
    let folder = Provisioned::nothing("quickstart");
    for arguments in [
        ["--port-base", "0"],
        ["--port-base", "65532"],
        ["--account-id", "12345678901"],
        ["--account-id", "12345678901a"],
    ] {
        assert_eq!(folder.run(&arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(!folder.root().exists());
}
