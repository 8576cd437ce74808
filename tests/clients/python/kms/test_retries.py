"""What clients do by themselves: trying again, many at once."""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from conftest import connect, new_key


class Flaky:
    """Passes connections on to the daemon, but for the first few, which it takes and drops after the request."""

    def __init__(self, dropped):
        self.dropped, self.seen = dropped, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        target = urlsplit(os.environ["HOLDFAST_KMS_HTTP"])
        self.target = (target.hostname, target.port)
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            self.seen += 1
            if self.seen <= self.dropped:
                client.recv(1 << 16)
                client.close()
                continue
            server = socket.create_connection(self.target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_a_lost_connection_is_tried_again(mode):
    flaky = Flaky(dropped=1)
    client = connect(endpoint_url=flaky.url, config=Config(retries={"mode": mode, "total_max_attempts": 3}))
    key_id = new_key(client)["KeyId"]
    blob = client.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    answer = client.decrypt(CiphertextBlob=blob)
    assert answer["Plaintext"] == b"x"
    assert flaky.seen >= 2


def test_mistakes_are_not_tried_again():
    client = connect(config=Config(retries={"mode": "standard", "total_max_attempts": 5}))
    with pytest.raises(client.exceptions.NotFoundException) as caught:
        client.describe_key(KeyId="00000000-0000-4000-8000-000000000000")
    assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 0


def test_many_at_once(kms, key_id):
    def round_trip(number):
        plaintext = str(number).encode()
        blob = kms.encrypt(KeyId=key_id, Plaintext=plaintext)["CiphertextBlob"]
        return kms.decrypt(CiphertextBlob=blob)["Plaintext"] == plaintext

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(round_trip, range(300)))


def test_changes_of_one_key_at_once(kms, key_id):
    tag = lambda number: kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": f"k{number}", "TagValue": ""}])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tag, range(40)))
    assert len(kms.list_resource_tags(KeyId=key_id, Limit=50)["Tags"]) == 40
