"""What it costs to have the PKCS#11 library in a worker process: `benches/run.py --only isolation`."""

from two_daemons import TwoDaemons


def in_a_process(text):
    # Of the HSM; the members of the cluster do nothing here.
    return text.replace("session_copies = true", 'session_copies = true\nisolation = "process"', 1)


def isolation_bench(programs, seconds, rounds):
    return TwoDaemons(programs, seconds, rounds, ("thread", "process"), in_a_process)
