//! The configuration file: defaults, what is refused and how it is told, arbitrary input.

mod clusters;
mod files;
mod kms;
mod members;
mod reference;

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use crate::config::Config;
use crate::config::DEFAULT;
use crate::config::IvMode;
use crate::config::Kms;
use crate::config::validation;

const SMALL: &str = r#"
state_dir = "state"

[[listener]]
name = "public"
listen = "127.0.0.1:8440"
certificate_file = "server.pem"
private_key_file = "server.key"

[[hsm]]
name = "token"
module = "module.so"
token_label = "label"
pin_file = "pin"

[[key_store]]
name = "store"
uri_path_prefix = "prefix"
hsms = ["token"]
credentials_file = "credentials.toml"
"#;

/// The smallest configuration of a KMS API alone.
const KMS_ONLY: &str = r#"
state_dir = "state"

[[hsm]]
name = "token"
module = "libsofthsm2.so"
token_label = "label"
pin_file = "pin"

[kms]
hsms = ["token"]

[[kms.listener]]
name = "kms"
listen = "127.0.0.1:8443"
"#;

fn parse(text: &str) -> Result<Config, String> {
    validation::parse(Path::new("/etc/h.toml"), text, None).map_err(|error| error.to_string())
}

/// What is wrong with the small configuration after each of the texts was replaced by the other.
fn problems(changes: &[(&str, &str)]) -> Vec<String> {
    let mut text = SMALL.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in the small configuration");
        text = text.replace(from, to);
    }
    match parse(&text) {
        Ok(_) => Vec::new(),
        Err(error) => {
            error.lines().map(|line| line.strip_prefix("/etc/h.toml: ").unwrap().to_owned()).collect()
        }
    }
}

fn problem(from: &str, to: &str) -> String {
    problems(&[(from, to)]).join("\n")
}

/// `tables` put at the end of the small configuration.
fn problem_with(tables: &str) -> String {
    let credentials = "credentials_file = \"credentials.toml\"\n";
    problem(credentials, &format!("{credentials}{tables}"))
}

#[test]
fn absent_members_have_their_defaults() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.state_dir, Path::new("/etc/state"));
    assert_eq!(config.admin.listen, "127.0.0.1:8444".parse().unwrap());
    assert_eq!(config.admin.control_socket, Path::new("/etc/state/control.sock"));
    assert_eq!(config.limits.request_deadline, Duration::from_millis(230));
    assert_eq!((config.limits.plaintext_bytes_max, config.limits.aad_bytes_max), (8192, 16384));
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(600));
    assert_eq!(config.health.probe_interval, Duration::from_secs(10));
    assert_eq!((config.hsms[0].sessions, config.hsms[0].queue_length_max), (4, 256));
    assert_eq!(config.hsms[0].cached_keys_max, 10_000);
    assert_eq!(
        (config.hsms[0].iv_mode, config.hsms[0].health_key.as_str()),
        (IvMode::Host, "holdfast-health")
    );
    assert_eq!((config.log.filter.as_str(), config.log.requests), ("info", true));
    assert_eq!(
        (&config.key_stores[0].keys, &config.key_stores[0].regions),
        (&vec!["*".into()], &vec!["*".into()])
    );
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_printed_default_is_right_and_says_what_the_code_does() {
    let printed = parse(DEFAULT).unwrap();
    let absent = parse(SMALL).unwrap();
    assert_eq!(printed.limits, absent.limits);
    assert_eq!(printed.health, absent.health);
    assert_eq!(printed.log, absent.log);
    assert_eq!(printed.admin.listen, absent.admin.listen);
    let of_hsm = |config: &Config| {
        let hsm = &config.hsms[0];
        (hsm.sessions, hsm.queue_length_max, hsm.cached_keys_max, hsm.iv_mode, hsm.health_key.clone())
    };
    assert_eq!(of_hsm(&printed), of_hsm(&absent));
    let kms = parse(KMS_ONLY).unwrap().kms.unwrap();
    let printed_kms = printed.kms.as_ref().unwrap();
    assert_eq!(
        (printed_kms.request_deadline, printed_kms.known_keys_max, printed_kms.known_grants_max),
        (kms.request_deadline, kms.known_keys_max, kms.known_grants_max)
    );
    let in_software = |kms: &Kms| (kms.key_generation_deadline, kms.software_key_specs.clone());
    assert_eq!(in_software(printed_kms), in_software(&kms));
    assert_eq!(in_software(&kms), (Duration::from_secs(30), Vec::new()));
    assert_eq!(printed_kms.request_quotas, kms.request_quotas);
    assert_eq!(printed_kms.resource_quotas, kms.resource_quotas);
    assert_eq!(printed_kms.external_key_stores, kms.external_key_stores);
    assert_eq!(printed.dev, absent.dev);
    assert_eq!(printed.key_stores[0].keys, absent.key_stores[0].keys);
    assert_eq!(printed.key_stores[0].regions, absent.key_stores[0].regions);
}

#[test]
fn the_printed_default_shows_every_member_and_each_example_is_right() {
    let is_member = |line: &str| line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '));
    let uncommented: Vec<_> = DEFAULT
        .lines()
        .map(|line| {
            line.strip_prefix("# ").filter(|rest| is_member(rest) || rest.starts_with('[')).unwrap_or(line)
        })
        .collect();
    parse(&uncommented.join("\n")).unwrap();

    for table in [
        "",
        "[admin]",
        "[[listener]]",
        "[[hsm]]",
        "[[cluster]]",
        "[[cluster]]\n[[cluster.member]]",
        "[[key_store]]",
        "[kms]",
        "[[kms.listener]]",
        "[kms.request_quotas]",
        "[kms.resource_quotas]",
        "[kms.audit]",
        "[kms.audit.syslog]",
        "[kms.attestation]",
        "[kms.external_key_stores]",
        "[[kms.external_key_stores.vpc_endpoint_service]]",
        "[dev]",
        "[limits]",
        "[health]",
        "[log]",
    ] {
        let error = parse(&format!("{table}\nunknown_member = 1")).unwrap_err();
        let (_, expected) =
            error.split_once("expected one of ").or_else(|| error.split_once("expected ")).unwrap();
        for member in expected.split('`').skip(1).step_by(2) {
            let is_shown = uncommented.iter().any(|line| {
                line.starts_with(&format!("{member} = ")) || line.trim_matches(['[', ']']).ends_with(member)
            });
            assert!(is_shown, "{table} {member} is not in the printed default");
        }
    }
}

#[test]
fn what_is_not_toml_or_has_unknown_members_is_refused_with_its_line() {
    assert!(parse("state_dir = \"x\"\n[").unwrap_err().starts_with("/etc/h.toml: line 2: "));
    let error = problem("pin_file = ", "pin = \"1234\"\npin_file = ");
    assert!(error.starts_with("line 14: unknown field `pin`, expected one of `name`, "), "{error}");
    assert!(!error.contains("1234"));
    assert_eq!(problem("state_dir = \"state\"", ""), "line 1: missing field `state_dir`");
}

#[test]
fn a_missing_quote_is_told_with_its_own_line() {
    let text = SMALL.replace("\"state\"", "\"state");
    let line = 1 + text.lines().position(|line| line.ends_with("\"state")).unwrap();
    assert!(parse(&text).unwrap_err().starts_with(&format!("/etc/h.toml: line {line}: ")));
    let text = SMALL.replace("hsms = [\"token\"]", "hsms = [\"token]");
    let line = 1 + text.lines().position(|line| line.ends_with("[\"token]")).unwrap();
    let error = parse(&text).unwrap_err();
    assert!(error.starts_with(&format!("/etc/h.toml: line {line}: ")) && !error.contains('\n'), "{error}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let changes = [("[\"token\"]", "[]"), ("127.0.0.1:8440", "localhost"), ("\"label\"", "\"\"")];
    assert_eq!(
        problems(&changes),
        [
            "listener `public`: `listen` must be an IP address and a port, such as `127.0.0.1:8440` or `[::]:443`",
            "hsm `token`: `token_label` must be 1 to 32 bytes long",
            "key_store `store`: `hsms` must name at least one hsm",
        ]
    );
}

#[test]
fn listeners_are_checked() {
    for (from, to, reason) in [
        (
            "name = \"public\"",
            "name = \"a b\"",
            "listener 1: `name` must be 1 to 64 characters of A-Z a-z 0-9 - . _",
        ),
        ("127.0.0.1:8440", "127.0.0.1:8444", "listener `public`: `listen` is already taken by another table"),
        ("127.0.0.1:8440", "0.0.0.0:8444", "listener `public`: `listen` is already taken by another table"),
        ("\"server.key\"", "\"\"", "listener `public`: `private_key_file` is empty"),
    ] {
        assert_eq!(problem(from, to), reason);
    }
    assert_eq!(problem("127.0.0.1:8440", "127.0.0.2:8444"), "");
    assert_eq!(
        problem_with(
            "[[listener]]\nname = \"public\"\nlisten = \"[::1]:1\"\ncertificate_file = \"c\"\nprivate_key_file = \"k\"\n[listener.client_auth]\nca_file = \"ca\"\nsubjects = []"
        ),
        "listener `public`: `name` is already taken by another table\n\
         listener `public` client_auth: `subjects` must be a list of one or more names"
    );
}

#[test]
fn the_admin_listener_is_for_this_machine_only() {
    assert_eq!(problem_with("[admin]\nlisten = \"[::1]:1\""), "");
    assert_eq!(
        problem_with("[admin]\nlisten = \"0.0.0.0:1\""),
        "admin: `listen` must be a loopback address: what it serves has no authentication"
    );
    let long = "s".repeat(200);
    assert_eq!(
        problem_with(&format!("[admin]\ncontrol_socket = \"{long}\"")),
        "admin: `control_socket` must be a path of at most 103 bytes"
    );
}

#[test]
fn hsms_are_checked() {
    for (from, to, reason) in [
        ("pin_file =", "sessions = 0\npin_file =", "hsm `token`: `sessions` must be 1 to 1024"),
        (
            "pin_file =",
            "queue_length_max = 0\npin_file =",
            "hsm `token`: `queue_length_max` must be 1 to 65536",
        ),
        (
            "pin_file =",
            "cached_keys_max = 0\npin_file =",
            "hsm `token`: `cached_keys_max` must be 1 to 1000000",
        ),
        (
            "pin_file =",
            "token_serial = \"\"\npin_file =",
            "hsm `token`: `token_serial` must be 1 to 16 bytes long",
        ),
        (
            "pin_file =",
            "health_key = \"\"\npin_file =",
            "hsm `token`: `health_key` must be 1 to 128 bytes long",
        ),
    ] {
        assert_eq!(problem(from, to), reason);
    }
}

#[test]
fn hsms_of_one_process_must_agree_on_the_environment() {
    let isolated = |name: &str, isolation: &str, environment: &str| {
        format!(
            "[[hsm]]\nname = \"{name}\"\nmodule = \"{name}.so\"\ntoken_label = \"l\"\npin_file = \"p\"\n\
             isolation = \"{isolation}\"\n[hsm.environment]\n{environment}\n"
        )
    };
    let hsm = |name: &str, environment: &str| isolated(name, "thread", environment);
    let apart =
        |one: &str, two: &str| isolated("a", one, "CONF = \"1\"") + &isolated("b", two, "CONF = \"2\"");
    assert_eq!(problem_with(&apart("process", "process")), "");
    assert_eq!(problem_with(&apart("thread", "process")), "");
    assert_ne!(problem_with(&apart("thread", "thread")), "");
    let pair = |one: &str, two: &str| problem_with(&format!("{}{}", hsm("a", one), hsm("b", two)));
    assert_eq!(pair("CONF = \"1\"", "CONF = \"1\"\nOTHER = \"2\""), "");
    assert_eq!(
        pair("CONF = \"1\"", "CONF = \"2\""),
        "hsm `b` environment: `CONF` has another value in another hsm"
    );
    assert_eq!(
        pair("\"A=B\" = \"1\"", ""),
        "hsm `a` environment: a name is empty or has `=` in it, or a name or value has a NUL in it"
    );
}

#[test]
fn uri_path_prefixes_are_those_of_the_specification() {
    for prefix in ["", "a", "a/b", "A-Z_0/9", &"a".repeat(116)] {
        assert_eq!(problem("\"prefix\"", &format!("\"{prefix}\"")), "", "{prefix}");
    }
    let wrong = "key_store `store`: `uri_path_prefix` is wrong: a path prefix has segments of A-Z a-z 0-9 - _ with \
                 single slashes between them, and is at most 116 characters long";
    for prefix in ["/a", "a/", "a//b", "a.b", "ä", &"a".repeat(117)] {
        assert_eq!(problem("\"prefix\"", &format!("\"{prefix}\"")), wrong);
    }
    let prefix = |prefix: &str| parse(&SMALL.replace("\"prefix\"", prefix)).unwrap().key_stores[0].uri_path();
    assert_eq!(prefix("\"\""), "/kms/xks/v1");
    assert_eq!(prefix("\"a/b\""), "/a/b/kms/xks/v1");
    assert_eq!(prefix(&format!("\"{}\"", "a".repeat(116))).len(), 128);
}

#[test]
fn key_stores_are_checked() {
    let credentials = "credentials_file =";
    for (from, to, reason) in [
        ("[\"token\"]", "[]", "`hsms` must name at least one hsm"),
        ("[\"token\"]", "[\"other\"]", "`hsms` entry 1: no hsm is named `other`; there are: token"),
        ("[\"token\"]", "[\"token\", \"token\"]", "`hsms` entry 2 is there twice"),
        (
            credentials,
            "keys = []\ncredentials_file =",
            "`keys` must have at least one entry; `*` allows every key",
        ),
        (
            credentials,
            "keys = [\"a\", \"holdfast-health\"]\ncredentials_file =",
            "`keys` has the health key of hsm `token`, which no KMS key may use",
        ),
        (
            credentials,
            "requests_per_second = 0\ncredentials_file =",
            "`requests_per_second` must be 1 to 1000000",
        ),
        (
            credentials,
            "regions = [\"us east\"]\ncredentials_file =",
            "`regions` must be a list of names such as `us-east-1`, or `*` for any",
        ),
    ] {
        assert_eq!(problem(from, to), format!("key_store `store`: {reason}"));
    }
    let twin = "[[key_store]]\nname = \"store\"\nuri_path_prefix = \"prefix\"\nhsms = [\"token\"]\n\
                credentials_file = \"/etc/credentials.toml\"\n";
    assert_eq!(
        problem_with(twin),
        ["name", "uri_path_prefix", "credentials_file"]
            .map(|member| format!("key_store `store`: `{member}` is already taken by another table"))
            .join("\n")
    );
}

#[test]
fn key_patterns_are_external_key_ids_with_stars() {
    let keys =
        |pattern: &str| problem("credentials_file =", &format!("keys = [\"{pattern}\"]\ncredentials_file ="));
    for pattern in ["*", "a*", "*a*", ".*", "foo", "A.b-c_9"] {
        assert_eq!(keys(pattern), "", "{pattern}");
    }
    for pattern in ["", ".", "..", "a b", "a/b", "a?", &"a".repeat(129)] {
        let reason = "must be an external key id, in which `*` stands for any run of characters";
        assert_eq!(keys(pattern), format!("key_store `store`: `keys` entry 1 {reason}"));
    }
}

#[test]
fn the_software_provider_has_no_keys_that_every_hsm_has() {
    let with =
        |specs: &str| parse(&format!("{KMS_ONLY}\n[kms.software_provider]\nkey_specs = [{specs}]")).map(drop);
    assert_eq!(with("\"ML_DSA_65\", \"ECC_NIST_EDWARDS25519\""), Ok(()));
    assert!(with("\"RSA_2048\"").is_err() && with("\"ML_DSA_66\"").is_err());
}

#[test]
fn limits_are_checked() {
    for (member, low, high) in [
        ("request_deadline_ms", 1, 60_000),
        ("plaintext_bytes_max", 4300, 65536),
        ("aad_bytes_max", 8192, 65535),
        ("connections_max", 1, 1_000_000),
        ("tls_handshake_timeout_seconds", 1, 300),
        ("header_read_timeout_seconds", 1, 300),
        ("body_read_timeout_seconds", 1, 300),
        ("idle_timeout_seconds", 1, 86_400),
        ("shutdown_timeout_seconds", 1, 3600),
    ] {
        for value in [low, high] {
            assert_eq!(problem_with(&format!("[limits]\n{member} = {value}")), "", "{member} = {value}");
        }
        for value in [low - 1, high + 1] {
            let problem = problem_with(&format!("[limits]\n{member} = {value}"));
            assert_eq!(problem, format!("limits: `{member}` must be {low} to {high}"));
        }
    }
    assert_eq!(problem_with("[health]\nfleet_size = 0"), "health: `fleet_size` must be 1 to 4294967295");
    assert_eq!(
        problem_with("[health]\nprobe_interval_seconds = 59"),
        "health: `probe_interval_seconds` and `probe_timeout_ms` together exceed 60 s"
    );
}

#[test]
fn what_is_allowed_and_probably_not_meant_is_a_warning() {
    let text = format!("{SMALL}\n[limits]\nrequest_deadline_ms = 250\nidle_timeout_seconds = 60\n");
    let warnings = parse(&text).unwrap().warnings();
    assert_eq!(warnings.len(), 2);
    assert_eq!(warnings[0], "limits: `request_deadline_ms` is 250, but AWS KMS gives up after 250");
    assert!(warnings[1].starts_with("limits: `idle_timeout_seconds` is 60: "));
}

#[test]
fn the_environment_replaces_the_log_filter() {
    let parse = |filter: &str| validation::parse(Path::new("/h.toml"), SMALL, Some(filter.into()));
    assert_eq!(parse("holdfast=debug").unwrap().log.filter, "holdfast=debug");
    assert_eq!(
        parse("a=b=c").unwrap_err().to_string(),
        "/h.toml: environment variable HOLDFAST_LOG: `filter` must be a filter such as `info` or `warn,holdfast=debug`"
    );
    assert!(problem_with("[log]\nfilter = \"a=b=c\"").starts_with("log: `filter` must be"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for (path, reason) in
        [("/nowhere/h.toml", "No such file"), ("/dev/zero", "not a regular file of at most 1 MiB")]
    {
        let error = Config::load(Path::new(path)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{path}: file: {reason}")), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _result = parse(&text);
    }

    #[test]
    fn no_value_of_any_member_makes_it_panic(
        table in prop::sample::select(vec!["admin", "listener", "hsm", "key_store", "limits", "health", "log", "x"]),
        is_array in any::<bool>(),
        member in prop::sample::select(vec![
            "name", "listen", "module", "token_label", "sessions", "keys", "hsms", "uri_path_prefix", "regions",
            "environment", "request_deadline_ms", "probe_timeout_ms", "filter", "iv_mode", "client_auth", "y",
        ]),
        value in prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            "\\PC{0,200}".prop_map(|text| toml::Value::from(text).to_string()),
            "\\PC{0,20}".prop_map(|text| format!("[{}]", toml::Value::from(text))),
            "\\PC{0,20}".prop_map(|text| format!("{{ a = {} }}", toml::Value::from(text))),
            Just("1979-05-27T07:32:00Z".to_owned()),
            Just("nan".to_owned()),
        ],
    ) {
        let header = if is_array { format!("[[{table}]]") } else { format!("[{table}]") };
        let _alone = parse(&format!("{header}\n{member} = {value}"));
        let _in_place = parse(&SMALL.replace(&format!("[[{table}]]\n"), &format!("[[{table}]]\n{member} = {value}\n")));
        // Every line of every error is one line of the form `file: table: reason`.
        if let Err(error) = parse(&format!("{SMALL}\n{header}\n{member} = {value}")) {
            prop_assert!(error.lines().all(|line| line.starts_with("/etc/h.toml: ")), "{}", error);
        }
    }
}
