"""The files of deploy/ match the server and each other: options, names, ports and metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

import front_requirements
import ray_serve
from pellucid.api.engine_status import EngineStatus
from pellucid.api.metrics import Metrics
from pellucid.cli.app import app
from pellucid.config import ENVIRONMENT_PREFIX, Settings
from pellucid.door.users import UserTotals
from pellucid.serving import serve
from pellucid.serving.assemble_front import check_front
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from support.servers.http_servers import ScriptedEngine, spoken

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
DEPLOY = ROOT / "deploy"
PORT = 8437
USER = 10001
"""The image's user."""

Json = dict[str, Any]


def documents(name: str) -> list[Json]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


COMPOSE: Json = documents("compose.yaml")[0]
SERVICES: dict[str, Json] = COMPOSE["services"]
ENGINES = {name: service for name, service in SERVICES.items() if service.get("entrypoint") == ["vllm", "serve"]}
KUBERNETES = {(one["kind"], one["metadata"]["name"]): one for one in documents("kubernetes.yaml")}
FRONT, VLLM = KUBERNETES["Deployment", "pellucid"]["spec"], KUBERNETES["StatefulSet", "vllm"]["spec"]
FRONT_POD, VLLM_POD = FRONT["template"]["spec"], VLLM["template"]["spec"]
FRONT_CONTAINER, VLLM_CONTAINER = FRONT_POD["containers"][0], VLLM_POD["containers"][0]
UNIT = (DEPLOY / "pellucid.service").read_text(encoding="utf-8")
IMAGE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
DASHBOARD: Json = json.loads((DEPLOY / "grafana_dashboard.json").read_text(encoding="utf-8"))


def unit_values(name: str) -> list[str]:
    """Return the values of a unit's setting."""
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"(PELLUCID_\w+)=(\S+)", IMAGE.partition("ENV ")[2]))


def kubernetes_environment(container: Json) -> dict[str, str]:
    """Return a container's variables, with a placeholder for secrets."""
    return {one["name"]: one.get("value", "from-a-secret") for one in container["env"]}


SERVERS: dict[str, tuple[list[str], dict[str, str]]] = {
    "compose": (SERVICES["front"]["command"], image_environment() | SERVICES["front"]["environment"]),
    "kubernetes": (FRONT_CONTAINER["args"], image_environment() | kubernetes_environment(FRONT_CONTAINER)),
    "systemd": (
        unit_values("ExecStart")[0].split()[2:],
        dict(value.split("=", 1) for value in unit_values("Environment")),
    ),
}
"""The arguments and the environment of each server."""


@pytest.fixture
def started(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings from a file's command, with a key file of two users."""
    arguments, environment = SERVERS[request.param]
    keys = tmp_path / "keys"
    keys.write_text("anna:key-of-anna\nprometheus:another\n")
    keys.chmod(0o600)
    found: list[Settings] = []
    monkeypatch.setattr(serve, "run", found.append)
    result = CliRunner().invoke(app, ["serve", *arguments], env=environment | {"PELLUCID_API_KEY_FILE": str(keys)})
    assert result.exit_code == 0, result.output
    return found[0]


@pytest.mark.parametrize("started", SERVERS, indirect=True)
def test_commands_and_variables(started: Settings) -> None:
    """The server accepts every option and variable, without contradictory settings."""
    started.check_user_limits()
    if started.has_engines_elsewhere:
        check_front(started)
        assert started.models == ("coder=/models/coder",)
    assert started.port == PORT


@pytest.mark.parametrize("name", SERVERS)
def test_variables_are_settings(name: str) -> None:
    """All of Pellucid's variables are known settings."""
    named = {
        variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        for variable in SERVERS[name][1]
        if variable.startswith(ENVIRONMENT_PREFIX)
    }
    assert named
    assert named <= set(Settings.model_fields)


def options(arguments: Sequence[str]) -> dict[str, str]:
    """Return vLLM's options with their values."""
    return {
        name: value
        for name, _, value in (argument.partition("=") for argument in arguments if argument.startswith("--"))
    }


@pytest.mark.parametrize("arguments", [*(one["command"] for one in ENGINES.values()), VLLM_CONTAINER["args"]])
def test_options_of_vllm(arguments: Sequence[str]) -> None:
    """Each engine has all options of the documented command and no undocumented options."""
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^vllm serve .*?[^\\]$", page, re.MULTILINE | re.DOTALL)
    wanted = re.findall(r"--[a-z-]+", command)
    given = options(arguments)

    assert set(wanted) <= set(given) <= set(re.findall(r"--[a-z-]+", page))
    assert (given["--served-model-name"], given["--max-logprobs"], given["--scheduling-policy"]) == (
        "coder",
        "200",
        "priority",
    )
    assert {f"--{name.replace('_', '-')}" for name in ray_serve.ENGINE_OPTIONS} == set(wanted) - {
        "--served-model-name",
        "--host",
        "--port",
    }


def test_compose_names_and_ports() -> None:
    """Front, engines, Prometheus and Grafana use matching names and ports."""
    command = SERVICES["front"]["command"]
    asked = [urlsplit(address) for option, address in pairwise(command) if option == "--engine"]
    assert {address.hostname: str(address.port) for address in asked} == {
        name: options(engine["command"])["--port"] for name, engine in ENGINES.items()
    }
    assert SERVICES["front"]["depends_on"] == [*ENGINES], "it does not wait until all of them are ready"
    assert all(
        f"127.0.0.1:{options(one['command'])['--port']}/health" in one["healthcheck"]["test"][-1]
        for one in ENGINES.values()
    )
    devices = [one["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for one in ENGINES.values()]
    assert devices == [["0"], ["1"]]

    (job,) = documents("prometheus.yaml")[0]["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert target == f"front:{PORT}"
    assert SERVICES["front"]["environment"]["PELLUCID_ALLOWED_HOSTS"] == "front"
    source = yaml.safe_load(COMPOSE["configs"]["datasource"]["content"])["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}


def test_compose_files() -> None:
    """Mounted files exist, except secrets, and the mounts match the paths in the settings."""
    mounts = {
        name: dict(part.split(":")[:2] for part in one.get("volumes", ()) if part.startswith("./"))
        for name, one in SERVICES.items()
    }
    files = [path for parts in mounts.values() for path in parts if not path.startswith("./secrets/")]
    assert files
    assert [path for path in files if not (DEPLOY / path).is_file()] == []
    assert SERVICES["front"]["environment"]["PELLUCID_API_KEY_FILE"] == f"{mounts['front']['./secrets/front']}/keys"
    folder = Path(mounts["prometheus"]["./prometheus.yaml"]).parent
    (job,) = documents("prometheus.yaml")[0]["scrape_configs"]
    assert (folder / job["authorization"]["credentials_file"]).parent == Path(
        mounts["prometheus"]["./secrets/prometheus"]
    )
    assert [folder / rule for rule in documents("prometheus.yaml")[0]["rule_files"]] == [
        Path(mounts["prometheus"]["./alerts.yaml"])
    ]
    provider = yaml.safe_load(COMPOSE["configs"]["dashboards"]["content"])["providers"][0]
    assert Path(mounts["grafana"]["./grafana_dashboard.json"]).parent == Path(provider["options"]["path"])


def test_secrets_stay_here() -> None:
    """The README's keys are neither committed nor sent to the image's build."""
    assert "mkdir -p secrets/front secrets/prometheus" in (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert [line for line in ignored if line.startswith("!deploy")] == ["!deploy/front_requirements.py"]


def test_compose_networks() -> None:
    """Only the front shares the engines' internal network, and ports are published on loopback."""
    assert COMPOSE["networks"]["engines"]["internal"] is True
    assert {tuple(one["networks"]) for one in ENGINES.values()} == {("engines",)}
    assert [name for name, one in SERVICES.items() if name not in ENGINES and "engines" in one.get("networks", ())] == [
        "front"
    ]
    published = [port for one in SERVICES.values() for port in one.get("ports", ())]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def pods() -> Iterator[tuple[Json, Json]]:
    """Yield each workload of the manifest with the container."""
    yield FRONT, FRONT_CONTAINER
    yield VLLM, VLLM_CONTAINER


def test_kubernetes_objects() -> None:
    """Only these kinds of objects exist, without secrets, in a common namespace."""
    assert {kind for kind, _ in KUBERNETES} == {
        *("Namespace", "ConfigMap", "Service", "Deployment", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"),
    }
    assert {one["metadata"].get("namespace", "pellucid") for one in KUBERNETES.values()} == {"pellucid"}
    assert (KUBERNETES["Service", "pellucid"]["spec"]["sessionAffinity"], FRONT["replicas"]) == ("ClientIP", 2)


def test_kubernetes_selectors() -> None:
    """Every selector chooses the workload's pods, and every budget is a single pod."""
    for (kind, name), one in KUBERNETES.items():
        labels = {"app": name}
        if kind in ("Deployment", "StatefulSet"):
            assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"] == labels
        elif kind == "Service":
            assert one["spec"]["selector"] == labels
        elif kind == "PodDisruptionBudget":
            assert one["spec"]["selector"]["matchLabels"] == labels
            assert one["spec"].get("minAvailable", one["spec"].get("maxUnavailable")) == 1


def test_kubernetes_names_and_ports() -> None:
    """Fronts know each engine's name in the headless service, and all ports agree."""
    service = KUBERNETES["Service", "vllm"]["spec"]
    ports = (VLLM_CONTAINER["ports"][0]["containerPort"], service["ports"][0]["port"])
    (port,) = {options(VLLM_CONTAINER["args"])["--port"], *map(str, ports)}
    assert (service["clusterIP"], VLLM["serviceName"]) == ("None", "vllm")
    listed = KUBERNETES["ConfigMap", "pellucid-engines"]["data"]["engines"].split()
    assert listed == [f"http://vllm-{number}.vllm:{port}" for number in range(VLLM["replicas"])]

    front = KUBERNETES["Service", "pellucid"]["spec"]
    assert {front["ports"][0]["port"], FRONT_CONTAINER["ports"][0]["containerPort"]} == {PORT}
    hosts = kubernetes_environment(FRONT_CONTAINER)["PELLUCID_ALLOWED_HOSTS"].split(",")
    assert {f"pellucid{domain}" for domain in ("", ".pellucid", ".pellucid.svc", ".pellucid.svc.cluster.local")} <= set(
        hosts
    )
    for _, container in pods():
        names = {one["name"] for one in container["ports"]}
        probes = [container[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert {(probe.get("httpGet") or probe["tcpSocket"])["port"] for probe in probes} == names
        assert {probe["httpGet"]["path"] for probe in probes if "httpGet" in probe} == {"/health"}
    assert all("tcpSocket" in FRONT_CONTAINER[probe] for probe in ("startupProbe", "livenessProbe")), (
        "a front that waits is not restarted"
    )
    assert all(one["ports"][0]["targetPort"] == "http" for one in (service, front))


def test_kubernetes_volumes() -> None:
    """Each mount has a volume, and keys and engines are mounted at the front's paths."""
    for workload, container in pods():
        volumes = {volume["name"] for volume in workload["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    mounts = {mount["name"]: mount["mountPath"] for mount in FRONT_CONTAINER["volumeMounts"]}
    environment = kubernetes_environment(FRONT_CONTAINER)
    assert environment["PELLUCID_API_KEY_FILE"] == f"{mounts['keys']}/keys"
    assert environment["PELLUCID_ENGINES_FILE"] == f"{mounts['engines']}/engines"
    secret = next(volume["secret"] for volume in FRONT_POD["volumes"] if volume["name"] == "keys")
    assert secret["defaultMode"] == 0o440
    assert image_environment()["PELLUCID_DATA"].startswith(mounts["state"])


def test_kubernetes_limits() -> None:
    """An engine has a GPU and slots for all fronts, and a front has time to finish answers."""
    assert VLLM_CONTAINER["resources"]["limits"]["nvidia.com/gpu"] == "1"
    environment = kubernetes_environment(FRONT_CONTAINER)
    assert int(environment["PELLUCID_ENGINE_SLOTS"]) * FRONT["replicas"] == int(
        options(VLLM_CONTAINER["args"])["--max-num-seqs"]
    )
    stopping = FRONT_CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"] + int(environment["PELLUCID_GRACE"])
    assert stopping < FRONT_POD["terminationGracePeriodSeconds"]


def test_kubernetes_rights() -> None:
    """Only fronts reach engines, engines reach no network, and a front has minimal rights."""
    policy = KUBERNETES["NetworkPolicy", "vllm"]["spec"]
    assert (policy["podSelector"], policy["policyTypes"], policy["egress"]) == (
        {"matchLabels": {"app": "vllm"}},
        ["Ingress", "Egress"],
        [],
    )
    (rule,) = policy["ingress"]
    assert rule == {
        "from": [{"podSelector": {"matchLabels": {"app": "pellucid"}}}],
        "ports": [{"protocol": "TCP", "port": 8000}],
    }
    pod, container = FRONT_POD["securityContext"], FRONT_CONTAINER["securityContext"]
    assert (pod["runAsNonRoot"], pod["runAsUser"], pod["fsGroup"]) == (True, USER, USER)
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    keys = [one for _, container in pods() for one in container["env"] if "valueFrom" in one]
    assert [one["name"] for one in keys] == ["PELLUCID_ENGINE_KEY", "VLLM_API_KEY"]
    assert (
        keys[0]["valueFrom"] == keys[1]["valueFrom"] == {"secretKeyRef": {"name": "pellucid-engine-key", "key": "key"}}
    )


def exported() -> dict[str, set[str]]:
    """Return every exported metric with labels."""
    metrics = Metrics()
    metrics.watch_models(lambda: {"m": ScriptedEngine().status("m")})
    metrics.watch_engines(lambda: [EngineStatus("http://e", "ready", None, "", (), {}, 0, 0, 0)])
    metrics.watch_users(lambda: {"anna": UserTotals()})
    metrics.count_request("/health", 200)
    metrics.count_suggestions("m", shown=1, accepted=1)
    with metrics.timer("m", lambda: 0.0) as timer:
        for item in (spoken("a"), spoken("b"), Finish(FinishReason.STOP, Usage())):
            timer.note(item)
    families = text_string_to_metric_families(bytes(metrics.response().body).decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def expressions() -> list[str]:
    """Return every query of the dashboard and of the alerts."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*panels, *(rule["expr"] for group in documents("alerts.yaml")[0]["groups"] for rule in group["rules"])]


@pytest.mark.parametrize("expression", expressions())
def test_metrics(expression: str) -> None:
    """Each metric and label in a query is exported by the server, and counters appear as rates."""
    known = exported()
    named = re.findall(r"(\w*)(pellucid_\w+)(?:\{([^}]*)\})?(\[)?", expression.replace("(", " "))
    assert named
    for _, metric, matchers, window in named:
        assert metric in known
        assert set(re.findall(r"(\w+)(?:=~?|!=)", matchers)) <= known[metric]
        assert bool(window) == metric.endswith(("_total", "_bucket"))
    labels = {label for found in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r",\s*", found)}
    assert labels <= {"instance"}.union(*(known[metric] for _, metric, _, _ in named))


def test_legends_and_summaries() -> None:
    """Each label in a legend or a summary is kept by the query."""
    texts = [(target["expr"], target["legendFormat"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = [rule for group in documents("alerts.yaml")[0]["groups"] for rule in group["rules"]]
    texts += [(rule["expr"], rule["annotations"]["summary"]) for rule in rules if "by (" in rule["expr"]]
    for expression, text in texts:
        kept = set(re.split(r"[,\s()]+", " ".join(re.findall(r"by \([^)]*\)", expression))))
        assert set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text)) <= kept, text


def test_dashboard_covers_what_matters() -> None:
    """The dashboard shows all important metrics, and panels do not overlap."""
    shown = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    for metric in (
        "time_to_first_token_seconds",
        "time_per_token_seconds",
        "engine_lost",
        "engine_waiting",
        "user_refused",
        "suggestions_shown",
        "suggestions_accepted",
        "requests",
        "tokens",
    ):
        assert re.search(rf"pellucid_{metric}(_total|_bucket)?\b", shown), metric
    assert 'kind="cached"' in shown
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})


@pytest.mark.process
def test_unit(tmp_path: Path) -> None:
    """The unit listens on loopback without rights or devices, and systemd finds no fault."""
    assert "--host 127.0.0.1" in unit_values("ExecStart")[0]
    wanted = {
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "PrivateDevices": "yes",
        "UMask": "0077",
        "User": "pellucid",
    }
    assert {name: unit_values(name) for name in wanted} == {name: [value] for name, value in wanted.items()}
    environment = SERVERS["systemd"][1]
    for variable, directory, root in (
        ("DATA", "StateDirectory", "/var/lib"),
        ("CACHE", "CacheDirectory", "/var/cache"),
    ):
        assert environment[f"PELLUCID_{variable}"] == f"{root}/{unit_values(directory)[0]}"
    if (systemd := shutil.which("systemd-analyze")) is not None:
        unit = tmp_path / "pellucid.service"
        # This path exists.
        unit.write_text(UNIT.replace("/opt/pellucid/bin/pellucid", sys.executable))
        found = subprocess.run([systemd, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
        assert (found.returncode, found.stderr) == (0, "")


def test_image() -> None:
    """The image copies existing files, installs no torch, and runs as the common user."""
    copied = [path for line in re.findall(r"^COPY (.*) \S+$", IMAGE, re.MULTILINE) for path in line.split()]
    assert {"pyproject.toml", "server", "deploy/front_requirements.py", "tools/kernels_in_wheel.py"} <= set(copied)
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert f"USER {USER}" in IMAGE
    assert f"--uid {USER}" in IMAGE
    assert image_environment()["PELLUCID_PORT"] == str(PORT)
    assert SERVICES["front"]["image"] == FRONT_CONTAINER["image"] == "pellucid-front"
    assert SERVICES["front"]["build"]["args"]["EXTRAS"] == "webui"


def test_requirements_of_a_front() -> None:
    """A front needs all requirements except torch and transformers, plus the named extras."""
    names = [re.split(r"\W*>=", one)[0] for one in front_requirements.front_requirements(ROOT / "pyproject.toml")]
    assert {"fastapi", "httpx", "tokenizers", "llguidance", "uvicorn"} <= set(names)
    assert {"torch", "transformers"} & set(names) == set()
    with_page = front_requirements.front_requirements(ROOT / "pyproject.toml", ["webui"])
    assert any(one.startswith("gradio") for one in with_page)


def stand_in(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


def test_ray_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Ray application has the documented options and the requested number of replicas."""
    assert "ray" not in sys.modules

    def keep(**values: Any) -> SimpleNamespace:
        return SimpleNamespace(**values)

    llm = stand_in("ray.serve.llm", LLMConfig=keep, LLMServingArgs=keep, build_openai_app=lambda arguments: arguments)
    modules = {"ray": stand_in("ray"), "ray.serve": stand_in("ray.serve"), "ray.serve.llm": llm}
    modules["ray.serve.config"] = stand_in("ray.serve.config", RequestRouterConfig=keep)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    (config,) = ray_serve.app({"folder": "/models/coder", "name": "coder", "replicas": "8"}).llm_configs

    assert config.model_loading_config == {"model_id": "coder", "model_source": "/models/coder"}
    assert config.engine_kwargs == ray_serve.ENGINE_OPTIONS
    deployment: Mapping[str, Any] = config.deployment_config
    assert (deployment["num_replicas"], deployment["max_ongoing_requests"]) == (8, 64)
    assert deployment["health_check_period_s"] == ray_serve.CHECK_SECONDS
    assert deployment["request_router_config"].request_router_class == ray_serve.ROUTER


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"folder": "x"}, "folder and name are needed"),
        ({"folder": "x", "name": "y", "replica": "2"}, "replica is unknown"),
    ],
)
def test_wrong_arguments_of_ray(arguments: dict[str, str], problem: str) -> None:
    """A wrong argument is named, with the right usage."""
    with pytest.raises(ValueError, match=f"{problem}: serve run ray_serve:app folder=FOLDER"):
        ray_serve.app(arguments)


def test_every_file_is_described() -> None:
    """The folder's page names exactly the folder's files."""
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    files = {path.name for path in DEPLOY.iterdir() if path.is_file()} - {"README.md"}
    assert set(re.findall(r"`([\w.]+)`", table)) == files
