"""Sign against the floor: `benches/run.py --only sign`."""

import json
import statistics
import subprocess

from kms import PLAINTEXT, URLS, KmsBench

KEYS = {"RSA_2048": "RSASSA_PKCS1_V1_5_SHA_256", "ECC_NIST_P256": "ECDSA_SHA_256"}


class SigningBench(KmsBench):
    def run_signing(self):
        try:
            self.sign_against_floor()
        finally:
            for process in self.processes:
                process.kill()

    def create_signing_key(self, url, process, spec):
        body = json.dumps({"KeySpec": spec, "KeyUsage": "SIGN_VERIFY"})
        return self.ask(url, process, "CreateKey", [body])[0]["KeyMetadata"]["KeyId"]

    def sign_against_floor(self):
        ours, floor = self.start_holdfast(), self.start_kms_floor()
        keys = {spec: self.create_signing_key(URLS["HTTP"][0], ours, spec) for spec in KEYS}
        print("| | Holdfast, a second | floor, a second | throughput, ratio (min–max) | server CPU per request | CPU, ratio | p50, p99, p99.9 | floor |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for spec, algorithm in KEYS.items():
            bodies = [json.dumps({"KeyId": keys[spec], "Message": PLAINTEXT, "SigningAlgorithm": algorithm})]
            for scheme, (our_url, floor_url) in URLS.items():
                pairs = [(self.kms_load(our_url, ours, "Sign", bodies, "--connections", 16),
                          self.kms_load(floor_url, floor, "Sign", bodies, "--connections", 16)) for _ in range(self.rounds)]
                self.print_pairs(f"Sign, {spec}, {scheme}, 16 connections", pairs)
        self.stop(floor)
        self.stop(ours)
        for spec, algorithm in KEYS.items():
            alone = self.alone(algorithm)
            print(f"- PKCS#11 alone, {spec}, {alone['sessions']} sessions, no server: {alone['operationsPerSecond']:,} a second.", flush=True)

    def alone(self, algorithm):
        command = [self.floor, "loop", "--pin-file", self.folder / "pin", "--session-key", "--sign", algorithm,
                   "--seconds", str(self.seconds)]
        rates = [json.loads(subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout)
                 for _ in range(self.rounds)]
        return {"sessions": rates[0]["sessions"],
                "operationsPerSecond": round(statistics.median(rate["operationsPerSecond"] for rate in rates))}
