#!/usr/bin/env python3
"""Writes the dashboards in `dashboards/`; with --check, says whether they are what it would write."""

import json
import pathlib
import sys

from panels import NONE_IS_FINE, ONE_IS_FINE, dashboard, firing, graph, stat, states, thresholds, variable

INSTANCE = variable("instance", "Instance", 'label_values(holdfast_build_info, instance)')
KEY_STORE = variable("key_store", "Key store", 'label_values(holdfast_xks_requests_within_objective_total{instance=~"$instance"}, key_store)')
HSM = variable("hsm", "HSM", 'label_values(holdfast_hsm_state{instance=~"$instance"}, hsm)')
CUSTOM = variable("custom_key_store", "Custom key store", 'label_values(holdfast_kms_xks_proxy_requests_total{instance=~"$instance"}, custom_key_store_id)')

I = 'instance=~"$instance"'
K = f'{I}, key_store=~"$key_store"'
H = f'{I}, hsm=~"$hsm"'
C = f'{I}, custom_key_store_id=~"$custom_key_store"'

BURN = thresholds((None, "green"), (1, "yellow"), (6, "orange"), (14.4, "red"))
SLO = thresholds((None, "red"), (0.998, "orange"), (0.999, "green"))
DAYS = thresholds((None, "red"), (2, "orange"), (10, "green"))
BUDGET_MS = thresholds((None, "green"), (0.2, "orange"), (0.25, "red"))
SHARE = thresholds((None, "green"), (0.8, "orange"), (1, "red"))


def quantiles(metric, by, selector):
    return [
        (f"histogram_quantile({q}, sum by ({by}, le) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))", f"p{int(q * 100)} " + " ".join("{{" + name.strip() + "}}" for name in by.split(",")))
        for q in (0.5, 0.99)
    ]


def health(misses, selector, burn_runbook):
    return [
        stat("Ready", "Daemons that can serve everything configured, of all that are scraped; 1 is all.", f'avg(holdfast_ready{{{I}}} and on (instance, job) (up == 1))', unit="percentunit", limits=ONE_IS_FINE, runbooks=("holdfast-not-ready",)),
        stat("Objective, 3 days", "Share of requests answered within 250 ms without an error of the server; the objective is 99.9 %.", f"1 - max({misses}:ratio_rate3d{selector})", unit="percentunit", decimals=3, limits=SLO, runbooks=(burn_runbook,)),
        stat("Burn rate, 1 hour", "1 uses up exactly the error budget of 30 days; from 14.4 on somebody is paged.", f"max({misses}:ratio_rate1h{selector}) / 0.001", decimals=1, limits=BURN, runbooks=(burn_runbook,)),
    ]


def xks():
    rows = [
        ("Health", [
            *health("holdfast:xks_objective_misses", '{key_store=~"$key_store"}', "holdfast-xks-error-budget-burn-fast"),
            stat("p99", "Slowest 1 % of requests, of the slowest operation. AWS KMS gives up after 250 ms, network included.", f"max(holdfast:xks_request_duration_seconds:p99_rate5m{{{K}}})", unit="s", limits=BUDGET_MS, runbooks=("holdfast-xks-latency-high",)),
            stat("Certificate", "Days until the first server certificate expires.", f"min(holdfast_certificate_not_after_timestamp_seconds{{{I}}} - time()) / 86400", unit="d", decimals=0, limits=DAYS, runbooks=("holdfast-certificate-expiring",)),
            stat("Blocked", "Key stores whose kill switch is on.", f"sum(holdfast_key_store_blocked{{{K}}})", limits=NONE_IS_FINE, runbooks=("holdfast-key-store-blocked",)),
            firing("xks|operations"),
        ]),
        ("Traffic", [
            graph("Requests by operation", "Answered requests a second.", (f'sum by (operation) (rate(holdfast_xks_requests_total{{{K}}}[$__rate_interval]))', "{{operation}}"), unit="reqps", stacked=True),
            graph("Requests by key store", "Answered requests a second.", (f'sum by (key_store) (rate(holdfast_xks_requests_total{{{K}}}[$__rate_interval]))', "{{key_store}}"), unit="reqps", stacked=True),
            graph("Credentials in use", "Requests whose signature verified. A credential that stands still can go.", (f'sum by (key_store, access_key_id) (rate(holdfast_credential_requests_total{{{K}}}[$__rate_interval]))', "{{key_store}} {{access_key_id}}"), unit="reqps", runbooks=("holdfast-credential-old",)),
        ]),
        ("Errors", [
            graph("Misses of the objective", "Share of requests that were late or failed by a fault of ours.", (f'{{__name__=~"holdfast:xks_objective_misses:ratio_rate(5m|1h)", key_store=~"$key_store"}}', "{{key_store}} {{__name__}}"), unit="percentunit", runbooks=("holdfast-xks-error-budget-burn-fast",), limits=thresholds((None, "transparent"), (0.0144, "red"))),
            graph("Errors", "Answers that are no success, by error name.", (f'sum by (error) (rate(holdfast_xks_requests_total{{{I}, key_store=~"$key_store|unknown", error!="none"}}[$__rate_interval]))', "{{error}}"), unit="reqps", stacked=True, runbooks=("holdfast-xks-authentication-failures", "holdfast-xks-throttled")),
            graph("Connections that failed", "Before or instead of a request: handshakes, time-outs, refusals.", (f'sum by (listener, reason) (rate(holdfast_connection_failures_total{{{I}}}[$__rate_interval]))', "{{listener}} {{reason}}"), unit="cps"),
        ]),
        ("Latency", [
            graph("Latency by operation", "From the request head to the answer.", *quantiles("holdfast_xks_request_duration_seconds", "operation", K), unit="s", limits=BUDGET_MS, runbooks=("holdfast-xks-latency-high",), width=12),
            graph("Inside the HSM, and waiting for it", "p99 of calls into PKCS#11, and of the wait for a session.", *quantiles("holdfast_hsm_operation_duration_seconds", "hsm", f'{I}, operation=~"encrypt|decrypt"')[1:], *[(query, f"wait {legend}") for query, legend in quantiles("holdfast_hsm_queue_wait_seconds", "hsm", I)[1:]], unit="s", runbooks=("holdfast-hsm-queue-saturated",), width=12),
        ]),
        ("Saturation", [
            graph("Share of the quota", "Of key stores with requests_per_second.", (f'sum by (job, instance, key_store) (rate(holdfast_xks_requests_total{{{K}}}[$__rate_interval])) / on (job, instance, key_store) holdfast_xks_key_store_quota_requests_per_second', "{{instance}} {{key_store}}"), unit="percentunit", limits=SHARE, runbooks=("holdfast-xks-quota-nearly-used",)),
            graph("In flight and connections", "Requests being worked on, and open connections.", (f"sum by (instance) (holdfast_xks_requests_in_flight{{{I}}})", "in flight {{instance}}"), (f"sum by (listener) (holdfast_connections_open{{{I}}})", "connections {{listener}}")),
            graph("Clock of callers minus ours", "From 300 s on every signature is refused.", (f"holdfast_xks_clock_skew_seconds{{{K}}}", "{{instance}} {{key_store}}"), unit="s", runbooks=("holdfast-clock-skew",)),
            graph("CPU", "Seconds of CPU a second.", (f'rate(process_cpu_seconds_total{{job="holdfast", {I}}}[$__rate_interval])', "{{instance}}"), unit="percentunit"),
            graph("Memory", "Resident.", (f'process_resident_memory_bytes{{job="holdfast", {I}}}', "{{instance}}"), unit="bytes", runbooks=("holdfast-memory-growing",)),
            graph("File descriptors", "Share of those that the process may have.", (f'process_open_fds{{job="holdfast", {I}}} / process_max_fds{{job="holdfast", {I}}}', "{{instance}}"), unit="percentunit", limits=SHARE, maximum=1, runbooks=("holdfast-file-descriptors-near-limit",)),
        ]),
    ]
    return dashboard("holdfast-xks", "Holdfast: XKS proxy", "What AWS KMS notices of the external key store proxy.", [INSTANCE, KEY_STORE], rows)


def kms():
    rows = [
        ("Health", [
            *health("holdfast:kms_objective_misses", "", "holdfast-kms-error-budget-burn-fast"),
            stat("Audit trail", "0: written; 1: it cannot be written, and changes are refused.", f"max(holdfast_audit_failing{{{I}}})", limits=NONE_IS_FINE, runbooks=("holdfast-audit-trail-failing",)),
            stat("Database failures", "In the last hour.", f'sum(increase(holdfast_store_operations_total{{{I}, outcome="failed"}}[1h]))', decimals=0, limits=NONE_IS_FINE, runbooks=("holdfast-database-errors",)),
            stat("Keys pending deletion used", "Refused cryptographic operations in the last day.", f'sum(increase(holdfast_kms_key_state_refusals_total{{{I}, reason=~"pending.*deletion"}}[1d]))', decimals=0, limits=NONE_IS_FINE, runbooks=("holdfast-kms-key-pending-deletion-used",)),
            firing("kms|operations"),
        ]),
        ("Traffic", [
            graph("Requests by operation", "Answered requests a second.", (f'sum by (operation) (rate(holdfast_kms_requests_total{{{I}}}[$__rate_interval])) > 0', "{{operation}}"), unit="reqps", stacked=True),
            graph("STS", "Answered requests a second.", (f'sum by (operation, error) (rate(holdfast_sts_requests_total{{{I}}}[$__rate_interval]))', "{{operation}} {{error}}"), unit="reqps"),
            graph("What becomes of keys", "Rotated, deleted, expired; in the last hour.", (f'sum by (detail_type) (increase(holdfast_kms_key_lifecycle_total{{{I}}}[1h]))', "{{detail_type}}"), runbooks=("holdfast-kms-key-deleted", "holdfast-kms-key-rotated")),
        ]),
        ("Errors", [
            graph("Misses of the objective", "Share of requests that were late or failed by a fault of ours.", ('{__name__=~"holdfast:kms_objective_misses:ratio_rate(5m|1h)"}', "{{__name__}}"), unit="percentunit", runbooks=("holdfast-kms-error-budget-burn-fast",), limits=thresholds((None, "transparent"), (0.0144, "red"))),
            graph("Errors", "Answers that are no success, by error name.", (f'sum by (error) (rate(holdfast_kms_requests_total{{{I}, error!="none"}}[$__rate_interval]))', "{{error}}"), unit="reqps", stacked=True, runbooks=("holdfast-kms-throttled",)),
            graph("Refused for the state of the key", "Cryptographic operations.", (f'sum by (reason) (rate(holdfast_kms_key_state_refusals_total{{{I}}}[$__rate_interval]))', "{{reason}}"), unit="reqps", runbooks=("holdfast-kms-key-pending-deletion-used",)),
        ]),
        ("Latency", [
            graph("Latency by operation", "Slowest 1 %, from the request head to the answer.", (f"holdfast:kms_request_duration_seconds:p99_rate5m{{{I}}}", "{{operation}}"), unit="s"),
            graph("Database", "Until it has answered, its queue included. A write waits for fsync.", *quantiles("holdfast_store_operation_duration_seconds", "access", I), unit="s", runbooks=("holdfast-database-slow",)),
            graph("Audit trail to the disk", "Time of a sync.", (f"histogram_quantile(0.99, sum by (instance, le) (rate(holdfast_audit_sync_duration_seconds_bucket{{{I}}}[$__rate_interval])))", "p99 {{instance}}"), unit="s"),
        ]),
        ("External key stores", [
            graph("Time of proxies", "p99 by key store and operation of KMS; 250 ms is a time-out.", *quantiles("holdfast_kms_xks_proxy_duration_seconds", "custom_key_store_id, kms_operation", C)[1:], unit="s", limits=BUDGET_MS, runbooks=("holdfast-kms-proxy-latency-high",)),
            graph("Five most frequent exceptions", "Of requests to proxies.", (f'topk(5, sum by (custom_key_store_id, exception_name) (rate(holdfast_kms_xks_proxy_requests_total{{{C}, error_type!="N/A"}}[$__rate_interval])))', "{{custom_key_store_id}} {{exception_name}}"), unit="reqps", runbooks=("holdfast-kms-proxy-retryable-errors", "holdfast-kms-proxy-non-retryable-errors")),
            graph("Reliability", "Share of requests to proxies without a retryable error.", (f'1 - sum by (custom_key_store_id) (rate(holdfast_kms_xks_proxy_requests_total{{{C}, error_type="Retryable"}}[$__rate_interval])) / sum by (custom_key_store_id) (rate(holdfast_kms_xks_proxy_requests_total{{{C}}}[$__rate_interval])) or sum by (custom_key_store_id) (rate(holdfast_kms_xks_proxy_requests_total{{{C}}}[$__rate_interval])) > bool -1', "{{custom_key_store_id}}"), unit="percentunit", maximum=1),
            graph("Key managers behind proxies", "By state, as the proxy says.", (f"holdfast_kms_xks_external_key_managers{{{C}}}", "{{custom_key_store_id}} {{state}}"), runbooks=("holdfast-kms-key-managers-impaired",)),
            graph("Days to the expiry of proxies' certificates", "Set when a connection is opened.", (f"(holdfast_kms_xks_proxy_certificate_not_after_timestamp_seconds{{{C}}} - time()) / 86400", "{{custom_key_store_id}} {{certificate_name}}"), unit="d", runbooks=("holdfast-kms-proxy-certificate-expiring",)),
            graph("Age of credentials for proxies", "Since they were given to the key store.", (f"(time() - holdfast_kms_xks_proxy_credential_associated_timestamp_seconds{{{C}}}) / 86400", "{{custom_key_store_id}}"), unit="d", runbooks=("holdfast-kms-proxy-credential-old",)),
            graph("Above the quota", "Requests that were refused before the proxy was asked.", (f"sum by (custom_key_store_id, kms_operation) (rate(holdfast_kms_external_key_store_throttled_total{{{C}}}[$__rate_interval]))", "{{custom_key_store_id}} {{kms_operation}}"), unit="reqps", runbooks=("holdfast-kms-external-key-store-throttled",)),
            graph("Share of the quota", "Of the key store.", (f'sum by (job, instance, custom_key_store_id) (rate(holdfast_kms_xks_proxy_requests_total{{{C}, key_spec!=""}}[$__rate_interval])) / on (job, instance, custom_key_store_id) holdfast_kms_external_key_store_quota_requests_per_second', "{{custom_key_store_id}}"), unit="percentunit", limits=SHARE, runbooks=("holdfast-kms-external-key-store-quota-nearly-used",)),
            graph("Days to the expiry of imported material", "Of the 1,000 keys whose material expires next.", (f"bottomk(10, (holdfast_kms_key_material_expiration_timestamp_seconds{{{I}}} - time()) / 86400)", "{{key_id}}"), unit="d", runbooks=("holdfast-kms-material-expiring",)),
        ]),
        ("Saturation", [
            graph("Share of quotas", "Of accounts and Regions; there with [kms.request_quotas] alone.", (f'topk(10, rate(holdfast_kms_quota_requests_total{{{I}}}[$__rate_interval]) / on (job, instance, quota, account, region) holdfast_kms_quota_requests_per_second)', "{{account}} {{region}} {{quota}}"), unit="percentunit", limits=SHARE, runbooks=("holdfast-kms-quota-nearly-used",)),
            graph("Free space", "On the disks of the audit trail and of state_dir.", (f"holdfast_audit_free_bytes{{{I}}} and on (instance) (holdfast_audit_records_total > 0)", "audit {{instance}}"), (f"holdfast_state_free_bytes{{{I}}}", "state {{instance}}"), unit="bytes", minimum=0, runbooks=("holdfast-state-disk-nearly-full", "holdfast-audit-disk-nearly-full")),
            graph("Audit trail", "Records a second, and bytes that wait for the disk.", (f"rate(holdfast_audit_records_total{{{I}}}[$__rate_interval])", "records {{instance}}"), (f"holdfast_audit_buffered_bytes{{{I}}}", "waiting bytes {{instance}}"), runbooks=("holdfast-audit-trail-failing",)),
            graph("Events that wait", "Lifecycle events that are still to be told.", (f"sum by (instance, detail_type) (holdfast_kms_events_waiting{{{I}}})", "{{instance}} {{detail_type}}"), runbooks=("holdfast-kms-events-stuck",)),
            graph("Database operations", "A second, by outcome.", (f"sum by (outcome) (rate(holdfast_store_operations_total{{{I}}}[$__rate_interval]))", "{{outcome}}"), unit="ops", runbooks=("holdfast-database-errors",)),
            graph("In flight", "Requests being worked on.", (f"holdfast_kms_requests_in_flight{{{I}}}", "{{instance}}")),
        ]),
    ]
    return dashboard("holdfast-kms", "Holdfast: KMS front end", "What callers of the KMS API notice, and what becomes of keys.", [INSTANCE, CUSTOM], rows)


def fleet():
    pin = 'holdfast_hsm_pin_state{%s, state!="fine"}' % H
    rows = [
        ("Health", [
            stat("HSMs that serve", "Share of HSMs that are not UNAVAILABLE, of those that are wanted.", f'sum(holdfast_hsm_state{{{H}, state!="UNAVAILABLE"}}) / sum(holdfast_hsm_state{{{H}}})', unit="percentunit", limits=thresholds((None, "red"), (0.5, "orange"), (1, "green")), runbooks=("holdfast-hsm-down", "holdfast-hsm-none-left")),
            stat("Taken out", "HSMs whose circuit breaker is not closed.", f'count(holdfast_hsm_breaker_state{{{H}, state="closed"}} == 0) or vector(0)', limits=NONE_IS_FINE, runbooks=("holdfast-hsm-breaker-open",)),
            stat("Quarantined", "HSMs that returned something wrong.", f'sum(holdfast_hsm_breaker_state{{{H}, state="quarantined"}}) or vector(0)', limits=NONE_IS_FINE, runbooks=("holdfast-hsm-corruption",)),
            stat("PINs that are not fine", "Refused, counted low, final try, locked, to be changed.", f"sum(holdfast_hsm_pin_rejected{{{H}}}) + (sum({pin}) or vector(0))", limits=NONE_IS_FINE, runbooks=("holdfast-hsm-pin-refused",)),
            stat("Sessions stuck", "Inside one call for more than 250 ms.", f"sum(holdfast_hsm_sessions_stuck{{{H}}})", limits=NONE_IS_FINE, runbooks=("holdfast-hsm-sessions-stuck",)),
            stat("GCM budget", "Largest share of 2^32 encryptions that a version of a key has used up.", f"max(holdfast_key_gcm_invocations_total{{{H}}}) / 2^32 or vector(0)", unit="percentunit", limits=thresholds((None, "green"), (0.75, "orange"), (0.95, "red")), runbooks=("holdfast-gcm-invocations-high",)),
            firing("hsm"),
            states("Not serving as they should", "A lane for each HSM and state: UNAVAILABLE or DEGRADED.", (f'holdfast_hsm_state{{{H}, state!="ACTIVE"}}', "{{instance}} {{hsm}} {{state}}"), runbooks=("holdfast-hsm-down", "holdfast-hsm-degraded"), width=12, height=6),
            states("Taken out, on trial, quarantined", "A lane for each HSM and state of its circuit breaker.", (f'holdfast_hsm_breaker_state{{{H}, state!="closed"}}', "{{instance}} {{hsm}} {{state}}"), runbooks=("holdfast-hsm-breaker-open",), width=12, height=6),
        ]),
        ("Traffic", [
            graph("Calls by HSM", "Jobs done a second.", (f"sum by (instance, hsm) (rate(holdfast_hsm_operation_duration_seconds_count{{{H}}}[$__rate_interval]))", "{{instance}} {{hsm}}"), unit="ops"),
            graph("Calls by operation", "Jobs done a second.", (f"sum by (operation) (rate(holdfast_hsm_operation_duration_seconds_count{{{H}}}[$__rate_interval]))", "{{operation}}"), unit="ops", stacked=True),
            graph("Hedges and moves", "Asked of another HSM too, and moved on from one that was taken out.", (f"sum by (hsm, outcome) (rate(holdfast_hsm_hedges_total{{{H}}}[$__rate_interval]))", "{{hsm}} {{outcome}}"), (f"sum by (hsm) (rate(holdfast_hsm_evictions_total{{{H}}}[$__rate_interval]))", "{{hsm}} moved on"), unit="ops"),
        ]),
        ("Errors", [
            graph("Faults by code", "PKCS#11 return codes, but for bad data of callers.", (f"sum by (hsm, code) (rate(holdfast_hsm_faults_total{{{H}}}[$__rate_interval]))", "{{hsm}} {{code}}"), unit="ops", runbooks=("holdfast-hsm-faults",)),
            graph("Refusals", "Jobs that an HSM was not given.", (f"sum by (hsm, reason) (rate(holdfast_hsm_refusals_total{{{H}}}[$__rate_interval]))", "{{hsm}} {{reason}}"), unit="ops", runbooks=("holdfast-hsm-refusals",)),
            graph("Starts anew", "Of libraries, and of worker processes by reason; in an hour.", (f"sum by (hsm) (increase(holdfast_hsm_reinitializations_total{{{H}}}[1h]))", "{{hsm}} library"), (f"sum by (hsm, reason) (increase(holdfast_hsm_worker_restarts_total{{{H}}}[1h]))", "{{hsm}} worker {{reason}}"), runbooks=("holdfast-hsm-worker-restarting",)),
            graph("Corruptions", "Ciphertexts that did not decrypt to what was encrypted; in an hour.", (f"increase(holdfast_hsm_corruptions_total{{{H}}}[1h])", "{{instance}} {{hsm}}"), runbooks=("holdfast-hsm-corruption",)),
            states("PIN", "What the token says of it.", (pin, "{{instance}} {{hsm}} {{state}}"), (f"holdfast_hsm_pin_rejected{{{H}}}", "{{instance}} {{hsm}} refused"), runbooks=("holdfast-hsm-pin-refused", "holdfast-hsm-pin-locked"), width=16),
        ]),
        ("Latency", [
            graph("Inside the HSM", "Slowest 1 % by operation.", (f"holdfast:hsm_operation_duration_seconds:p99_rate5m{{{H}}}", "{{hsm}} {{operation}}"), unit="s"),
            graph("Waiting for a session", "Of 250 ms in all.", *quantiles("holdfast_hsm_queue_wait_seconds", "hsm", H), unit="s", limits=thresholds((None, "transparent"), (0.1, "red")), runbooks=("holdfast-hsm-queue-saturated",)),
            graph("Probes", "Their time, and seconds since the last that passed.", *quantiles("holdfast_hsm_probe_duration_seconds", "hsm", H)[1:], (f"time() - holdfast_hsm_probe_timestamp_seconds{{{H}}}", "{{instance}} {{hsm}} last passed"), unit="s", runbooks=("holdfast-hsm-down",)),
        ]),
        ("Saturation", [
            graph("Queue", "Jobs that wait for a session.", (f"holdfast_hsm_queue_length{{{H}}}", "{{instance}} {{hsm}}"), runbooks=("holdfast-hsm-refusals",)),
            graph("Sessions", "Open, and stuck.", (f"holdfast_hsm_sessions{{{H}}}", "{{instance}} {{hsm}} open"), (f"holdfast_hsm_sessions_stuck{{{H}}}", "{{instance}} {{hsm}} stuck"), runbooks=("holdfast-hsm-sessions-stuck",)),
            graph("Keys", "External keys, and KMS keys that the HSM holds unwrapped.", (f"holdfast_hsm_keys{{{H}}}", "{{instance}} {{hsm}} external"), (f"holdfast_hsm_cached_keys{{{H}}}", "{{instance}} {{hsm}} unwrapped")),
            graph("Unwrapped anew", "Rising with traffic: cached_keys_max is too small.", (f"rate(holdfast_hsm_unwraps_total{{{H}}}[$__rate_interval])", "{{instance}} {{hsm}}"), unit="ops"),
            graph("GCM budget", "The ten versions of keys that have used up most of 2^32 encryptions.", (f"topk(10, holdfast_key_gcm_invocations_total{{{H}}} / 2^32)", "{{hsm}} {{external_key_id}} v{{version}}"), unit="percentunit", runbooks=("holdfast-gcm-invocations-high", "holdfast-gcm-invocations-exhausted-soon")),
            graph("Worker processes", "Resident memory; there with isolation = process alone.", (f"holdfast_hsm_worker_memory_bytes{{{H}}}", "{{instance}} {{hsm}}"), unit="bytes", runbooks=("holdfast-hsm-worker-missing",)),
        ]),
    ]
    return dashboard("holdfast-hsm", "Holdfast: HSM fleet", "Every HSM of every daemon: state, work, faults, limits.", [INSTANCE, HSM], rows)


def main():
    folder = pathlib.Path(__file__).parent / "dashboards"
    is_same = True
    for name, made in (("xks-proxy", xks()), ("kms-front-end", kms()), ("hsm-fleet", fleet())):
        file, text = folder / f"{name}.json", json.dumps(made, indent=2) + "\n"
        if "--check" not in sys.argv:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            print(f"{file} is not what dashboards.py makes", file=sys.stderr)
            is_same = False
    sys.exit(0 if is_same else 1)


if __name__ == "__main__":
    main()
