"""The faults, one after the other at each daemon: what is done, which alerts must fire, and which be over after the mend."""

import base64
import json
import os
import re
import signal
import sqlite3
import subprocess
import time

from installation import Traffic, certificate, wait_until


class Stage:
    """Where a fault is injected, and how it was noticed."""

    def __init__(self, prometheus, say):
        self.prometheus, self.say = prometheus, say
        self.fired, self.failures = set(), []

    def expect(self, what, daemon, fires, over=(), mend=None, limit=45):
        """Waits for the alerts, mends, and waits until they are over."""
        began = time.monotonic()
        missing = self.prometheus.wait_firing(fires, daemon, limit)
        self.fired |= set(fires) - missing
        after = time.monotonic() - began
        if mend:
            mend()
        left = self.prometheus.wait_over(over, daemon, limit)
        took = time.monotonic() - began - after
        self.say(f"{daemon or '-':7} {what}: fired after {after:.0f} s, over after {took:.0f} s")
        if missing:
            self.failures.append(f"{daemon}, {what}: did not fire: {sorted(missing)}")
        if left:
            self.failures.append(f"{daemon}, {what}: not over: {sorted(left)}")


def proxy_faults(stage, site):
    """HSM and callers of the XKS proxy. The library is in the daemon; two sessions, a queue of four."""
    name = site.name

    def both():
        xks, kms, key = site.xks(), site.kms(), site.key
        return lambda: (xks.encrypt(), kms.call("Encrypt", KeyId=key, Plaintext="SGVsbG8="))

    def mended():
        site.faults()

    # A slow HSM: late answers, full queues. What is refused at once is not slow.
    site.faults("C_Encrypt delay_ms=175")
    with Traffic(lambda: site.xks().encrypt, threads=2):
        stage.expect("slow answers", name, ["HoldfastXksLatencyHigh"])
    site.faults("C_Encrypt delay_ms=300")
    burns = [f"Holdfast{face}ErrorBudgetBurn{pace}" for face in ("Xks", "Kms") for pace in ("Fast", "Medium", "Slow")]
    slow = ["HoldfastHsmQueueSaturated"]
    full = ["HoldfastHsmRefusals", "HoldfastXksThrottled", "HoldfastKmsThrottled"]
    with Traffic(both, threads=4):
        stage.expect("slow HSM", name, slow + burns)
    with Traffic(both, threads=12):
        stage.expect("full queues", name, full)
    with Traffic(both, threads=1, pause=0.05):
        stage.expect("HSM is quick again", name, [], over=["HoldfastXksLatencyHigh"] + slow + full + [burn for burn in burns if "Fast" in burn], mend=mended)

    # A token that is gone.
    site.faults("* code=CKR_DEVICE_REMOVED")
    with Traffic(both, threads=1, pause=0.1):
        gone = ["HoldfastHsmDown", "HoldfastHsmNoneLeft", "HoldfastNotReady", "HoldfastHsmFaults", "HoldfastAuditTrailNotSigned"]
        stage.expect("token gone", name, gone, over=gone, mend=mended, limit=60)

    # Calls that do not return.
    site.faults("C_Encrypt hang")
    with Traffic(both, threads=3, pause=0.05):
        hung = ["HoldfastHsmSessionsStuck", "HoldfastHsmBreakerOpen"]
        stage.expect("calls that hang", name, hung, over=hung, mend=mended)

    # What the token says of the PIN: CKF_USER_PIN_COUNT_LOW, FINAL_TRY, LOCKED, TO_BE_CHANGED.
    for flags, alert in (("0x10000", "CountLow"), ("0x20000", "FinalTry"), ("0x40000", "Locked"), ("0x80000", "ToBeChanged")):
        site.faults(f"C_GetTokenInfo flags={flags}")
        stage.expect(f"PIN {alert}", name, [f"HoldfastHsmPin{alert}"], over=[f"HoldfastHsmPin{alert}"], mend=mended)

    # A wrong answer.
    site.faults("C_Encrypt corrupt")
    with Traffic(both, threads=1, pause=0.1):
        stage.expect("corrupt answers", name, ["HoldfastHsmCorruption"], over=["HoldfastHsmCorruption"], mend=mended)
    stage.expect("budgets that burn slowly", name, [f"Holdfast{face}ErrorBudgetBurnVerySlow" for face in ("Xks", "Kms")], limit=60)


def callers_faults(stage, site):
    name = site.name
    store = "quickstart"
    site.command("store", "block", store)
    unblock = lambda: site.command("store", "unblock", store)
    stage.expect("kill switch", name, ["HoldfastKeyStoreBlocked"], over=["HoldfastKeyStoreBlocked"], mend=unblock)

    def stranger():
        xks = site.xks(secret="not the secret of anybody")
        return xks.encrypt

    with Traffic(stranger, pause=0.05):
        stage.expect("wrong secret", name, ["HoldfastXksAuthenticationFailures"])
    stage.expect("right secret", name, [], over=["HoldfastXksAuthenticationFailures"])

    xks = site.xks()
    xks.encrypt(skew=-240)
    stage.expect("clock", name, ["HoldfastClockSkew"], over=["HoldfastClockSkew"], mend=xks.encrypt)
    xks.encrypt(skew=4000)
    stage.expect("clock", name, ["HoldfastClockSkew"], over=["HoldfastClockSkew"], mend=xks.encrypt)

    quota = "requests_per_second = 10\n"
    site.configure(('uri_path_prefix = "quickstart"\n', 'uri_path_prefix = "quickstart"\n' + quota))
    wait_until("the quota", lambda: site.metric("holdfast_xks_key_store_quota_requests_per_second"))
    with Traffic(lambda: site.xks().encrypt, pause=0.08):
        used = ["HoldfastXksQuotaNearlyUsed"]
        stage.expect("quota nearly used", name, used, over=used, mend=lambda: site.configure((quota, "")))

    site.configure(tables="\n[nonsense]\n")
    refused = ["HoldfastConfigurationRefused"]
    stage.expect("wrong configuration", name, refused, over=refused, mend=lambda: site.configure(("\n[nonsense]\n", "")))

    pin = site.folder / "pin"
    right = pin.read_bytes()
    pin.write_bytes(b"not the PIN\n")
    stage.expect("wrong PIN", name, ["HoldfastHsmPinRefused"], over=["HoldfastHsmPinRefused"], mend=lambda: pin.write_bytes(right))

    # Nobody reads the log: eight MiB wait, then lines are dropped.
    site.may_read.clear()
    with Traffic(lambda: (lambda xks: lambda: xks.encrypt(padding=1900))(site.xks()), threads=6):
        stage.expect("slow log", name, ["HoldfastLogLinesDropped"], mend=site.may_read.set, limit=60)
    stage.expect("log read", name, [], over=["HoldfastLogLinesDropped"])


def disk_faults(stage, site, mount):
    """`state_dir` is on a small disk of its own: it fills, is full, and empties."""
    name, ballast = site.name, mount / "ballast"
    full = ["HoldfastStateDiskNearlyFull", "HoldfastAuditDiskNearlyFull"]

    def fill():
        with open(ballast, "ab") as file:
            while mount_free(mount) > 0:
                file.write(b"x" * min(1 << 20, max(4096, mount_free(mount))))
                file.flush()

    def slowly():
        file = open(ballast, "ab")

        def step():
            if mount_free(mount) > 100 << 20:
                file.write(b"x" * (1 << 20))
                file.flush()

        return step

    with Traffic(slowly, pause=0.15):
        filling = ["HoldfastStateDiskFilling", "HoldfastAuditDiskFilling"]
        stage.expect("disk fills", name, filling, limit=70)
    try:
        fill()
    except OSError:
        pass
    strangers = lambda: site.kms().stranger
    with Traffic(lambda: (lambda kms: lambda: kms.call("ListKeys"))(site.kms()), threads=2):
        fires = full + ["HoldfastAuditTrailFailing", "HoldfastAuditRecordsDropped"]
        over = full + ["HoldfastAuditTrailFailing"]
        stage.expect("disk full", name, fires, over=over, mend=lambda: ballast.unlink(missing_ok=True), limit=60)
    stage.expect("disk mended", name, [], over=["HoldfastAuditRecordsDropped"])
    with Traffic(strangers, threads=4):
        stage.expect("strangers", name, ["HoldfastAuditStrangersDropped"])
    stage.expect("strangers gone", name, [], over=["HoldfastAuditStrangersDropped"])


def mount_free(mount):
    facts = os.statvfs(mount)
    return facts.f_bavail * facts.f_frsize


def at_the_start(stage, site):
    """What the daemon of old things is started with."""
    old = ["HoldfastCertificateExpiring", "HoldfastCertificateExpiringCritical", "HoldfastCertificateExpired", "HoldfastCredentialOld"]
    old += ["HoldfastGcmInvocationsHigh", "HoldfastGcmInvocationsCritical", "HoldfastAuditSinkLinesDropped"]

    def mend():
        for file in ("server", "mtls", "kms"):
            certificate(site, file, 90)

    stage.expect("old things", site.name, old, over=[name for name in old if "Certificate" in name], mend=mend)


def exhaustion(stage, site):
    stage.expect("GCM budget at this pace", site.name, ["HoldfastGcmInvocationsExhaustedSoon"], limit=110)


def key_faults(stage, site):
    """What becomes of keys, and who uses them."""
    name, kms = site.name, site.kms()
    external = [import_key(site, kms, hours) for hours in (72, 12)]
    expiring = ["HoldfastKmsMaterialExpiring", "HoldfastKmsMaterialExpiringCritical"]
    stage.expect("material about to expire", name, expiring)

    key = kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
    kms.ok("RotateKeyOnDemand", KeyId=key)
    stage.expect("rotation", name, ["HoldfastKmsKeyRotated", "HoldfastKmsEventsStuck"])

    kms.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    status, _ = kms.call("Encrypt", KeyId=key, Plaintext="SGVsbG8=")
    assert status == 400, status
    stage.expect("key pending deletion used", name, ["HoldfastKmsKeyPendingDeletionUsed"])

    assert site.get("/dev/clock?advance=8d", "POST")[0] == 200
    stage.expect("eight days later", name, ["HoldfastKmsKeyDeleted", "HoldfastKmsMaterialExpired"], over=expiring)
    over = ["HoldfastKmsKeyRotated", "HoldfastKmsKeyDeleted", "HoldfastKmsMaterialExpired", "HoldfastKmsKeyPendingDeletionUsed"]
    stage.expect("nothing more", name, [], over=over)
    assert external

    # DescribeKey has a quota of ten a second here.
    key = kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
    with Traffic(lambda: (lambda kms: lambda: kms.call("DescribeKey", KeyId=key))(site.kms()), pause=0.08):
        stage.expect("quota nearly used", name, ["HoldfastKmsQuotaNearlyUsed"])
    with Traffic(lambda: (lambda kms: lambda: kms.call("DescribeKey", KeyId=key))(site.kms()), threads=2, pause=0.02):
        stage.expect("quota used up", name, ["HoldfastKmsThrottled"])
    stage.expect("quota free", name, [], over=["HoldfastKmsQuotaNearlyUsed", "HoldfastKmsThrottled"])

    assert site.sts().identity() == 200
    connections_and_database(stage, site)


def connections_and_database(stage, site):
    import socket

    name = site.name
    sockets = []

    def connect():
        share = (site.metric("process_open_fds ") or 0) / (site.metric("process_max_fds ") or 1)
        if share < 0.85:
            for _ in range(8):
                sockets.append(socket.create_connection(("127.0.0.1", site.port + 3)))

    with Traffic(lambda: connect, pause=0.3):
        near = ["HoldfastFileDescriptorsNearLimit"]
        stage.expect("many connections", name, near)
    stage.expect("connections closed", name, [], over=near, mend=lambda: [one.close() for one in sockets])

    database = next(site.folder.glob("state/*.db"))
    lock = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    create = lambda: (lambda kms: lambda: kms.call("CreateKey"))(site.kms())

    def hold():
        lock.execute("BEGIN IMMEDIATE")
        time.sleep(0.6)
        lock.execute("ROLLBACK")

    with Traffic(create, threads=3):
        with Traffic(lambda: hold, pause=0.05):
            stage.expect("database slow", name, ["HoldfastDatabaseSlow"])
        lock.execute("BEGIN IMMEDIATE")
        both = ["HoldfastDatabaseErrors", "HoldfastDatabaseSlow"]
        stage.expect("database locked", name, ["HoldfastDatabaseErrors"], over=both, mend=lambda: lock.execute("ROLLBACK"))


def import_key(site, kms, hours):
    """A key whose material expires in so long."""
    key = kms.ok("CreateKey", Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    wrapping = kms.ok("GetParametersForImport", KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
    public = site.folder / "wrapping.der"
    public.write_bytes(base64.b64decode(wrapping["PublicKey"]))
    words = ["openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", str(public)]
    for option in ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"):
        words += ["-pkeyopt", option]
    wrapped = subprocess.run(words, input=os.urandom(32), capture_output=True, check=True).stdout
    kms.ok(
        "ImportKeyMaterial",
        KeyId=key,
        ImportToken=wrapping["ImportToken"],
        EncryptedKeyMaterial=base64.b64encode(wrapped).decode(),
        ExpirationModel="KEY_MATERIAL_EXPIRES",
        ValidTo=int(time.time()) + hours * 3600,
    )
    return key


def connect_key_store(of, proxy):
    """An external key store at one daemon whose proxy is the other; a key in it."""
    kms = of.kms()
    store = kms.ok(
        "CreateCustomKeyStore",
        CustomKeyStoreName="proxy",
        CustomKeyStoreType="EXTERNAL_KEY_STORE",
        XksProxyUriEndpoint=f"https://localhost:{proxy.port}",
        XksProxyUriPath="/quickstart/kms/xks/v1",
        XksProxyConnectivity="PUBLIC_ENDPOINT",
        XksProxyAuthenticationCredential={
            "AccessKeyId": proxy.env["SIGV4_ACCESS_KEY_ID"],
            "RawSecretAccessKey": proxy.env["SIGV4_SECRET_ACCESS_KEY"],
        },
    )["CustomKeyStoreId"]
    kms.ok("ConnectCustomKeyStore", CustomKeyStoreId=store)
    state = lambda: kms.ok("DescribeCustomKeyStores", CustomKeyStoreId=store)["CustomKeyStores"][0]["ConnectionState"]
    wait_until("the key store is connected", lambda: state() == "CONNECTED")
    key = kms.ok("CreateKey", Origin="EXTERNAL_KEY_STORE", CustomKeyStoreId=store, XksKeyId="foo")
    return key["KeyMetadata"]["KeyId"]


def worker_faults(stage, proxy, of):
    """The library is in a process of its own; another daemon has the proxy as its external key store."""
    name = proxy.name
    key = connect_key_store(of, proxy)
    kms = of.kms()

    def use():
        kms = of.kms()
        return lambda: kms.call("Encrypt", KeyId=key, Plaintext="SGVsbG8=")

    assert kms.call("Encrypt", KeyId=key, Plaintext="SGVsbG8=")[0] == 200
    stage.expect("key store connected", of.name, ["HoldfastKmsProxyCredentialOld", "HoldfastKmsProxyCertificateExpiring"])

    # The quota of the key store is 20 a second here.
    with Traffic(use, threads=3, pause=0.05):
        stage.expect("quota of the key store nearly used", of.name, ["HoldfastKmsExternalKeyStoreQuotaNearlyUsed"])
    with Traffic(use, threads=4):
        stage.expect("quota of the key store used up", of.name, ["HoldfastKmsExternalKeyStoreThrottled"])

    certificate(proxy, "server", 1)
    kill = lambda: os.kill(int(proxy.metric("holdfast_hsm_worker_process")), signal.SIGKILL)

    def kill_if_there():
        if proxy.metric("holdfast_hsm_worker_process"):
            kill()

    with Traffic(lambda: kill_if_there, pause=2):
        stage.expect("worker killed again and again", name, ["HoldfastHsmWorkerRestarting"])
    proxy.faults("C_Initialize crash")
    with Traffic(lambda: kill_if_there, pause=1):
        missing = ["HoldfastHsmWorkerMissing"]
        stage.expect("worker does not start", name, missing)
        stage.expect("no HSM behind the proxy", of.name, ["HoldfastKmsKeyManagersImpaired"])
    with Traffic(use, pause=0.1):
        stage.expect("worker starts", name, [], over=missing + ["HoldfastHsmWorkerRestarting"], mend=proxy.faults)
        stage.expect("HSM behind the proxy is back", of.name, [], over=["HoldfastKmsKeyManagersImpaired"])

    proxy.command("key", "block", "foo")
    with Traffic(use, pause=0.05):
        wrong = ["HoldfastKmsProxyNonRetryableErrors"]
        stage.expect("external key blocked", of.name, wrong, over=wrong, mend=lambda: proxy.command("key", "unblock", "foo"))

    proxy.process.send_signal(signal.SIGSTOP)
    resume = lambda: proxy.process.send_signal(signal.SIGCONT)
    with Traffic(use, threads=4, pause=0.05):
        stage.expect("proxy stopped", name, ["HoldfastTargetDown"])
        late = ["HoldfastKmsProxyRetryableErrors", "HoldfastKmsProxyLatencyHigh"]
        stage.expect("proxy does not answer", of.name, late, over=late, mend=resume)
    stage.expect("proxy goes on", name, [], over=["HoldfastTargetDown"])
    stage.expect("certificate of the proxy", of.name, ["HoldfastKmsProxyCertificateExpiringCritical"])

    def renew(days):
        """Another certificate, and connections that begin with it, since those that wait in vain are given up."""
        certificate(proxy, "server", days)
        is_new = lambda: abs(proxy.metric("holdfast_certificate_not_after_timestamp_seconds") - time.time() - days * 86400) < 60
        wait_until("the proxy has its new certificate", is_new)
        proxy.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        resume()

    with Traffic(use, threads=4, pause=0.05):
        renew(15 / 86400)
        expired = ["HoldfastKmsProxyCertificateExpired"]
        stage.expect("certificate of the proxy expires", of.name, expired, over=expired, mend=lambda: renew(90))


def seed_counts(site):
    """Counts of encryptions near their end, for keys that are there."""
    file = site.folder / "state" / "invocations.json"
    counts = json.loads(file.read_text())
    (of_hsm,) = counts.values()
    for name in of_hsm:
        if re.match("foo/", name):
            of_hsm[name] = 3_500_000_000
        elif re.match("busy/", name):
            of_hsm[name] = 4_290_000_000
    assert max(of_hsm.values()) == 4_290_000_000 and len(of_hsm) >= 2, of_hsm
    file.write_text(json.dumps(counts))
