"""What is said of deployment holds as far as it can be checked without containers."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

import app
from relabel.workspace import DATABASE_VARIABLE, REPOSITORY_ROOT, WORKSPACE_VARIABLE

DEPLOY = REPOSITORY_ROOT / "deploy"
GUIDE = (REPOSITORY_ROOT / "docs" / "team.md").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert set(content["volumes"]) == {"workspace", "database"}
    found: dict[str, Any] = content["services"]
    return found


def test_what_the_image_copies_and_installs_is_there():
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sources
    assert [one for one in sources if not (REPOSITORY_ROOT / one).exists()] == []
    # All that the wheel is made of.
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *(one.split("/")[0] for one in wheel["force-include"])}
    assert needed <= set(sources)
    assert set(re.findall(r"\.\[(\w+)\]", DOCKERFILE)) <= set(
        PROJECT["project"]["optional-dependencies"]
    )
    assert f"ENV {WORKSPACE_VARIABLE}=/data" in DOCKERFILE


def test_the_services_build_and_read_what_there_is(services: dict[str, Any]):
    built = services["app"]["build"]
    assert (DEPLOY / built["context"]).resolve() == REPOSITORY_ROOT
    assert (REPOSITORY_ROOT / built["dockerfile"]).is_file()
    assert set(services["app"]["environment"]) == {WORKSPACE_VARIABLE, DATABASE_VARIABLE}
    url = services["app"]["environment"][DATABASE_VARIABLE]
    own = services["database"]["environment"]
    expected = (
        f"postgresql://{own['POSTGRES_USER']}:{own['POSTGRES_PASSWORD']}"
        f"@database/{own['POSTGRES_DB']}"
    )
    assert url == expected
    assert services["app"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert "healthcheck" in services["database"]


def test_the_server_understands_its_options_and_is_reached_by_the_proxy_alone(
    services: dict[str, Any],
):
    name, *words = services["app"]["command"]
    assert name == "app"
    filled = [re.sub(r"\$\{\w+:\?.*\}", "https://labels.example.org", word) for word in words]
    read = app.start.make_context("app", filled, obj=None, resilient_parsing=False).params
    everywhere = "0.0.0.0"  # noqa: S104 - of the container, of which one port is passed on
    assert (read["address"], read["origin"]) == (everywhere, ("https://labels.example.org",))
    assert all(port.startswith("127.0.0.1:") for port in services["app"]["ports"])
    assert f":{app.DEFAULT_PORT}" in services["app"]["ports"][0]


def test_the_secrets_that_are_shown_are_those_that_are_read():
    (shown,) = re.findall(r"```toml\n(.*?)```", GUIDE, flags=re.DOTALL)
    section = tomllib.loads(shown)["auth"]
    assert set(section) == {
        "redirect_uri",
        "cookie_secret",
        "client_id",
        "client_secret",
        "server_metadata_url",
    }
    assert section["redirect_uri"].endswith("/oauth2callback")
    assert "tracin-relabel[team]" in GUIDE
    assert any("Authlib" in one for one in PROJECT["project"]["optional-dependencies"]["team"])
