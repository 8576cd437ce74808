"""The KMS part of the benchmarks: `benches/run.py --only kms`."""

import json
import shutil
import statistics
import subprocess
import time

from run import PORT, SESSIONS, Bench, cpu_seconds, memory_mb

FLOOR, FLOOR_HTTP = PORT + 22, PORT + 23
URLS = {"HTTPS": (f"https://localhost:{PORT + 2}", f"https://localhost:{FLOOR}"),
        "HTTP": (f"http://localhost:{PORT + 3}", f"http://localhost:{FLOOR_HTTP}")}
PLAINTEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OPERATIONS = ("Encrypt", "Decrypt", "GenerateDataKey")


def median(results, key):
    return statistics.median(result[key] for result in results)


class KmsBench(Bench):
    def kms_load(self, url, process, operation, bodies, *arguments):
        """One load, with the CPU that the server spent on each request."""
        path = self.folder / "bodies"
        path.write_text("".join(body + "\n" for body in bodies))
        before = cpu_seconds(process.pid)
        command = [self.load_client, "--url", url, "--operation", operation, "--bodies", path,
                   "--seconds", str(self.seconds), *map(str, arguments)]
        run = subprocess.run(command, env=self.env, capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"{url} {operation}: {run.stderr}")
        result = json.loads(run.stdout)
        if result["errors"]:
            raise SystemExit(f"{url} {operation}: {result['errors']}")
        result["cpu_us"] = (cpu_seconds(process.pid) - before) * 1e6 / max(result["answered"], 1)
        return result

    def ask(self, url, process, operation, bodies, connections=8):
        """Each body once; the answers."""
        if not bodies:
            return []
        path = self.folder / "answers"
        self.kms_load(url, process, operation, bodies, "--requests", len(bodies),
                      "--connections", min(connections, len(bodies)), "--answers", path)
        return [json.loads(line) for line in path.read_text().splitlines()]

    def create_keys(self, process, count, connections=8):
        answers = self.ask(URLS["HTTP"][0], process, "CreateKey", ["{}"] * count, connections)
        return [answer["KeyMetadata"]["KeyId"] for answer in answers]

    def bodies(self, url, process, key_id):
        context = ', "EncryptionContext": {"department": "finance"}'
        encrypt = f'{{"KeyId": "{key_id}", "Plaintext": "{PLAINTEXT}"{context}}}'
        sealed = self.ask(url, process, "Encrypt", [encrypt])[0]["CiphertextBlob"]
        return {
            "Encrypt": [encrypt],
            "Decrypt": [f'{{"CiphertextBlob": "{sealed}"{context}}}'],
            "GenerateDataKey": [f'{{"KeyId": "{key_id}", "NumberOfBytes": 32{context}}}'],
        }

    def start_kms_floor(self):
        secret = self.env["SIGV4_SECRET_ACCESS_KEY"]
        self.env["SIGV4_SECRET_ACCESS_KEY"] = self.env["AWS_SECRET_ACCESS_KEY"]
        process = self.start_floor(FLOOR, "--session-key", "--listen-http", f"127.0.0.1:{FLOOR_HTTP}")
        self.env["SIGV4_SECRET_ACCESS_KEY"] = secret
        return process

    def kms_against_floor(self):
        ours, floor = self.start_holdfast(), self.start_kms_floor()
        key_id = self.create_keys(ours, 1)[0]
        our_bodies = self.bodies(URLS["HTTP"][0], ours, key_id)
        floor_bodies = self.bodies(URLS["HTTP"][1], floor, key_id)
        print("| | Holdfast, a second | floor, a second | throughput, ratio (min–max) | server CPU per request | CPU, ratio | p50, p99, p99.9 | floor |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for scheme, (our_url, floor_url) in URLS.items():
            for operation in OPERATIONS:
                for connections in (16, 64):
                    pairs = [(self.kms_load(our_url, ours, operation, our_bodies[operation], "--connections", connections),
                              self.kms_load(floor_url, floor, operation, floor_bodies[operation], "--connections", connections))
                             for _ in range(self.rounds)]
                    self.print_pairs(f"{operation}, {scheme}, {connections} connections", pairs)
        print(f"\nMemory after the load: {memory_mb(ours.pid):.0f} MB, floor {memory_mb(floor.pid):.0f} MB.\n")
        self.kms_open_loop((ours, our_bodies), (floor, floor_bodies))
        self.stop(floor)
        self.stop(ours)

    def print_pairs(self, name, pairs):
        us, them = zip(*pairs)
        rate = [a["answered_per_second"] / b["answered_per_second"] for a, b in pairs]
        latencies = lambda results: ", ".join(f"{median(results, key) / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us"))
        print(
            f"| {name} | {median(us, 'answered_per_second'):,.0f} | {median(them, 'answered_per_second'):,.0f}"
            f" | **{statistics.median(rate):.2f}** ({min(rate):.2f}–{max(rate):.2f})"
            f" | {median(us, 'cpu_us'):.0f} µs, floor {median(them, 'cpu_us'):.0f} µs"
            f" | {statistics.median(a['cpu_us'] / b['cpu_us'] for a, b in pairs):.2f}"
            f" | {latencies(us)} ms | {latencies(them)} ms |",
            flush=True,
        )

    def kms_open_loop(self, *servers):
        print("| 2,000 requests a second, open loop, 16 connections | p50, p99, p99.9, max | floor |")
        print("| --- | --- | --- |")
        show = lambda results: ", ".join(f"{median(results, key) / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us", "max_us"))
        for operation in OPERATIONS:
            for scheme, urls in URLS.items():
                rounds = [[self.kms_load(url, process, operation, bodies[operation], "--rate", 2000, "--connections", 16)
                           for url, (process, bodies) in zip(urls, servers)] for _ in range(self.rounds)]
                us, them = zip(*rounds)
                print(f"| {operation}, {scheme} | {show(us)} ms | {show(them)} ms |", flush=True)

    def kms_many_keys(self, counts):
        """Keys are made through the API; the rates are measured whenever there are as many as wanted."""
        with (self.folder / "holdfast.toml").open("a") as configuration:
            configuration.write("\n[kms.resource_quotas]\nkeys = 1000000\n")
        ours = self.start_holdfast()
        url = URLS["HTTP"][0]
        ids = []
        print("\n| keys in the account | CreateKey, a second | ListKeys, pages of 100 a second | of 1,000 | Encrypt of one key"
              " | Encrypt, spread over up to 10,000 keys | memory |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for count in counts:
            measured = min(500, count - len(ids))
            ids += self.create_keys(ours, count - len(ids) - measured, 32)
            answers = self.folder / "answers"
            created = self.kms_load(url, ours, "CreateKey", ["{}"], "--connections", 8, "--requests", measured,
                                    "--answers", answers)
            ids += [json.loads(line)["KeyMetadata"]["KeyId"] for line in answers.read_text().splitlines()]
            pages = [self.kms_load(url, ours, "ListKeys", self.markers(url, ours, limit), "--connections", 4) for limit in (100, 1000)]
            encrypt = lambda some: [f'{{"KeyId": "{id}", "Plaintext": "{PLAINTEXT}"}}' for id in some]
            one = self.kms_load(url, ours, "Encrypt", encrypt(ids[-1:]), "--connections", 16)
            some = encrypt(ids[:: max(1, len(ids) // 10_000)])
            self.ask(url, ours, "Encrypt", some, 16)
            spread = self.kms_load(url, ours, "Encrypt", some, "--connections", 16)
            rates = " | ".join(f"{result['answered_per_second']:,.0f} ({result['p99_us'] / 1000:.2f} ms)"
                               for result in (created, *pages, one, spread))
            print(f"| {count:,} | {rates} | {memory_mb(ours.pid):.0f} MB |", flush=True)
        self.stop(ours)
        started = time.monotonic()
        self.stop(self.start_holdfast())
        print(f"\nStart until ready with the last count: {time.monotonic() - started:.1f} s.")

    def markers(self, url, process, limit):
        """Requests for the first page and for nine that follow it: the store must not count its way to any."""
        bodies, marker = [], None
        for _ in range(10):
            bodies.append(json.dumps({"Limit": limit} | ({"Marker": marker} if marker else {})))
            marker = self.ask(url, process, "ListKeys", bodies[-1:])[0].get("NextMarker")
            if marker is None:
                break
        return bodies

    def external_key(self, url, process):
        """A key in an external key store, whose proxy is the daemon itself; and its key store."""
        ask = lambda operation, body: self.ask(url, process, operation, [json.dumps(body)])[0]
        store = ask("CreateCustomKeyStore", {
            "CustomKeyStoreName": "bench", "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
            "XksProxyConnectivity": "PUBLIC_ENDPOINT", "XksProxyUriEndpoint": f"https://{self.env['XKS_PROXY_HOST']}",
            "XksProxyUriPath": f"/{self.env['URI_PREFIX']}/kms/xks/v1",
            "XksProxyAuthenticationCredential": {
                "AccessKeyId": self.env["SIGV4_ACCESS_KEY_ID"],
                "RawSecretAccessKey": self.env["SIGV4_SECRET_ACCESS_KEY"]}})["CustomKeyStoreId"]
        self.connect(url, process, store)
        place = {"Origin": "EXTERNAL_KEY_STORE", "CustomKeyStoreId": store, "XksKeyId": self.env["KEY_ID"]}
        return ask("CreateKey", place)["KeyMetadata"]["KeyId"]

    def cluster_key(self, url, process):
        """A key in a CloudHSM key store over the cluster of the quick start."""
        ask = lambda operation, body: self.ask(url, process, operation, [json.dumps(body)])[0]
        with open(self.env["HOLDFAST_CLUSTER_TRUST_ANCHOR"]) as certificate:
            store = ask("CreateCustomKeyStore", {
                "CustomKeyStoreName": "cluster", "CloudHsmClusterId": self.env["HOLDFAST_CLUSTER_ID"],
                "KeyStorePassword": self.env["HOLDFAST_CLUSTER_PASSWORD"],
                "TrustAnchorCertificate": certificate.read()})["CustomKeyStoreId"]
        self.connect(url, process, store)
        place = {"Origin": "AWS_CLOUDHSM", "CustomKeyStoreId": store}
        return ask("CreateKey", place)["KeyMetadata"]["KeyId"]

    def connect(self, url, process, store):
        body = json.dumps({"CustomKeyStoreId": store})
        self.ask(url, process, "ConnectCustomKeyStore", [body])
        for _ in range(100):
            shown = self.ask(url, process, "DescribeCustomKeyStores", [body])[0]["CustomKeyStores"][0]
            if shown["ConnectionState"] == "CONNECTED":
                return
            time.sleep(0.1)
        raise SystemExit(f"the key store does not connect: {shown}")

    def kms_custom_key_stores(self):
        """The same call on a key of each kind of key store, in turn."""
        configuration = self.folder / "holdfast.toml"
        text = configuration.read_text()
        table = "[kms.external_key_stores]\n"
        configuration.write_text(text.replace(table, table + "requests_per_second = 1000000\n"))
        ours = self.start_holdfast()
        url = URLS["HTTP"][0]
        keys = {"default": self.create_keys(ours, 1)[0], "external": self.external_key(url, ours),
                "CloudHSM": self.cluster_key(url, ours)}
        bodies = {place: self.bodies(url, ours, key_id) for place, key_id in keys.items()}
        print("\n| HTTP, 16 connections | default, a second | external, a second | ratio (min–max) | CloudHSM, a second | ratio (min–max) |")
        print("| --- | --- | --- | --- | --- | --- |")
        for operation in OPERATIONS:
            rounds = [{place: self.kms_load(url, ours, operation, of[operation], "--connections", 16)["answered_per_second"]
                       for place, of in bodies.items()} for _ in range(self.rounds)]
            rate = lambda place: f"{statistics.median(round[place] for round in rounds):,.0f}"
            def ratio(place):
                ratios = [round[place] / round["default"] for round in rounds]
                return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})"
            print(f"| {operation} | {rate('default')} | {rate('external')} | {ratio('external')} | {rate('CloudHSM')} | {ratio('CloudHSM')} |",
                  flush=True)
        print("\n| 1,800 requests a second, open loop, 16 connections, external key | p50, p99, p99.9, max | server CPU per request |")
        print("| --- | --- | --- |")
        for operation in OPERATIONS:
            results = [self.kms_load(url, ours, operation, bodies["external"][operation], "--rate", 1800, "--connections", 16)
                       for _ in range(self.rounds)]
            show = ", ".join(f"{median(results, key) / 1000:.2f}" for key in ("p50_us", "p99_us", "p999_us", "max_us"))
            print(f"| {operation} | {show} ms | {median(results, 'cpu_us'):.0f} µs |", flush=True)
        self.stop(ours)
        configuration.write_text(text)

    def kms_slow_call(self):
        """One of the four sessions is always in a call that takes half a second: who waits?"""
        shim, control = self.folder / "softhsm-shim.so", self.folder / "faults"
        shutil.copy(self.shim, shim)
        configuration = self.folder / "holdfast.toml"
        text = configuration.read_text()
        module = next(line for line in text.splitlines() if line.startswith("module = "))
        real = module.split('"')[1]
        configuration.write_text(text.replace(module, f'module = "{shim}"'))
        (self.folder / "softhsm-shim.so.conf").write_text(
            f"PKCS11_SHIM_MODULE={real}\nPKCS11_SHIM_CONTROL={control}\nPKCS11_SHIM_COUNTS={self.folder / 'counts'}\n")
        control.write_text("")
        ours = self.start_holdfast()
        url = URLS["HTTP"][0]
        key_id = self.create_keys(ours, 1)[0]
        bodies = self.bodies(url, ours, key_id)
        before = self.kms_load(url, ours, "Encrypt", bodies["Encrypt"], "--rate", 500, "--connections", 16)
        (self.folder / "faults.new").write_text("C_GenerateRandom delay_ms=500\n")
        (self.folder / "faults.new").rename(control)
        path = self.folder / "slow"
        path.write_text(bodies["GenerateDataKey"][0] + "\n")
        slow = subprocess.Popen(
            [self.load_client, "--url", url, "--operation", "GenerateDataKey", "--bodies", path, "--connections", "1",
             "--seconds", str(self.seconds + 2)], env=self.env, stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        during = self.kms_load(url, ours, "Encrypt", bodies["Encrypt"], "--rate", 500, "--connections", 16)
        stalled = json.loads(slow.communicate()[0])
        show = lambda result: f"p50 {result['p50_us'] / 1000:.2f} ms, p99 {result['p99_us'] / 1000:.2f} ms, max {result['max_us'] / 1000:.2f} ms"
        print(f"- Encrypt, 500 a second: {show(before)}. While one session is always in a call of 500 ms"
              f" (those requests: p50 {stalled['p50_us'] / 1000:.0f} ms): {show(during)}.", flush=True)
        self.stop(ours)
        configuration.write_text(text)

    def run_key_stores(self):
        try:
            self.kms_custom_key_stores()
        finally:
            for process in self.processes:
                process.kill()

    def run_kms(self, keys):
        try:
            self.kms_against_floor()
            self.kms_custom_key_stores()
            self.kms_slow_call()
            self.kms_many_keys(keys)
        finally:
            for process in self.processes:
                process.kill()
