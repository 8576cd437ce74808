"""What spans cost: `benches/run.py --only traces`. The collector is this process: it reads and forgets."""

import http.server
import threading

from two_daemons import TwoDaemons


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def run_traces(programs, seconds, rounds):
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    for share in ("0.01", "1.0"):
        traces = f'\n[traces]\nendpoint = "{endpoint}"\nsampled_share = {share}\n'
        print(f"\nOf all requests, {share} are kept:\n")
        TwoDaemons(programs, seconds, rounds, ("off", "on"), lambda text: text + traces).run()
    collector.shutdown()
