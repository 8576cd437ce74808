"""A real Prometheus over the rules of deploy/, in which a minute lasts a second."""

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FASTER = 60
# A range must hold some scrapes.
RANGE_SECONDS_MIN = 4


def seconds(number, unit):
    return int(number) * SECONDS[unit] / FASTER


def faster(rules):
    """Ranges and `for` a sixtieth as long. What is compared with time() stays, but for what is said here."""
    rules = re.sub(r"\[(\d+)([smhd])\]", lambda m: f"[{max(RANGE_SECONDS_MIN, round(seconds(*m.groups())))}s]", rules)
    rules = re.sub(r"(?m)for: (\d+)([smhd])$", lambda m: f"for: {max(1, round(seconds(*m.groups())))}s", rules)
    rules = rules.replace("holdfast_audit_checkpoint_timestamp_seconds > 900", "holdfast_audit_checkpoint_timestamp_seconds > 15")
    # Nobody can have given a credential to a key store before the key store was made: so any is old.
    old = "holdfast_kms_xks_proxy_credential_associated_timestamp_seconds) / 86400 > 90"
    assert old in rules or "holdfast-kms\n" not in rules
    return rules.replace(old, old.replace("> 90", "> 0"))


class Prometheus:
    def __init__(self, deploy, folder, port, targets):
        self.port, self.folder = port, folder
        (folder / "rules").mkdir(parents=True)
        (folder / "targets").mkdir()
        for file in sorted((deploy / "rules").glob("*.yml")):
            (folder / "rules" / file.name).write_text(faster(file.read_text()))
        config = (deploy / "prometheus.yml").read_text()
        config = config.replace("_interval: 15s", "_interval: 500ms").replace("evaluation_interval: 500ms", "evaluation_interval: 1s")
        config = config.replace("scrape_interval: 500ms", "scrape_interval: 500ms\n  scrape_timeout: 500ms")
        config = config.replace('"127.0.0.1:9093"', "")
        (folder / "prometheus.yml").write_text(config)
        self.seen, self.garbled = set(), set()
        self.watch(targets)
        log = open(folder / "log", "wb")
        words = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
        self.process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)

    def watch(self, targets):
        """Another list of daemons."""
        groups = [{"targets": [address], "labels": {"daemon": name}} for name, address in targets.items()]
        (self.folder / "targets" / "all.yml").write_text(json.dumps(groups))

    def ask(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error

    def is_up(self):
        try:
            return bool(self.ask("query", query="up == 1")["result"])
        except (OSError, AssertionError):
            return False

    def alerts(self):
        """What fires: names with instances."""
        firing = [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]
        texts = {text for alert in firing for text in alert["annotations"].values()}
        # What a template cannot fill in, it says so.
        self.garbled |= {text for text in texts if re.search(r"<no value>|<error|%!|  ", text) or text.startswith(" ")}
        alerts = [alert["labels"] for alert in firing]
        self.seen |= {alert["alertname"] for alert in alerts}
        return {(alert["alertname"], alert.get("instance")) for alert in alerts}

    def names(self, daemon=None):
        return {name for name, instance in self.alerts() if daemon is None or instance in (daemon, None)}

    def wait_firing(self, wanted, daemon=None, limit=45):
        """All of them; they may come one after the other."""
        missing, end = set(wanted), time.monotonic() + limit
        while missing and time.monotonic() < end:
            missing -= self.names(daemon)
            time.sleep(0.25)
        return missing

    def wait_over(self, gone, daemon=None, limit=45):
        end = time.monotonic() + limit
        while (left := set(gone) & self.names(daemon)) and time.monotonic() < end:
            time.sleep(0.25)
        return left

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
