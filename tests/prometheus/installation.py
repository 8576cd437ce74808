"""A daemon in a folder of its own, with the PKCS#11 shim between it and a SoftHSM token."""

import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

from aws import Kms, Signer, Sts, Xks

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"


def wait_until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s")


class Site:
    def __init__(self, programs, folder, name, port):
        self.folder, self.name, self.port = folder / name, name, port
        self.binary = str(programs / "holdfast")
        self.admin = f"http://127.0.0.1:{port + 4}"
        self.run("provision", "--dir", str(self.folder), "--port-base", str(port))
        self.config = self.folder / "holdfast.toml"
        shim = shutil.copy(programs / "libpkcs11_shim.so", self.folder / "shim.so")
        text = self.config.read_text()
        # A cluster would load the real library beside the shim.
        text = re.sub(r"# For custom key stores of the type.*?(?=\[\[key_store\]\])", "", text, flags=re.S)
        text = text.replace(f'module = "{SOFTHSM}"', f'module = "{shim}"')
        own = f'PKCS11_SHIM_MODULE = "{SOFTHSM}"\nPKCS11_SHIM_CONTROL = "{self.folder}/faults"\n'
        text = text.replace("[hsm.environment]\n", f"[hsm.environment]\n{own}PKCS11_SHIM_COUNTS = \"{self.folder}/counts\"\n")
        self.config.write_text(text)
        words = re.findall(r"export (\w+)=(.*)", (self.folder / "env").read_text())
        self.env = {name: value.strip("'") for name, value in words}
        self.process, self.may_read = None, threading.Event()
        self.may_read.set()

    def configure(self, *changes, tables=""):
        """Changes are pairs: what stands there, and what is to stand there."""
        text = self.config.read_text()
        for before, after in changes:
            assert before in text, before
            text = text.replace(before, after, 1)
        self.config.write_text(text + tables)

    def run(self, *arguments):
        done = subprocess.run([self.binary, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def command(self, *arguments):
        """A command to this daemon."""
        words = [*arguments[:2], "--config", str(self.config), *arguments[2:]]
        return self.run(*words)

    def start(self, descriptors=None):
        def limit():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        words = [self.binary, "serve", "--config", str(self.config)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=limit)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process):
        with open(self.folder / "log", "ab", buffering=0) as log:
            while chunk := process.stdout.read1(65536):
                log.write(chunk)
                self.may_read.wait()

    def stop(self):
        self.may_read.set()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def get(self, path, method="GET"):
        try:
            request = urllib.request.Request(self.admin + path, method=method)
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def wait_ready(self):
        wait_until(f"{self.name} ready", lambda: self.get("/readyz")[0] == 200, 40)

    def metric(self, start):
        """The value of the first series that starts so."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(start):
                return float(line.rsplit(" ", 1)[1])
        return None

    def faults(self, *lines):
        """What the shim does from now on; nothing: it only forwards."""
        new = self.folder / "faults.new"
        new.write_text("".join(f"{line}\n" for line in lines))
        os.replace(new, self.folder / "faults")

    def kms(self):
        signer = Signer(self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"], "kms")
        return Kms(signer, self.port + 3)

    def sts(self):
        signer = Signer(self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"], "sts")
        return Sts(signer, self.port + 3)

    def xks(self, secret=None):
        signer = Signer(self.env["SIGV4_ACCESS_KEY_ID"], secret or self.env["SIGV4_SECRET_ACCESS_KEY"], "kms-xks-proxy")
        return Xks(signer, self.port, self.env["HOLDFAST_CA"])


class Traffic:
    """Threads that do the same again and again while a `with` block runs."""

    def __init__(self, work, threads=1, pause=0.0):
        self.work, self.threads, self.pause, self.end = work, threads, pause, threading.Event()

    def _loop(self):
        act = self.work()
        while not self.end.is_set():
            act()
            self.end.wait(self.pause)

    def __enter__(self):
        self.running = [threading.Thread(target=self._loop, daemon=True) for _ in range(self.threads)]
        for thread in self.running:
            thread.start()

    def __exit__(self, *_):
        self.end.set()
        for thread in self.running:
            thread.join(30)


def certificate(site, listener_file, days):
    """A server certificate that is valid for so long from now on; may be negative."""
    tls = site.folder / "tls"
    start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + at * 86400)) for at in (-30, days))
    settings = tls / "ca.cnf"
    settings.write_text(
        "[ca]\ndefault_ca=a\n[a]\nnew_certs_dir=%s\ndatabase=%s/index\nserial=%s/serial\ndefault_md=sha256\npolicy=p\n"
        "unique_subject=no\nrand_serial=yes\n[p]\ncommonName=supplied\n[v]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n"
        "extendedKeyUsage=serverAuth\n" % (tls, tls, tls)
    )
    (tls / "index").touch()
    key, request, out = tls / f"{listener_file}.key", tls / "request", tls / f"{listener_file}.pem"
    make = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*make, "-keyout", key, "-subj", "/CN=localhost", "-out", request], check=True, capture_output=True)
    sign = ["openssl", "ca", "-batch", "-notext", "-config", settings, "-extensions", "v", "-in", request, "-out", out]
    sign += ["-cert", tls / "ca.pem", "-keyfile", tls / "ca.key", "-startdate", start, "-enddate", end]
    subprocess.run(sign, check=True, capture_output=True)
    os.chmod(key, 0o600)
    pathlib.Path(out).write_text(out.read_text() + (tls / "ca.pem").read_text())
