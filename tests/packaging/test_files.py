"""What is in deploy/: container, compose, Kubernetes, and the one configuration that all of them have."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ["kms", "xks-proxy"]
CONFIGURATION = (DEPLOY / "config/holdfast.toml").read_text()
PROVISIONED = Path(os.environ["HOLDFAST_PROVISIONED"])
CUSTOM = {"Kustomization", "Component", "ServiceMonitor", "PrometheusRule"}


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def files():
    return sorted(path for path in KUBERNETES.rglob("*.yaml"))


def parsed(overlay):
    """The resources of an overlay and of the base, as they are written."""
    folders = [KUBERNETES / "base", KUBERNETES / "overlays" / overlay]
    paths = [path for folder in folders for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"]
    return [document for path in paths for document in documents(path.read_text())]


def of_kind(resources, *kinds):
    return [resource for resource in resources if resource["kind"] in kinds]


def pod(overlay):
    (workload,) = of_kind(parsed(overlay), "Deployment", "StatefulSet")
    return workload["spec"]["template"]["spec"]


def container(overlay):
    (only,) = pod(overlay)["containers"]
    return only


def port(listen):
    return int(listen.rpartition(":")[2])


def ports(configuration):
    """What other machines reach, by name."""
    read = tomllib.loads(configuration)
    named = {"probes": port(read["admin"]["probe_listen"]), "metrics": port(read["admin"]["metrics_listen"])}
    named |= {listener["name"]: port(listener["listen"]) for listener in read["listener"]}
    return named | {listener["name"]: port(listener["listen"]) for listener in read.get("kms", {}).get("listener", [])}


def without_kms():
    return CONFIGURATION[: CONFIGURATION.index("# The KMS API, for the AWS CLI")]


class TestOneConfiguration:
    def test_the_daemon_finds_everything_right_in_it_and_what_it_names_is_what_provision_makes(self, tmp_path):
        shutil.copytree(PROVISIONED, tmp_path / "etc")
        for name, text in [("holdfast.toml", CONFIGURATION), ("proxy.toml", overlay_configuration("xks-proxy"))]:
            path = tmp_path / "etc" / name
            path.write_text(text)
            said = subprocess.run(
                [os.environ["HOLDFAST_BINARY"], "config", "check", "--config", path], capture_output=True, text=True
            )
            assert said.returncode == 0, said.stderr
            assert "is right: " in said.stdout

    def test_kubernetes_has_the_same(self):
        assert overlay_configuration("kms") == CONFIGURATION

    def test_proxies_that_are_several_have_it_without_the_kms_and_know_how_many_they_are(self):
        text = overlay_configuration("xks-proxy")
        assert text.startswith(without_kms())
        (workload,) = of_kind(parsed("xks-proxy"), "Deployment")
        assert tomllib.loads(text[len(without_kms()) :]) == {"health": {"fleet_size": workload["spec"]["replicas"]}}

    def test_compose_and_image_have_the_same(self):
        compose = documents((DEPLOY / "container/compose.yaml").read_text())[0]
        mounts = compose["services"]["holdfast"]["volumes"]
        assert "../config/holdfast.toml:/etc/holdfast/holdfast.toml:ro" in mounts


def overlay_configuration(overlay):
    return (KUBERNETES / "overlays" / overlay / "holdfast.toml").read_text()


class TestKubernetes:
    @pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(KUBERNETES)))
    def test_the_schema_of_kubernetes_knows_every_member(self, path):
        for document in documents(path.read_text()):
            if document["kind"] not in CUSTOM:
                kubernetes_validate.validate(document, "1.32", strict=True)

    @pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(KUBERNETES)))
    def test_every_file_is_named_by_its_kustomization(self, path):
        named = documents((path.parent / "kustomization.yaml").read_text())[0].get("resources", [])
        assert path.name == "kustomization.yaml" or path.name in named

    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_pods_keep_the_restricted_standard(self, overlay):
        (namespace,) = of_kind(parsed(overlay), "Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        assert pod(overlay)["securityContext"]["runAsNonRoot"] is True
        assert pod(overlay)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(overlay)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod(overlay)["automountServiceAccountToken"] is False

    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_ports_are_those_of_the_configuration(self, overlay):
        named = {port["name"]: port["containerPort"] for port in container(overlay)["ports"]}
        assert named == ports(overlay_configuration(overlay))
        for service in of_kind(parsed(overlay), "Service"):
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(named)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container(overlay)[probe]["httpGet"]["port"] == "probes"

    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_an_hsm_that_is_away_takes_a_pod_out_and_kills_none(self, overlay):
        paths = {name: container(overlay)[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe")}
        assert set(paths.values()) == {"/livez"}
        assert container(overlay)["readinessProbe"]["httpGet"]["path"] == "/readyz"

    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_a_pod_has_the_time_that_the_daemon_takes_to_end(self, overlay):
        waits = int(container(overlay)["lifecycle"]["preStop"]["exec"]["command"][-1])
        limits = tomllib.loads((ROOT / "src/config/default.toml").read_text())["limits"]
        assert pod(overlay)["terminationGracePeriodSeconds"] >= waits + limits["shutdown_timeout_seconds"] + 10

    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_selectors_find_our_pods_and_no_rule_about_others_has_our_label(self, overlay):
        ours = {"app.kubernetes.io/name": "holdfast"}
        resources = parsed(overlay)
        for resource in of_kind(resources, "Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert resource["spec"]["selector"]["matchLabels"] == ours
        for policy in of_kind(resources, "NetworkPolicy"):
            assert policy["spec"]["podSelector"]["matchLabels"] == ours
            # kustomize would add labels there if it was told to add them to selectors.
            assert "app.kubernetes.io/name: holdfast" not in yaml.safe_dump(policy["spec"].get("ingress"))

    def test_several_proxies_outlive_a_zone_a_node_and_a_change(self):
        (workload,) = of_kind(parsed("xks-proxy"), "Deployment")
        (budget,) = of_kind(parsed("xks-proxy"), "PodDisruptionBudget")
        assert workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert budget["spec"]["minAvailable"] == workload["spec"]["replicas"] - 1
        keys = {each["topologyKey"] for each in pod("xks-proxy")["topologySpreadConstraints"]}
        assert "topology.kubernetes.io/zone" in keys

    def test_what_writes_a_database_is_one_pod_whose_volume_is_kept(self):
        (workload,) = of_kind(parsed("kms"), "StatefulSet")
        assert workload["spec"]["replicas"] == 1
        assert set(workload["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}

    def test_a_pod_that_never_became_ready_is_replaced_by_a_corrected_one(self):
        (workload,) = of_kind(parsed("kms"), "StatefulSet")
        assert workload["spec"]["podManagementPolicy"] == "Parallel"

    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_secrets_are_files_and_none_is_here(self, overlay):
        assert "env" not in container(overlay) and "envFrom" not in container(overlay)
        assert not of_kind(parsed(overlay), "Secret")
        folder = KUBERNETES / "overlays" / overlay / "secrets"
        tracked = subprocess.run(["git", "-C", folder, "ls-files"], capture_output=True, text=True).stdout.split()
        assert set(tracked) <= {".gitignore", "README.md"}

    @pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not on this machine")
    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_kustomize_makes_resources_that_the_schema_knows(self, overlay, tmp_path):
        shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
        folder = tmp_path / "kubernetes/overlays" / overlay
        for name in ("pin", "credentials.toml", "accounts.toml", "tls/server.pem", "tls/server.key"):
            shutil.copy(PROVISIONED / name, folder / "secrets")
        made = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        resources = documents(made.stdout)
        for document in resources:
            kubernetes_validate.validate(document, "1.32", strict=True)
        (workload,) = of_kind(resources, "Deployment", "StatefulSet")
        there = {resource["metadata"]["name"] for resource in of_kind(resources, "ConfigMap", "Secret")}
        (volume,) = [each for each in workload["spec"]["template"]["spec"]["volumes"] if "projected" in each]
        named = {next(iter(source.values()))["name"] for source in volume["projected"]["sources"]}
        assert named == there
        policies = json.dumps(of_kind(resources, "NetworkPolicy"))
        assert '"app.kubernetes.io/name": "prometheus"' in policies


class TestMonitoring:
    """For the Prometheus Operator; `UPDATE_GOLDEN=1` writes its rules anew from deploy/prometheus."""

    def test_its_rules_are_those_of_prometheus(self):
        path = KUBERNETES / "components/monitoring/prometheus-rule.yaml"
        rules = [documents(file.read_text())[0]["groups"] for file in sorted((DEPLOY / "prometheus/rules").glob("*.yml"))]
        wanted = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "holdfast"},
            "spec": {"groups": [group for groups in rules for group in groups]},
        }
        if os.environ.get("UPDATE_GOLDEN"):
            head = "# From deploy/prometheus/rules: UPDATE_GOLDEN=1 tests/packaging/run.sh writes it anew.\n"
            path.write_text(head + yaml.safe_dump(wanted, sort_keys=False, width=120, allow_unicode=True))
        assert documents(path.read_text()) == [wanted]

    def test_the_job_has_the_name_that_the_rules_know(self):
        (monitor,) = documents((KUBERNETES / "components/monitoring/service-monitor.yaml").read_text())
        (service,) = documents((KUBERNETES / "base/metrics-service.yaml").read_text())
        labels = service["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert labels[monitor["spec"]["jobLabel"]] == "holdfast"
        assert 'job="holdfast"' in (DEPLOY / "prometheus/rules/operations.yml").read_text()


class TestContainer:
    stages = (DEPLOY / "container/Containerfile").read_text()

    def lines(self, tmp_path):
        parser = DockerfileParser(path=str(tmp_path))
        parser.content = self.stages
        return parser.structure, parser

    def test_it_runs_as_a_number_that_is_not_root_and_needs_no_shell(self, tmp_path):
        structure, _ = self.lines(tmp_path)
        last = {line["instruction"]: line["value"] for line in structure}
        assert last["USER"] == "10001:10001"
        assert last["ENTRYPOINT"] == '["/usr/bin/holdfast"]'
        for instruction in ("CMD", "ENTRYPOINT"):
            assert json.loads(last[instruction])
        assert json.loads(last["HEALTHCHECK"].partition("CMD")[2])[1] == "ready"

    def test_bases_are_pinned_by_name(self, tmp_path):
        _, parser = self.lines(tmp_path)
        bases = [image for image in parser.parent_images if "/" in image]
        assert bases and all(re.search(r":[0-9][\w.-]*$", image) for image in bases), bases

    def test_the_ports_are_those_of_the_configuration(self, tmp_path):
        structure, _ = self.lines(tmp_path)
        (exposed,) = [line["value"] for line in structure if line["instruction"] == "EXPOSE"]
        assert {int(number) for number in exposed.split()} == set(ports(CONFIGURATION).values())

    def test_everything_that_is_copied_is_there_and_in_the_context(self, tmp_path):
        structure, _ = self.lines(tmp_path)
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        allowed = [line[1:] for line in ignored if line.startswith("!")]
        assert all((ROOT / path).exists() for path in allowed), allowed
        for line in structure:
            words = [word for word in line["value"].split() if not word.startswith("--")]
            if line["instruction"] == "COPY" and "--from" not in line["value"] and words[0] != ".":
                for path in words[:-1]:
                    assert (ROOT / path).exists() and path.startswith(tuple(allowed)), path

    def test_rust_in_it_is_the_rust_that_the_crate_asks_for(self):
        wanted = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
        assert f"rust:{wanted}" in self.stages


class TestCompose:
    compose = documents((DEPLOY / "container/compose.yaml").read_text())[0]

    def test_ports_are_on_the_loopback_address(self):
        published = [port for service in self.compose["services"].values() for port in service.get("ports", [])]
        assert published and all(port.startswith("127.0.0.1:") for port in published), published

    def test_every_service_is_confined(self):
        for name, service in self.compose["services"].items():
            assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name

    def test_what_it_mounts_is_there(self):
        for service in self.compose["services"].values():
            for mount in service.get("volumes", []):
                source = mount.split(":")[0]
                path = (DEPLOY / "container" / source).resolve()
                assert source in self.compose["volumes"] or path.exists(), mount

    def test_prometheus_scrapes_the_port_that_the_configuration_opens(self):
        (groups,) = list(yaml.safe_load_all((DEPLOY / "container/targets.yml").read_text()))
        assert [group["targets"] for group in groups] == [[f"holdfast:{ports(CONFIGURATION)['metrics']}"]]
