#!/usr/bin/env python3
"""Measures Holdfast against a floor in one run, and prints the tables of BENCHMARKS.md.

Both servers run at once and are loaded in turn, A B A B, so that a machine that changes its speed changes it for
both; the ratio of each pair is taken, and the median of the ratios is what counts. Server CPU is read from the
kernel, which noise from other processes moves less than it moves the time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORT = 8640
FLOOR = PORT + 20
BARE = PORT + 21
SESSIONS = 4


def build():
    command = ["cargo", "build", "--release", "--locked", "-p", "holdfast", "-p", "floor", "-p", "pkcs11-shim"]
    subprocess.run(command, cwd=ROOT, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def cpu_seconds(pid):
    """Of a process and of those that it has started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    started = (thread.joinpath("children").read_text().split() for thread in Path(f"/proc/{pid}/task").iterdir())
    return own + sum(cpu_seconds(int(child)) for children in started for child in children)


def memory_mb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


class Bench:
    def __init__(self, programs, seconds, rounds, port=PORT):
        self.holdfast, self.floor, self.load_client, self.shim = (
            programs / name for name in ("holdfast", "floor", "kms-load", "libpkcs11_shim.so"))
        self.seconds, self.rounds = seconds, rounds
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
        self.processes = []
        subprocess.run(
            [self.holdfast, "provision", "--dir", self.folder, "--port-base", str(port)],
            check=True, stdout=subprocess.DEVNULL,
        )
        self.env = dict(os.environ)
        for line in (self.folder / "env").read_text().splitlines():
            if line.startswith("export "):
                name, value = line[len("export "):].split("=", 1)
                self.env[name] = value.strip("'")
        for name in ("XKS_PROXY_HOST_MTLS", "HOLDFAST_CLIENT_CERT", "HOLDFAST_CLIENT_KEY"):
            self.env.pop(name, None)

    def start(self, command):
        log = open(self.folder / f"log-{len(self.processes)}", "wb")
        process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_holdfast(self):
        process = self.start([self.holdfast, "serve", "--config", self.folder / "holdfast.toml"])
        for _ in range(600):
            try:
                if urllib.request.urlopen(self.env["HOLDFAST_ADMIN_URL"] + "/readyz").status == 200:
                    return process
            except OSError:
                time.sleep(0.1)
        sys.exit("holdfast did not become ready")

    def start_floor(self, port, *more):
        tls = self.folder / "tls"
        process = self.start([
            self.floor, "serve", "--listen", f"127.0.0.1:{port}", "--certificate", tls / "server.pem",
            "--private-key", tls / "server.key", "--pin-file", self.folder / "pin", "--sessions", str(SESSIONS), *more,
        ])
        time.sleep(2)
        return process

    def stop(self, process):
        process.terminate()
        process.wait()
        self.processes.remove(process)

    def load(self, port, process, *arguments):
        before = cpu_seconds(process.pid)
        command = [self.holdfast, "check", "--json", "--host", f"localhost:{port}", "--seconds", str(self.seconds), *arguments]
        output = subprocess.run(command, env=self.env, capture_output=True, text=True)
        result = json.loads(output.stdout)
        if result["errors"]:
            sys.exit(f"{port}: {result['errors']}")
        result["cpu_us"] = (cpu_seconds(process.pid) - before) * 1e6 / max(result["answered"], 1)
        return result

    def against_floor(self):
        ours, floor = self.start_holdfast(), self.start_floor(FLOOR)
        print("| | Holdfast, a second | floor, a second | throughput, ratio (min–max) | server CPU per request | CPU, ratio | p99.9, ratio |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for operation in ("encrypt", "decrypt"):
            for connections in ("16", "64"):
                arguments = ["--closed-loop", "--operation", operation, "--connections", connections]
                pairs = [(self.load(PORT, ours, *arguments), self.load(FLOOR, floor, *arguments)) for _ in range(self.rounds)]
                rate = [a["answered_per_second"] / b["answered_per_second"] for a, b in pairs]
                median = lambda side, key: statistics.median(pair[side][key] for pair in pairs)
                print(
                    f"| {operation}, {connections} connections | {median(0, 'answered_per_second'):,.0f}"
                    f" | {median(1, 'answered_per_second'):,.0f}"
                    f" | **{statistics.median(rate):.2f}** ({min(rate):.2f}–{max(rate):.2f})"
                    f" | {median(0, 'cpu_us'):.0f} µs, floor {median(1, 'cpu_us'):.0f} µs"
                    f" | {statistics.median(a['cpu_us'] / b['cpu_us'] for a, b in pairs):.2f}"
                    f" | {statistics.median(a['p999_us'] / b['p999_us'] for a, b in pairs):.2f} |",
                    flush=True,
                )
        print(f"\nMemory after the load: {memory_mb(ours.pid):.0f} MB, floor {memory_mb(floor.pid):.0f} MB.\n")
        self.stop(floor)
        return ours

    def scale(self, ours):
        bare = self.start_floor(BARE, "--without-hsm")
        result = self.load(BARE, bare, "--closed-loop", "--connections", "16")
        print(f"- Server that only verifies SigV4, 16 connections: {result['answered_per_second']:,} a second, {result['cpu_us']:.0f} µs of CPU.")
        self.stop(bare)
        loop = [self.floor, "loop", "--pin-file", self.folder / "pin", "--sessions", str(SESSIONS), "--seconds", str(self.seconds)]
        raw = json.loads(subprocess.run(loop, env=self.env, capture_output=True, text=True, check=True).stdout)
        print(f"- PKCS#11 alone, {SESSIONS} sessions, no server: {raw['operationsPerSecond']:,} encryptions a second.")
        pairs = []
        for _ in range(self.rounds):
            plain = self.load(PORT, ours, "--closed-loop", "--connections", "16")
            pairs.append((self.load(PORT, ours, "--closed-loop", "--connections", "16", "--cdiv"), plain))
        ratio = statistics.median(a["cpu_us"] - b["cpu_us"] for a, b in pairs)
        print(f"- CDIV: {ratio:.0f} µs more of server CPU per Encrypt (one more HSM operation and two SHA-256).", flush=True)

    def open_loop(self):
        result = self.load(PORT, self.processes[0], "--rate", "1800", "--connections", "16")
        figures = ", ".join(f"{name} {result[key] / 1000:.2f} ms" for name, key in
                            (("p50", "p50_us"), ("p90", "p90_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("max", "max_us")))
        print(f"- Open loop, 1,800 requests a second, 16 connections: {figures}; {result['over_budget']} over 250 ms.", flush=True)

    def many_keys(self, counts):
        print("\n| keys in the token | start until ready | encrypt, 16 connections, spread over all | ratio to the first row | server CPU per request |")
        print("| --- | --- | --- | --- | --- |")
        first = None
        for count in counts:
            fill = [self.floor, "fill", "--pin-file", self.folder / "pin", "--keys", str(count)]
            subprocess.run(fill, env=self.env, check=True)
            started = time.monotonic()
            ours = self.start_holdfast()
            ready = time.monotonic() - started
            arguments = ["--closed-loop", "--connections", "16", "--key-id-pattern", "bench-{}", "--key-count", str(count)]
            results = [self.load(PORT, ours, *arguments) for _ in range(self.rounds)]
            rate = statistics.median(result["answered_per_second"] for result in results)
            cpu = statistics.median(result["cpu_us"] for result in results)
            first = first or rate
            print(f"| {count:,} | {ready:.1f} s | {rate:,.0f} a second | {rate / first:.2f} | {cpu:.0f} µs |", flush=True)
            self.stop(ours)

    def run(self, keys):
        try:
            ours = self.against_floor()
            self.scale(ours)
            self.open_loop()
            self.stop(ours)
            self.many_keys(keys)
        finally:
            for process in self.processes:
                process.kill()


def main():
    from authorization import AuthorizationBench
    from isolation import isolation_bench
    from kms import KmsBench
    from rotation import RotationBench
    from signing import SigningBench
    from traces import run_traces

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of loads")
    parser.add_argument("--keys", type=int, nargs="*", default=[4, 1000, 10000])
    parser.add_argument("--kms-keys", type=int, nargs="*", default=[100, 10_000, 100_000])
    parser.add_argument("--only", choices=["authorization", "isolation", "key-stores", "kms", "rotation", "sign", "traces", "xks"])
    parser.add_argument("--programs", type=Path, help="the folder that they were built into; otherwise they are built")
    options = parser.parse_args()
    programs = options.programs or build()
    if options.only == "authorization":
        return AuthorizationBench(programs, options.seconds, options.rounds).run_authorization()
    if options.only == "isolation":
        return isolation_bench(programs, options.seconds, options.rounds).run()
    if options.only == "rotation":
        return RotationBench(programs, options.seconds, options.rounds).run_rotation()
    if options.only == "sign":
        return SigningBench(programs, options.seconds, options.rounds).run_signing()
    if options.only == "traces":
        return run_traces(programs, options.seconds, options.rounds)
    if options.only == "key-stores":
        return KmsBench(programs, options.seconds, options.rounds).run_key_stores()
    if options.only != "kms":
        Bench(programs, options.seconds, options.rounds).run(options.keys)
    if options.only != "xks":
        AuthorizationBench(programs, options.seconds, options.rounds).run_authorization()
        KmsBench(programs, options.seconds, options.rounds).run_kms(options.kms_keys)
        SigningBench(programs, options.seconds, options.rounds).run_signing()


if __name__ == "__main__":
    main()
