"""Signed requests to both faces of Holdfast, with nothing but the standard library."""

import hashlib
import hmac
import http.client
import json
import ssl
import time


class Signer:
    """An access key for one service."""

    def __init__(self, access_key_id, secret, service, region="us-east-1"):
        self.access_key_id, self.secret, self.service, self.region = access_key_id, secret, service, region

    def headers(self, host, path, headers, body, skew=0):
        """Signature Version 4, of a POST request; `skew`: how many seconds our clock is ahead."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + skew))
        headers = {"host": host, "x-amz-date": stamp, **headers}
        names = sorted(headers)
        lines = "".join(f"{name}:{headers[name]}\n" for name in names)
        digest = hashlib.sha256(body).hexdigest()
        request = "\n".join(["POST", path, "", lines, ";".join(names), digest])
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = ("AWS4" + self.secret).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        signed = f"Credential={self.access_key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        return {**headers, "authorization": f"AWS4-HMAC-SHA256 {signed}"}


class Face:
    """A connection that is kept; not for several threads."""

    def __init__(self, signer, port, ca_file=None, timeout=20):
        self.signer, self.port, self.timeout = signer, port, timeout
        self.tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
        if self.tls:
            # The faults of certificates are for Prometheus to notice.
            self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self.connection = None

    def post(self, path, headers, body, skew=0, is_signed=True):
        """Status and JSON; status 0 is no answer."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        host = f"localhost:{self.port}"
        if is_signed:
            headers = self.signer.headers(host, path, headers, body, skew)
        try:
            if self.connection is None:
                kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
                more = {"context": self.tls} if self.tls else {}
                self.connection = kind("localhost", self.port, timeout=self.timeout, **more)
            self.connection.request("POST", path, body=body, headers=headers)
            answer = self.connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else {}
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            return 0, {}

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class Kms(Face):
    def call(self, operation, **members):
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"TrentService.{operation}"}
        return self.post("/", headers, members)

    def ok(self, operation, **members):
        status, answer = self.call(operation, **members)
        assert status == 200, (operation, members, status, answer)
        return answer

    def stranger(self):
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService.ListKeys"}
        return self.post("/", headers, {}, is_signed=False)


class Sts(Face):
    def identity(self):
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self.post("/", headers, b"Action=GetCallerIdentity&Version=2011-06-15")[0]


class Xks(Face):
    prefix = "/quickstart"

    def encrypt(self, key="foo", skew=0, padding=0):
        metadata = {
            "awsPrincipalArn": "arn:aws:iam::123456789012:user/" + "u" * padding,
            "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/" + "k" * padding,
            "kmsOperation": "Encrypt",
            "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        }
        body = {"requestMetadata": metadata, "plaintext": "SGVsbG8=", "encryptionAlgorithm": "AES_GCM"}
        body["ciphertextDataIntegrityValueAlgorithm"] = "SHA_256"
        path = f"{self.prefix}/kms/xks/v1/keys/{key}/encrypt"
        return self.post(path, {"content-type": "application/json"}, body, skew)
