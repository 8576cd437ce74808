"""Real faults in real daemons, watched by a real Prometheus with the rules of deploy/, a minute lasting a second.

Usage: live.py FOLDER-WITH-PROGRAMS FOLDER-TO-WORK-IN PORT-BASE
"""

import json
import pathlib
import re
import subprocess
import sys
import threading
import time
import traceback

import faults
from prometheus import Prometheus
from installation import Site, Traffic, certificate, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What no live fault brings about in two minutes, with the reason; the unit tests of the rules cover it.
UNIT_ONLY = {
    "HoldfastAbsent": "comes last, when the list of targets is emptied",
    "HoldfastMemoryGrowing": "needs memory that grows for an hour",
    "HoldfastHsmDegraded": "passes into HoldfastHsmDown or back within seconds",
    "HoldfastKmsEventsDropped": "half an hour of attempts comes before it",
}
ON_A_SMALL_DISK = {"HoldfastStateDiskNearlyFull", "HoldfastAuditDiskNearlyFull", "HoldfastStateDiskFilling", "HoldfastAuditDiskFilling", "HoldfastAuditTrailFailing", "HoldfastAuditRecordsDropped", "HoldfastAuditStrangersDropped"}
START = time.monotonic()


def say(text):
    print(f"{time.monotonic() - START:5.0f} s  {text}", flush=True)


def prepared(programs, folder, base):
    names = ("proxy", "worker", "old", "disk", "callers")
    proxy, worker, old, disk, callers = (Site(programs, folder, name, base + 10 * at) for at, name in enumerate(names))
    signed_often = "\n[health]\nprobe_interval_seconds = 1\n[kms.audit]\ncheckpoint_interval_seconds = 1\n"
    proxy.configure(
        ('iv_mode = "host"\n', 'iv_mode = "host"\nsessions = 2\nqueue_length_max = 4\ncheck_encryptions = true\n'),
        ("clock_control = true", "clock_control = true\nwith_any_module = true"),
        tables=signed_often,
    )
    worker.configure(
        ('iv_mode = "host"\n', 'iv_mode = "host"\nisolation = "process"\n'),
        ("clock_control = true", "clock_control = true\nwith_any_module = true"),
        tables=signed_often,
    )
    certificate(worker, "server", 5)
    old.configure(
        ("clock_control = true", "clock_control = true\nwith_any_module = true"),
        ("enabled = false", "enabled = true\n[kms.request_quotas.per_second]\nDescribeKey = 10\nGetParametersForImport = 100\nCreateKey = 1000\nDescribeCustomKeyStores = 100"),
        (f'ca_file = "tls/ca.pem"\n\n# A week', f'ca_file = "{worker.folder}/tls/ca.pem"\nrequests_per_second = 20\nhealth_interval_seconds = 1\n\n# A week'),
        tables=signed_often + f'[kms.audit.syslog]\naddress = "unix:{folder}/nobody"\n[kms.events]\nwebhook = {{ url = "http://127.0.0.1:9/", secret_file = "secret" }}\n',
    )
    (old.folder / "secret").write_text("a secret of at least thirty-two bytes, for nobody\n")
    (old.folder / "secret").chmod(0o600)
    # The second and third listener have certificates of their own.
    for file in ("mtls", "kms"):
        old.configure((f'listen = "127.0.0.1:{old.port + (1 if file == "mtls" else 2)}"\ncertificate_file = "tls/server.pem"\nprivate_key_file = "tls/server.key"', f'listen = "127.0.0.1:{old.port + (1 if file == "mtls" else 2)}"\ncertificate_file = "tls/{file}.pem"\nprivate_key_file = "tls/{file}.key"'))
    for file, days in (("server", 5), ("mtls", 1), ("kms", -1)):
        certificate(old, file, days)
    credentials = old.folder / "credentials.toml"
    credentials.write_text(re.sub(r"created = \d{4}", "created = 2020", credentials.read_text()))
    disk.configure(("clock_control = true", "clock_control = true\nwith_any_module = true"), tables=signed_often + 'when_full = "drop"\nbuffer_bytes_max = 1048576\n')
    callers.configure(("clock_control = true", "clock_control = true\nwith_any_module = true"))
    return proxy, worker, old, disk, callers


def small_disk(site):
    """A file system of its own for `state_dir`; whether that can be had here."""
    mount = site.folder / "state"
    mount.mkdir(mode=0o700)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=0700", "tmpfs", str(mount)], capture_output=True)
    return mount if done.returncode == 0 else None


def check_names(prometheus):
    """Every query of rules and dashboards is answered, and every metric in them is there."""
    rules = [rule["query"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    panels = []
    for file in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            panels += [target["expr"] for target in panel.get("targets", [])]
    failures, known = [], set(prometheus.ask("label/__name__/values"))
    for query in rules + panels:
        for name, value in (("$__rate_interval", "5s"), ("$instance|", ".*"), ("$instance", ".*"), ("$key_store|unknown", ".*"), ("$key_store", ".*"), ("$hsm", ".*"), ("$custom_key_store", ".*")):
            query = query.replace(name, value)
        try:
            prometheus.ask("query", query=query)
        except AssertionError as error:
            failures.append(str(error))
        names = set(re.findall(r"\b(?:holdfast|process)_[a-z0-9_]+|holdfast:[a-z0-9_:]+", query)) - {"holdfast_"}
        failures += [f"no such metric: {name} in {query}" for name in names if name not in known and not re.search(name + r'"?\(', query)]
    say(f"{len(rules)} rules and {len(panels)} panel queries asked")
    return failures


def in_parallel(*works):
    """Runs them all; the failures of those that broke off."""
    broken = []

    def guarded(work):
        try:
            work()
        except Exception:
            broken.append(traceback.format_exc())

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return broken


def main():
    programs, folder, base = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), int(sys.argv[3])
    proxy, worker, old, disk, callers = sites = prepared(programs, folder, base)
    mount = small_disk(disk)
    watched = [site for site in sites if site is not disk or mount]
    prometheus = None
    try:
        for site in watched:
            site.start(160 if site is old else None)
        for site in watched:
            wait_until(f"{site.name} answers", lambda: site.get("/livez")[0] == 200)
            site.wait_ready()
        proxy.key = proxy.kms().ok("CreateKey")["KeyMetadata"]["KeyId"]
        # So that there are counts, which are then made large.
        old.command("key", "create", "busy")
        for key in ("foo", "busy"):
            old.xks().encrypt(key)
        old.stop()
        faults.seed_counts(old)
        old.start(160)
        old.wait_ready()
        targets = {site.name: f"127.0.0.1:{site.port + 4}" for site in watched}
        prometheus = Prometheus(ROOT / "deploy/prometheus", folder / "prometheus", base + 50, targets)
        wait_until("Prometheus scrapes", prometheus.is_up)
        stage = faults.Stage(prometheus, say)
        # Until the first scrape there is no target.
        prometheus.wait_over({"HoldfastAbsent"})
        quiet = prometheus.names("proxy")
        say("the daemons are scraped")
        busy = lambda: (lambda xks: lambda: (xks.encrypt("busy"), xks.encrypt("foo")))(old.xks())
        with Traffic(busy, pause=0.1):
            works = [
                lambda: faults.proxy_faults(stage, proxy),
                lambda: (faults.at_the_start(stage, old), faults.worker_faults(stage, worker, old)),
                lambda: faults.key_faults(stage, old),
                lambda: faults.callers_faults(stage, callers),
                lambda: faults.exhaustion(stage, old),
            ]
            if mount:
                works.append(lambda: faults.disk_faults(stage, disk, mount))
            else:
                say("no file system can be mounted here: the faults of disks are left out")
            broken = in_parallel(*works)
        failures = stage.failures + broken + check_names(prometheus)
        failures += [f"an annotation that is not one: {text}" for text in prometheus.garbled]
        if quiet:
            failures.append(f"fires without a fault: {sorted(quiet)}")
        prometheus.watch({})
        stage.expect("no targets", None, ["HoldfastAbsent"], over=["HoldfastAbsent"], mend=lambda: prometheus.watch(targets))
        every = {rule["name"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"] if rule["type"] == "alerting"}
        silent = every - stage.fired - set(UNIT_ONLY) - (set() if mount else ON_A_SMALL_DISK)
        if silent:
            failures.append(f"no fault made them fire: {sorted(silent)}")
        seen = sorted(set(UNIT_ONLY) & prometheus.seen - stage.fired)
        say(f"{len(stage.fired)} of {len(every)} alerts fired for a real fault; seen besides: {seen}")
        for failure in failures:
            print(failure, file=sys.stderr)
        sys.exit(1 if failures or stage.failures else 0)
    finally:
        in_parallel(*[site.stop for site in sites])
        if prometheus:
            prometheus.stop()
        if mount:
            subprocess.run(["umount", "--lazy", str(mount)], check=False)


if __name__ == "__main__":
    main()
