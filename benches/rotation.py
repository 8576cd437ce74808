"""What a rotation of the root key costs those who use keys meanwhile: `benches/run.py --only rotation`."""

import json
import subprocess
import time

from kms import PLAINTEXT, URLS, KmsBench

KEYS = 1000
RATE = 500


class RotationBench(KmsBench):
    def root_key(self, *arguments):
        command = [self.holdfast, "root-key", *arguments, "--json", "--config", self.folder / "holdfast.toml"]
        return json.loads(subprocess.run(command, env=self.env, capture_output=True, text=True).stdout)

    def under_former(self):
        former = self.root_key("status")["status"]["former"]
        return former["uses"] if former else 0

    def run_rotation(self):
        try:
            self.rotation()
        finally:
            for process in self.processes:
                process.kill()

    def rotation(self):
        ours, url = self.start_holdfast(), URLS["HTTP"][0]
        ids = self.create_keys(ours, KEYS)
        bodies = [f'{{"KeyId": "{key}", "Plaintext": "{PLAINTEXT}"}}' for key in ids]
        # Every key once: as when they are in use.
        self.ask(url, ours, "Encrypt", bodies, 16)
        load = lambda: self.kms_load(url, ours, "Encrypt", bodies, "--rate", RATE, "--connections", 16)
        show = lambda result: ", ".join(f"{result[key] / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us", "max_us"))
        print(f"| {RATE} Encrypts a second over {KEYS:,} keys, p50, p99, p99.9, max | before | during the rotation | after | rotated in |")
        print("| --- | --- | --- | --- | --- |")
        for _ in range(self.rounds):
            before = load()
            started = time.monotonic()
            former = self.root_key("rotate")["rotated"]["from"]
            during, left = load(), self.under_former()
            while self.under_former():
                time.sleep(0.1)
            took = time.monotonic() - started
            self.root_key("retire", former, "--confirm", former)
            note = f"{took:.1f} s" if left else f"less than {took:.1f} s"
            print(f"| | {show(before)} ms | {show(during)} ms | {show(load())} ms | {note} |", flush=True)
