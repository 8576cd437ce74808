"""What authorization and the audit trail cost an Encrypt: `benches/run.py --only authorization`."""

import json
import statistics

from kms import PLAINTEXT, URLS, KmsBench, median

POLICY_BYTES_MAX = 32_768
GRANTS = 1_000
# A user without any policy.
GRANTEE = ("AKIAGRANTEEOFTHEBENCH", "a-secret-for-a-benchmark-on-loopback")


def long_policy(account):
    """Almost as long as a key policy may be: teams, each with its condition, a Deny for everyone, and the account last."""
    teams = []
    last = [
        {"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*",
         "Condition": {"StringEquals": {"kms:ViaService": "ec2.us-east-1.amazonaws.com"}}},
        {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "kms:*", "Resource": "*"},
    ]
    render = lambda: json.dumps({"Version": "2012-10-17", "Statement": teams + last}, separators=(",", ":"))
    while len(render()) < POLICY_BYTES_MAX - 500:
        number = len(teams)
        teams.append({
            "Sid": f"Team {number}", "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam::{account}:role/team-{number}", f"arn:aws:iam::{account}:user/head-{number}"]},
            "Action": ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"], "Resource": "*",
            "Condition": {"StringEquals": {"kms:EncryptionContext:team": str(number)}},
        })
    return render()


class AuthorizationBench(KmsBench):
    def run_authorization(self):
        try:
            self.long_policies()
            self.audit_trail()
        finally:
            for process in self.processes:
                process.kill()

    def create_key(self, url, process, policy=None):
        body = {"Policy": policy} if policy else {}
        return self.ask(url, process, "CreateKey", [json.dumps(body)])[0]["KeyMetadata"]["KeyId"]

    def encrypt(self, key):
        return [json.dumps({"KeyId": key, "Plaintext": PLAINTEXT, "EncryptionContext": {"department": "finance"}})]

    def long_policies(self):
        """Two keys of one daemon in turn: one with the default policy, one with the longest and a thousand grants."""
        account = self.env["HOLDFAST_ACCOUNT_ID"]
        with (self.folder / "accounts.toml").open("a") as identities:
            identities.write(f'\n[[user]]\naccount = "{account}"\nname = "grantee"\naccess_key = [{{ access_key_id = "{GRANTEE[0]}",'
                             f' secret_access_key = "{GRANTEE[1]}" }}]\n')
        ours = self.start_holdfast()
        url = URLS["HTTP"][0]
        plain, heavy = self.create_key(url, ours), self.create_key(url, ours, long_policy(account))
        grants = [{"KeyId": heavy, "GranteePrincipal": f"arn:aws:iam::{account}:user/grantee", "Operations": ["Encrypt"],
                   "Constraints": {"EncryptionContextEquals": {"department": f"{number}"}}} for number in range(GRANTS - 1)]
        grants.append({**grants[0], "Constraints": {"EncryptionContextEquals": {"department": "finance"}}})
        self.ask(url, ours, "CreateGrant", [json.dumps(grant) for grant in grants])
        own = dict(self.env)
        grantee = {**own, "AWS_ACCESS_KEY_ID": GRANTEE[0], "AWS_SECRET_ACCESS_KEY": GRANTEE[1]}
        cases = {
            "default policy": (own, self.encrypt(plain)),
            "policy of 32 KB, 1,000 grants, allowed by the policy": (own, self.encrypt(heavy)),
            "the same, allowed by one of the grants": (grantee, self.encrypt(heavy)),
        }
        rounds = []
        for _ in range(self.rounds):
            results = {}
            for name, (self.env, bodies) in cases.items():
                results[name] = self.kms_load(url, ours, "Encrypt", bodies, "--connections", 16)
            rounds.append(results)
        self.env = own
        self.stop(ours)
        print("| Encrypt, HTTP, 16 connections | a second | server CPU per request | more than the first (min–max) |")
        print("| --- | --- | --- | --- |")
        first = next(iter(cases))
        for name in cases:
            results = [results[name] for results in rounds]
            more = [results[name]["cpu_us"] - results[first]["cpu_us"] for results in rounds]
            print(f"| {name} | {median(results, 'answered_per_second'):,.0f} | {median(results, 'cpu_us'):.1f} µs"
                  f" | **{statistics.median(more):.1f} µs** ({min(more):.1f}–{max(more):.1f}) |", flush=True)

    def audit_trail(self):
        """The daemon with its trail and without, in turn; it starts anew each time."""
        configuration = self.folder / "holdfast.toml"
        text = configuration.read_text()
        url = URLS["HTTP"][0]
        rounds = {}
        for round in range(self.rounds):
            for enabled in (True, False) if round % 2 else (False, True):
                configuration.write_text(f"{text}\n[kms.audit]\nenabled = {str(enabled).lower()}\n")
                ours = self.start_holdfast()
                bodies = self.bodies(url, ours, self.create_key(url, ours))
                for operation, of in bodies.items():
                    self.kms_load(url, ours, operation, of, "--connections", 16, "--requests", 20_000)
                    result = self.kms_load(url, ours, operation, of, "--connections", 16)
                    rounds.setdefault((operation, enabled), []).append(result)
                self.stop(ours)
        configuration.write_text(text)
        print("\n| HTTP, 16 connections | without a trail, a second | with, a second | ratio (min–max) | CPU without | CPU with |")
        print("| --- | --- | --- | --- | --- | --- |")
        for operation in dict.fromkeys(operation for operation, _ in rounds):
            without, with_trail = rounds[operation, False], rounds[operation, True]
            ratios = [a["answered_per_second"] / b["answered_per_second"] for a, b in zip(with_trail, without)]
            print(f"| {operation} | {median(without, 'answered_per_second'):,.0f} | {median(with_trail, 'answered_per_second'):,.0f}"
                  f" | **{statistics.median(ratios):.3f}** ({min(ratios):.3f}–{max(ratios):.3f})"
                  f" | {median(without, 'cpu_us'):.1f} µs | {median(with_trail, 'cpu_us'):.1f} µs |", flush=True)
