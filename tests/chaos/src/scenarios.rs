//! What goes wrong with HSMs, and what must come of it.

use std::time::Duration;

use rustix::process::Signal;

use crate::clock::wait_for;
use crate::daemon::kill;
use crate::evidence::Evidence;
use crate::load::xks::Cdiv;
use crate::stage::{Needs, Plan, Stage};

const P99_MAX: Duration = Duration::from_millis(100);
const BACK_MAX: Duration = Duration::from_secs(2);
const SERVICE_BACK_MAX: Duration = Duration::from_secs(1);
const CRASH_INTERVAL: Duration = Duration::from_secs(5);
const FLAP_INTERVAL: Duration = Duration::from_millis(300);
const DEVICE_REMOVED: &str = "* code=CKR_DEVICE_REMOVED";

const PLAIN: Plan = Plan {
    name: "",
    needs: Needs::Nothing,
    cdiv: Cdiv::Some,
    with_kms: true,
    act: |stage| stage.pause(stage.trouble),
    judge: Evidence::require_no_errors,
};

pub const SCENARIOS: [Plan; 12] = [
    Plan { name: "nothing-happens", ..PLAIN },
    Plan { name: "one-hangs", act: one_hangs, judge: no_errors_and_fast, ..PLAIN },
    Plan { name: "one-removed", act: one_removed, judge: no_errors_and_back, ..PLAIN },
    Plan { name: "one-switched-off", act: one_switched_off, judge: no_errors_and_back, ..PLAIN },
    Plan {
        name: "one-killed",
        needs: Needs::Workers,
        act: one_killed,
        judge: |evidence| {
            evidence.require_no_errors_but_in_flight();
            evidence.require_back_within(BACK_MAX);
        },
        ..PLAIN
    },
    Plan { name: "both-removed", act: both_removed, judge: documented_errors_and_back, ..PLAIN },
    Plan { name: "both-hang", act: both_hang, judge: documented_errors_and_back, ..PLAIN },
    Plan {
        name: "library-crashes",
        needs: Needs::Workers,
        act: library_crashes,
        judge: Evidence::require_no_errors_but_in_flight,
        ..PLAIN
    },
    Plan {
        name: "corrupt-with-cdiv",
        cdiv: Cdiv::All,
        with_kms: false,
        act: one_corrupts,
        judge: no_errors_and_marked,
        ..PLAIN
    },
    Plan {
        name: "corrupt-checked",
        needs: Needs::CheckedEncryptions,
        act: one_corrupts,
        judge: no_errors_and_marked,
        ..PLAIN
    },
    Plan { name: "one-slow", act: one_slow, judge: no_errors_and_fast, ..PLAIN },
    Plan { name: "one-flaps", act: one_flaps, judge: Evidence::require_no_errors, ..PLAIN },
];

fn no_errors_and_fast(evidence: &mut Evidence) {
    evidence.require_no_errors();
    evidence.require_p99_below(P99_MAX);
}

fn no_errors_and_back(evidence: &mut Evidence) {
    evidence.require_no_errors();
    evidence.require_back_within(BACK_MAX);
}

fn documented_errors_and_back(evidence: &mut Evidence) {
    evidence.require_documented_errors_in_time();
    evidence.require_full_service_within(SERVICE_BACK_MAX);
    evidence.back = evidence.service_back();
}

fn no_errors_and_marked(evidence: &mut Evidence) {
    evidence.require_no_errors();
    evidence.require_marked();
}

/// The second member suffers these faults, and is healed.
fn harm_one(stage: &mut Stage<'_>, lines: &str) {
    stage.fault();
    stage.site.second.inject(lines);
    stage.pause(stage.trouble);
    stage.healed();
    stage.site.second.heal();
}

fn one_hangs(stage: &mut Stage<'_>) {
    harm_one(stage, "* hang");
    stage.wait_until_second_serves();
}

fn one_removed(stage: &mut Stage<'_>) {
    harm_one(stage, DEVICE_REMOVED);
    stage.wait_until_second_serves();
}

fn one_slow(stage: &mut Stage<'_>) {
    harm_one(stage, "C_Encrypt delay_ms=150\nC_Decrypt delay_ms=150");
}

fn one_switched_off(stage: &mut Stage<'_>) {
    stage.fault();
    stage.site.second.switch_off();
    stage.pause(stage.trouble);
    stage.healed();
    stage.site.second.switch_on();
    stage.wait_until_second_serves();
}

/// `kill -9`, and nothing keeps it from coming back.
fn one_killed(stage: &mut Stage<'_>) {
    let site = stage.site;
    let worker = site.daemon.worker_of(&site.second.library());
    stage.fault();
    worker.into_iter().for_each(|pid| kill(pid, Signal::KILL));
    stage.healed();
    stage.wait_until_second_serves();
    stage.pause(stage.trouble.saturating_sub(BACK_MAX));
}

fn harm_both(stage: &mut Stage<'_>, lines: &str) {
    stage.fault();
    stage.site.first.inject(lines);
    stage.site.second.inject(lines);
    stage.pause(stage.trouble);
    stage.site.first.heal();
    stage.site.second.heal();
    stage.healed();
}

fn both_removed(stage: &mut Stage<'_>) {
    harm_both(stage, DEVICE_REMOVED);
}

fn both_hang(stage: &mut Stage<'_>) {
    harm_both(stage, "* hang");
}

/// Every five seconds, or three times if there are not so many seconds.
fn library_crashes(stage: &mut Stage<'_>) {
    let interval = CRASH_INTERVAL.min(stage.trouble / 3);
    let ends = stage.now() + stage.trouble;
    let site = stage.site;
    while stage.now() + interval <= ends {
        let worker = site.daemon.worker_of(&site.second.library());
        stage.fault();
        site.second.inject("C_Encrypt crash\nC_Decrypt crash");
        wait_for(interval, || site.daemon.worker_of(&site.second.library()) != worker);
        site.second.heal();
        stage.pause(interval);
    }
    stage.healed();
    stage.wait_until_second_serves();
}

fn one_corrupts(stage: &mut Stage<'_>) {
    stage.fault();
    stage.site.second.inject("C_Encrypt corrupt");
    let until = stage.now() + stage.trouble;
    stage.wait_until_second_is_marked();
    stage.pause(until.saturating_sub(stage.now()));
    stage.site.second.heal();
    stage.healed();
}

fn one_flaps(stage: &mut Stage<'_>) {
    stage.fault();
    let until = stage.now() + stage.trouble;
    while stage.now() < until {
        stage.site.second.inject(DEVICE_REMOVED);
        stage.pause(FLAP_INTERVAL);
        stage.site.second.heal();
        stage.pause(FLAP_INTERVAL);
    }
    stage.healed();
}
