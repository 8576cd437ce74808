"""What an administrator does with the package, done on a machine that systemd runs: docs/how-to/install.md.

Runs as root within the machine that machine.sh starts. Usage: machine_trial.py FOLDER, which has `holdfast.deb`; ends with
a file `right` in it if all is well.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import traceback
import urllib.request

import boto3
import botocore.config

shared = pathlib.Path(sys.argv[1])
etc = pathlib.Path("/etc/holdfast")
state = pathlib.Path("/var/lib/holdfast")
drop_ins = pathlib.Path("/etc/systemd/system/holdfast.service.d")
config_file = etc / "holdfast.toml"
trial = state / "trial"
patience_seconds = 20


def run(*command, ok=True, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, **options)
    if ok and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def as_daemon(*command, **options):
    """`sudo -u holdfast …`, without sudo."""
    return run("runuser", "-u", "holdfast", "--", *command, cwd="/", **options)


def systemctl(*arguments, **options):
    return run("systemctl", *arguments, **options)


def shown(name):
    return systemctl("show", "holdfast", "--property", name, "--value").stdout.strip()


def until(what, is_so):
    deadline = time.monotonic() + patience_seconds
    while not (value := is_so()):
        assert time.monotonic() < deadline, f"not within {patience_seconds} s: {what}\n{journal()}"
        time.sleep(0.05)
    return value


def journal(lines=400):
    """What is no record of a request."""
    said = run("journalctl", "--unit", "holdfast", "--no-pager", "--lines", str(lines), "--output", "cat").stdout
    return "".join(line for line in said.splitlines(keepends=True) if '"requestMetadata"' not in line and '"outcome"' not in line)


def main_pid():
    return int(shown("MainPID"))


def is_ready():
    try:
        with urllib.request.urlopen("http://127.0.0.1:8444/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def restart():
    systemctl("reset-failed", "holdfast", ok=False)
    systemctl("restart", "holdfast")
    until("ready after a restart", is_ready)


def drop_in(text):
    drop_ins.mkdir(exist_ok=True)
    (drop_ins / "trial.conf").write_text(text)
    systemctl("daemon-reload")


def no_drop_in():
    (drop_ins / "trial.conf").unlink()
    systemctl("daemon-reload")
    restart()


def workers():
    return [int(pid) for pid in run("pgrep", "--parent", str(main_pid()), ok=False).stdout.split()]


def environment():
    lines = (trial / "env").read_text().splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))


def kms():
    values = environment()
    return boto3.client(
        "kms",
        endpoint_url="https://localhost:8442",
        region_name="us-east-1",
        verify=str(trial / "tls/ca.pem"),
        aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
        config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=10),
    )


def installed_is_not_started():
    # Containers have one that forbids services; a machine with systemd has none.
    pathlib.Path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
    run("dpkg", "--install", str(shared / "holdfast.deb"))
    assert systemctl("is-enabled", "holdfast", ok=False).stdout.strip() == "disabled"
    assert systemctl("is-active", "holdfast", ok=False).stdout.strip() == "inactive"


def configured_it_serves():
    as_daemon("holdfast", "provision", "--dir", str(trial))
    group = "holdfast"
    for name in "pin credentials.toml accounts.toml softhsm2.conf tls/server.pem tls/server.key".split():
        run("install", "-D", "-m", "640", "-o", "root", "-g", group, str(trial / name), str(etc / name))
    run("chgrp", group, str(etc / "tls"))
    (etc / "tls").chmod(0o750)
    as_daemon("holdfast", "config", "check")
    systemctl("enable", "--now", "holdfast")
    assert shown("StatusText") == "serving"
    until("ready", lambda: as_daemon("holdfast", "ready", ok=False).returncode == 0)


def process_has_no_privilege(pid):
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    assert set(status["Uid"].split()) != {"0"}
    for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0, (capabilities, status[capabilities])
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2", "no filter of system calls"
    # Seen from within: nothing can be written but the state, and the homes are not there. systemd leaves /run as it is,
    # where everything but /run/lock belongs to others.
    root = f"/proc/{pid}/root"
    mounts = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    writable = {
        fields[4]
        for fields in map(str.split, mounts)
        if "rw" in fields[5].split(",") and not re.match(r"/(proc|dev|sys|run)\b", fields[4])
    }
    assert writable <= {"/var/lib/holdfast", "/tmp", "/var/tmp"}, writable
    assert not os.access(f"{root}/root", os.R_OK) or not os.listdir(f"{root}/root"), "sees /root"


def daemon_and_worker_have_no_privilege():
    process_has_no_privilege(main_pid())
    assert len(workers()) == 1
    process_has_no_privilege(workers()[0])
    judged = run("systemd-analyze", "security", "holdfast", "--no-pager").stdout.splitlines()[-1]
    assert float(re.search(r"holdfast\.service: ([0-9.]+)", judged)[1]) <= 1.5, judged


def clients_are_served():
    client = kms()
    for spec, usage in (("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), ("RSA_2048", "SIGN_VERIFY"), ("ECC_NIST_P256", "SIGN_VERIFY")):
        key = client.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
        if usage == "SIGN_VERIFY":
            algorithm = {"RSA_2048": "RSASSA_PSS_SHA_256", "ECC_NIST_P256": "ECDSA_SHA_256"}[spec]
            client.sign(KeyId=key, Message=b"message", SigningAlgorithm=algorithm)
    as_daemon("holdfast", "key", "create", "external")
    values = environment()
    checked = run(
        "holdfast", "check", "--host", "localhost:8443", "--uri-prefix", "main", "--key-id", "external", "--only", "encrypt",
        cwd="/",
        env=os.environ
        | {name: values[name] for name in ("SIGV4_ACCESS_KEY_ID", "SIGV4_SECRET_ACCESS_KEY", "HOLDFAST_CA")},
    )
    assert "passed" in checked.stdout, checked.stdout


def diagnosed_it_is_well():
    found = as_daemon("holdfast", "doctor", "--json", ok=False)
    errors = [finding for finding in json.loads(found.stdout)["findings"] if finding["verdict"] == "error"]
    assert not errors, errors


def reloaded_it_goes_on():
    before = main_pid()
    text = config_file.read_text()
    config_file.write_text(text.replace("requests_per_second = 1800", "requests_per_second = 1700"))
    systemctl("reload", "holdfast")
    assert main_pid() == before and is_ready()
    config_file.write_text("not a configuration")
    systemctl("reload", "holdfast", ok=False)
    until("the refusal is in the journal", lambda: "holdfast.toml" in journal())
    assert main_pid() == before and is_ready(), "a wrong configuration ended it"
    config_file.write_text(text)
    systemctl("reload", "holdfast")


def killed_it_comes_back():
    client = kms()
    key = client.create_key()["KeyMetadata"]["KeyId"]
    sealed = client.encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
    os.kill(main_pid(), signal.SIGKILL)
    until("restarted", lambda: shown("NRestarts") == "1" and is_ready())
    assert kms().decrypt(CiphertextBlob=sealed)["Plaintext"] == b"kept"
    worker = workers()[0]
    os.kill(worker, signal.SIGKILL)
    until("another worker", lambda: workers() not in ([], [worker]) and is_ready())
    assert kms().decrypt(CiphertextBlob=sealed)["Plaintext"] == b"kept"
    assert shown("NRestarts") == "1"


def hung_it_is_restarted():
    drop_in("[Service]\nWatchdogSec=2\nRestartSec=100ms\nTimeoutAbortSec=2\n")
    restart()
    before = main_pid()
    os.kill(before, signal.SIGSTOP)
    until("the watchdog ends it", lambda: main_pid() not in (0, before) and is_ready())
    no_drop_in()


def a_refused_pin_is_tried_once_whatever_restarts_it():
    pin = (etc / "pin").read_text()
    (etc / "pin").write_text("wrong-pin")
    for _ in range(3):
        systemctl("restart", "holdfast")
        until("it says why", lambda: "PIN" in as_daemon("holdfast", "ready", ok=False).stdout)
        assert not is_ready()
        systemctl("reset-failed", "holdfast", ok=False)
    # One line comes with each answer of the HSM.
    assert journal().count('"message":"HSM fault: C_Login returned PinIncorrect"') == 1, journal()
    (etc / "pin").write_text(pin)
    until("the right PIN is taken up", is_ready)


def secrets_come_encrypted():
    sealed = etc / "server.key.cred"
    run("systemd-creds", "encrypt", "--with-key=host", "--name=server.key", str(etc / "tls/server.key"), str(sealed))
    drop_in(f"[Service]\nLoadCredentialEncrypted=server.key:{sealed}\n")
    text = config_file.read_text()
    config_file.write_text(text.replace('"tls/server.key"', '"/run/credentials/holdfast.service/server.key"'))
    (etc / "tls/server.key").rename(etc / "tls/server.key.away")
    restart()
    kms().list_keys()
    (etc / "tls/server.key.away").rename(etc / "tls/server.key")
    config_file.write_text(text)
    no_drop_in()


def an_hsm_in_the_machine_needs_a_drop_in():
    example = pathlib.Path("/usr/share/doc/holdfast/examples/hsm-device.conf")
    drop_in("\n".join(line for line in example.read_text().splitlines() if "SupplementaryGroups" not in line))
    restart()
    kms().list_keys()
    no_drop_in()


def upgraded_it_is_restarted_once():
    before = main_pid()
    keys = len(kms().list_keys()["Keys"])
    folder = shared / "next"
    run("dpkg-deb", "--raw-extract", str(shared / "holdfast.deb"), str(folder))
    control = folder / "DEBIAN/control"
    control.write_text(re.sub("(?m)^Version: .*", "Version: 999", control.read_text()))
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(folder), str(shared / "next.deb"))
    run("dpkg", "--install", str(shared / "next.deb"))
    until("ready after the upgrade", is_ready)
    assert main_pid() != before
    assert len(kms().list_keys()["Keys"]) == keys


def removed_it_leaves_the_keys():
    run("dpkg", "--remove", "holdfast")
    assert systemctl("is-active", "holdfast", ok=False).stdout.strip() in ("inactive", "failed")
    assert (state / "kms.db").exists() and config_file.exists()
    purged = run("dpkg", "--purge", "holdfast")
    assert (state / "kms.db").exists() and "/var/lib/holdfast is kept" in purged.stdout + purged.stderr


def it_may_run_the_library_in_the_daemon():
    text = config_file.read_text()
    config_file.write_text(text.replace('isolation = "process"', 'isolation = "thread"'))
    restart()
    assert not workers()
    kms().list_keys()
    config_file.write_text(text)
    restart()


def stopped_it_has_answered():
    started = time.monotonic()
    systemctl("stop", "holdfast")
    assert shown("Result") == "success" and time.monotonic() - started < 5
    systemctl("start", "holdfast")
    until("ready again", is_ready)


steps = (
    installed_is_not_started,
    configured_it_serves,
    daemon_and_worker_have_no_privilege,
    clients_are_served,
    diagnosed_it_is_well,
    reloaded_it_goes_on,
    killed_it_comes_back,
    hung_it_is_restarted,
    a_refused_pin_is_tried_once_whatever_restarts_it,
    secrets_come_encrypted,
    an_hsm_in_the_machine_needs_a_drop_in,
    it_may_run_the_library_in_the_daemon,
    stopped_it_has_answered,
    upgraded_it_is_restarted_once,
    removed_it_leaves_the_keys,
)


def main():
    assert pathlib.Path("/proc/1/comm").read_text().strip() == "systemd"
    print(f"{run('systemctl', '--version').stdout.splitlines()[0]} is process 1")
    for step in steps:
        started = time.monotonic()
        step()
        print(f"ok  {step.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
    (shared / "right").touch()


try:
    main()
except Exception:  # noqa: BLE001  whatever it is, it is said
    traceback.print_exc()
    print(journal()[-6000:] if os.path.exists("/usr/bin/holdfast") else "", file=sys.stderr)
    sys.exit(1)
