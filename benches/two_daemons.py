"""Two daemons that differ in one thing of their configuration, each with a token of its own, loaded in turn."""

import statistics

from run import PORT, Bench

OTHER = PORT + 40
RATE = 500


class TwoDaemons:
    def __init__(self, programs, seconds, rounds, names, change):
        """`change` makes the configuration of the second out of the text of the first."""
        self.rounds, self.names = rounds, names
        self.benches = Bench(programs, seconds, rounds), Bench(programs, seconds, rounds, OTHER)
        configuration = self.benches[1].folder / "holdfast.toml"
        text = configuration.read_text()
        changed = change(text)
        assert changed != text
        configuration.write_text(changed)

    def run(self):
        try:
            self.daemons = [bench.start_holdfast() for bench in self.benches]
            self.closed_loop()
            self.open_loop()
        finally:
            for bench in self.benches:
                for process in bench.processes:
                    process.kill()

    def pairs(self, *arguments):
        loads = list(zip(self.benches, (PORT, OTHER), self.daemons))
        return [tuple(bench.load(port, daemon, *arguments) for bench, port, daemon in loads) for _ in range(self.rounds)]

    def closed_loop(self):
        one, other = self.names
        print(f"| closed loop | {one}, a second | {other}, a second | throughput, ratio (min–max) | CPU, ratio | p50 | p99 |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for operation in ("encrypt", "decrypt"):
            for connections in ("16", "64"):
                pairs = self.pairs("--closed-loop", "--operation", operation, "--connections", connections)
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

    def open_loop(self):
        for connections in ("1", "16"):
            pairs = self.pairs("--rate", str(RATE), "--connections", connections)
            more = [b["p50_us"] - a["p50_us"] for a, b in pairs]
            print(
                f"- Open loop, {RATE} a second, {connections} connections: p50 {statistics.median(a['p50_us'] for a, _ in pairs):.0f} → "
                f"{statistics.median(b['p50_us'] for _, b in pairs):.0f} µs, **{statistics.median(more):+.0f} µs** ({min(more):+.0f} to {max(more):+.0f}).",
                flush=True,
            )
