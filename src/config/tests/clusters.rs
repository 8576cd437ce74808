//! `[[cluster]]`, and that a token is in one place only.

use std::path::Path;

use super::{SMALL, parse, problem, problem_with};
use crate::config::IvMode;

const CLUSTER: &str = r#"
[[cluster]]
id = "cluster-2a23b4cdefg"
trust_anchor_file = "ca.crt"
module = "cluster.so"
[[cluster.member]]
name = "one"
token_label = "cluster-1"
[[cluster.member]]
name = "two"
token_label = "cluster-2"
"#;

/// What is wrong with the cluster after the text was replaced by the other.
fn cluster_problem(from: &str, to: &str) -> String {
    assert!(CLUSTER.contains(from), "{from} is not in the cluster");
    problem_with(&CLUSTER.replace(from, to))
}

#[test]
fn a_member_has_the_library_of_its_cluster_and_the_defaults_of_an_hsm() {
    let own = "name = \"two\"\nmodule = \"/two.so\"\niv_mode = \"hsm\"";
    let config = parse(&format!("{SMALL}{}", CLUSTER.replace("name = \"two\"", own))).unwrap();
    let [cluster] = &*config.clusters else { panic!("one cluster") };
    assert_eq!((&*cluster.id, &cluster.crypto_user), ("cluster-2a23b4cdefg", &None));
    assert_eq!(cluster.trust_anchor_file, Path::new("/etc/ca.crt"));
    let [one, two] = &*cluster.members else { panic!("two members") };
    assert_eq!((&*one.module, one.iv_mode), (Path::new("/etc/cluster.so"), IvMode::Host));
    assert_eq!((&*two.module, two.iv_mode), (Path::new("/two.so"), IvMode::Hsm));
    let hsm = &config.hsms[0];
    assert_eq!((one.sessions, &one.health_key), (hsm.sessions, &hsm.health_key));
    assert_eq!((&one.pin_file, hsm.pin_file.is_some()), (&None, true));
}

#[test]
fn clusters_are_checked() {
    assert_eq!(cluster_problem("2a23b4cdefg", "2345abcdEFGHIJ67"), "");
    let bad_id = "cluster 1: `id` must be `cluster-` and 11 to 16 letters and digits from 2 to 7";
    for id in ["", "2a23b4cdef", "2a23b4cdefghijklm", "2a23b4cdef-", "1a23b4cdefg"] {
        assert_eq!(cluster_problem("2a23b4cdefg", id), bad_id, "{id}");
    }
    let cluster = "cluster `cluster-2a23b4cdefg`:";
    for (from, to, reason) in [
        ("\"ca.crt\"", "\"\"", format!("{cluster} `trust_anchor_file` is empty")),
        (
            "module =",
            "crypto_user = \"a:b\"\nmodule =",
            format!("{cluster} `crypto_user` must be letters and digits"),
        ),
        ("\"two\"", "\"one\"", "cluster.member `one`: `name` is already taken by another table".to_owned()),
        (
            "\"two\"",
            "\"token\"",
            "cluster.member `token`: `name` is already taken by another table".to_owned(),
        ),
        ("\"two\"", "\"two\"\nsessions = 0", "cluster.member `two`: `sessions` must be 1 to 1024".to_owned()),
    ] {
        assert_eq!(cluster_problem(from, to), reason);
    }
    let (alone, _) = CLUSTER.rsplit_once("[[cluster.member]]").unwrap();
    assert_eq!(problem_with(alone), format!("{cluster} there must be at least 2 `[[cluster.member]]`"));
    let twice = problem_with(&format!("{CLUSTER}{CLUSTER}"));
    assert!(twice.starts_with(&format!("{cluster} `id` is already taken by another table")), "{twice}");
    let error = cluster_problem("name = \"two\"", "pin_file = \"pin\"\nname = \"two\"");
    assert!(error.contains("unknown field `pin_file`"), "{error}");
}

#[test]
fn one_token_is_one_hsm() {
    let twin = "[[hsm]]\nname = \"twin\"\nmodule = \"/etc/module.so\"\ntoken_label = \"label\"\npin_file = \"pin\"\n";
    assert_eq!(problem_with(twin), "hsm `twin`: this is the token of hsm `token`");
    assert_eq!(problem_with(&twin.replace("\"label\"", "\"other\"")), "");
    // The serial number tells tokens of one label apart, if both have one.
    let with_serial = format!("{twin}token_serial = \"1\"\n");
    assert_eq!(problem_with(&with_serial), "hsm `twin`: this is the token of hsm `token`");
    let both =
        format!("{}\n{with_serial}", SMALL.replace("[[key_store]]", "token_serial = \"2\"\n[[key_store]]"));
    parse(&both).unwrap();
}

#[test]
fn a_token_is_in_one_place_only() {
    let twin = cluster_problem("\"cluster-2\"", "\"cluster-1\"");
    assert_eq!(twin, "cluster.member `two`: this is the token of `one`, so they would fail together");
    let of_softhsm = CLUSTER.replace("cluster.so", "libsofthsm2.so");
    assert_eq!(problem_with(&of_softhsm.replace("\"cluster-2\"", "\"cluster-1\"")), "");
    let of_hsm = CLUSTER.replace("cluster.so", "module.so").replace("\"cluster-2\"", "\"label\"");
    assert_eq!(problem_with(&of_hsm), "cluster.member `two`: this is the token of `token`");
    let second = of_softhsm.replace("2a23b4cdefg", "2a23b4cdefh").replace("\"one\"", "\"three\"");
    let both = problem_with(&(of_softhsm.clone() + &second.replace("\"two\"", "\"four\"")));
    assert_eq!(
        both,
        "cluster.member `three`: this is the token of `one`\ncluster.member `four`: this is the token of `two`"
    );
}

#[test]
fn the_clock_is_moved_only_if_the_clusters_are_of_softhsm_too() {
    let with_clock = |cluster: &str| {
        let text = SMALL.replace("module.so", "libsofthsm2.so");
        parse(&format!("{text}{cluster}\n[dev]\nclock_control = true"))
    };
    assert!(with_clock(CLUSTER).unwrap_err().contains("`clock_control` is for SoftHSM only"));
    with_clock(&CLUSTER.replace("cluster.so", "libsofthsm2.so")).unwrap();
    assert_eq!(problem("\"module.so\"", "\"libsofthsm2.so\""), "");
}
