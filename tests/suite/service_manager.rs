//! What the service manager that started the daemon is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Setup, Site};

const PATIENCE: Duration = Duration::from_secs(20);

/// A site whose daemon was started by us, and the socket at which we are told.
fn managed(surroundings: &str) -> (Site, UnixDatagram) {
    let site = Site::prepare(&Setup::default());
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    site.run_after(&format!("export NOTIFY_SOCKET={}; {surroundings}", path.display()));
    (site, socket)
}

fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let bytes = socket.recv(&mut buffer).expect("the daemon tells something");
    String::from_utf8(buffer[..bytes].to_vec()).unwrap()
}

#[track_caller]
fn expect(socket: &UnixDatagram, state: &str) -> String {
    let told = next(socket);
    assert_eq!(told.lines().next(), Some(state), "{told}");
    told
}

#[test]
fn the_service_manager_is_told_of_start_reload_and_stop() {
    let (site, socket) = managed(":");
    expect(&socket, "READY=1");
    site.wait_ready();
    site.signal(Signal::HUP);
    let told = expect(&socket, "RELOADING=1");
    assert!(told.contains("\nMONOTONIC_USEC="), "{told}");
    expect(&socket, "READY=1");
    site.signal(Signal::TERM);
    expect(&socket, "STOPPING=1");
}

#[test]
fn a_reload_that_is_refused_ends_too() {
    let (site, socket) = managed(":");
    expect(&socket, "READY=1");
    std::fs::write(site.path("holdfast.toml"), "not = 'a configuration'").unwrap();
    expect(&socket, "RELOADING=1");
    expect(&socket, "READY=1");
    site.wait_until("the refusal", || site.log().contains("the old one stays in force"));
}

#[test]
fn a_daemon_whose_hsm_is_away_has_started_nevertheless() {
    let site = Site::prepare(&Setup::default());
    std::fs::rename(site.path("tokens"), site.path("tokens.away")).unwrap();
    std::fs::create_dir(site.path("tokens")).unwrap();
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    site.run_after(&format!("export NOTIFY_SOCKET={}", path.display()));
    expect(&socket, "READY=1");
    assert_eq!(site.admin("/readyz").map(|(status, _)| status), Some(503));
}

#[test]
fn the_watchdog_gets_its_signs_of_life_and_only_if_it_is_ours() {
    // The shell's own process becomes the daemon.
    let (_site, socket) = managed("export WATCHDOG_USEC=150000 WATCHDOG_PID=$$");
    let told: Vec<_> = (0..6).map(|_| next(&socket)).collect();
    assert!(told.iter().filter(|told| told.as_str() == "WATCHDOG=1").count() >= 4, "{told:?}");

    let (site, socket) = managed("export WATCHDOG_USEC=150000 WATCHDOG_PID=1");
    expect(&socket, "READY=1");
    site.wait_ready();
    site.signal(Signal::TERM);
    expect(&socket, "STOPPING=1");
}
