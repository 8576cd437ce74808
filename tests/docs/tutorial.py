"""Does a page as a reader would: its shell blocks one after the other in one shell, and compares what they print.

Usage: tutorial.py PAGE [--skip TAG]... [--port FROM=TO]...

A block of `sh` is run; it fails if a command in it does. The block of `text` behind it is what it prints, where `…`
stands for anything. Blocks with a tag (`sh,build`) that is to be skipped are not run.
"""

import argparse
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

SECONDS_MAX = 240
END = "end of the block 5f0c"
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def steps(page, ports):
    """Each command block: its tags, the commands, and what they print if that is shown; and the line it is on."""
    found = []
    for match in BLOCK.finditer(page):
        language, *tags = match[1].split(",")
        text = match[2]
        for old, new in ports:
            text = re.sub(rf"\b{old}\b", new, text)
        if language == "sh":
            found.append([tags, text, None, page.count("\n", 0, match.start()) + 1])
        elif language == "text":
            found[-1][2] = text
    return found


def is_as_shown(output, shown):
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


class Shell:
    def __init__(self):
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )
        self.send("set -eo pipefail\n")

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def run(self, commands, until):
        """What it prints; None in the second place if the shell has ended, or takes too long."""
        self.send(f"{commands}\necho '{END}'\n")
        output = b""
        while not output.endswith(f"{END}\n".encode()):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
            read = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not read:
                return output.decode(errors="replace"), False
            output += read
        return output.decode().removesuffix(f"{END}\n"), True

    def end(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        for _ in range(100):
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return
            self.process.poll()
            time.sleep(0.1)
        os.killpg(self.process.pid, signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=Path)
    parser.add_argument("--skip", action="append", default=[])
    parser.add_argument("--port", action="append", default=[])
    options = parser.parse_args()
    ports = [port.split("=") for port in options.port]
    until = time.monotonic() + SECONDS_MAX
    shell = Shell()
    try:
        for tags, commands, shown, line in steps(options.page.read_text(), ports):
            if set(tags) & set(options.skip):
                continue
            before = time.monotonic()
            output, is_well = shell.run(commands, until)
            print(f"line {line}: {time.monotonic() - before:.1f} s", flush=True)
            if not is_well:
                sys.exit(f"{options.page}:{line}: failed, or took too long:\n{commands}\nIt printed:\n{output}")
            if shown is not None and not is_as_shown(output, shown):
                sys.exit(f"{options.page}:{line}: printed\n{output}\nand not\n{shown}")
            if os.environ.get("TUTORIAL_SHOW"):
                print(output)
    finally:
        shell.end()


main()
