"""What it costs to have the PKCS#11 library in a worker process: `benches/run.py --only isolation`."""

import statistics

from run import PORT, Bench

PROCESS = PORT + 40
RATE = 500


class IsolationBench:
    """Two daemons alike but for `isolation`, each with a token of its own, loaded in turn."""

    def __init__(self, programs, seconds, rounds):
        self.rounds = rounds
        self.thread = Bench(programs, seconds, rounds)
        self.process = Bench(programs, seconds, rounds, PROCESS)
        configuration = self.process.folder / "holdfast.toml"
        text = configuration.read_text()
        # Of the HSM; the members of the cluster do nothing here.
        changed = text.replace("session_copies = true", 'session_copies = true\nisolation = "process"', 1)
        assert changed != text
        configuration.write_text(changed)

    def run_isolation(self):
        try:
            self.thread_against_process()
        finally:
            for process in self.thread.processes + self.process.processes:
                process.kill()

    def pairs(self, daemons, *arguments):
        thread, process = daemons
        return [(self.thread.load(PORT, thread, *arguments), self.process.load(PROCESS, process, *arguments))
                for _ in range(self.rounds)]

    def thread_against_process(self):
        daemons = self.thread.start_holdfast(), self.process.start_holdfast()
        print("| closed loop | thread, a second | process, a second | throughput, ratio (min–max) | CPU, ratio | p50 | p99 |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for operation in ("encrypt", "decrypt"):
            for connections in ("16", "64"):
                pairs = self.pairs(daemons, "--closed-loop", "--operation", operation, "--connections", connections)
                rate = [b["answered_per_second"] / a["answered_per_second"] for a, b in pairs]
                median = lambda side, key: statistics.median(pair[side][key] for pair in pairs)
                print(
                    f"| {operation}, {connections} connections | {median(0, 'answered_per_second'):,.0f}"
                    f" | {median(1, 'answered_per_second'):,.0f}"
                    f" | **{statistics.median(rate):.2f}** ({min(rate):.2f}–{max(rate):.2f})"
                    f" | {statistics.median(b['cpu_us'] / a['cpu_us'] for a, b in pairs):.2f}"
                    f" | {median(0, 'p50_us'):.0f} → {median(1, 'p50_us'):.0f} µs"
                    f" | {median(0, 'p99_us'):.0f} → {median(1, 'p99_us'):.0f} µs |",
                    flush=True,
                )
        for connections in ("1", "16"):
            pairs = self.pairs(daemons, "--rate", str(RATE), "--connections", connections)
            more = [b["p50_us"] - a["p50_us"] for a, b in pairs]
            print(
                f"- Open loop, {RATE} a second, {connections} connections: p50 {statistics.median(a['p50_us'] for a, _ in pairs):.0f} → "
                f"{statistics.median(b['p50_us'] for _, b in pairs):.0f} µs, **{statistics.median(more):+.0f} µs** ({min(more):+.0f} to {max(more):+.0f}).",
                flush=True,
            )
