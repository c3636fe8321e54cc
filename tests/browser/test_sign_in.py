"""Signing in at a provider of OpenID Connect, in a browser, and deciding as who signed in."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from relabel.db.decisions.history import fetch_history
from relabel.db.engine import open_database
from relabel.db.projects import list_projects
from scripts.serving import Server, free_port
from tests.browser.oidc_provider import CLIENT, SECRET, Provider, run_provider
from tests.browser.presses import wait_for_example, wait_until_answered
from tests.browser.shared_project import build_shared_project
from tests.preloaded import Preloaded

pytestmark = pytest.mark.browser
CLAIMS = {"sub": "17", "email": "Ann@example.org", "email_verified": True, "name": "Ann"}


def write_secrets(home: Path, port: int, provider: Provider) -> None:
    (home / ".streamlit").mkdir(parents=True)
    (home / ".streamlit" / "secrets.toml").write_text(
        f"""
[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "thirty-two characters of a test, no more"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
server_metadata_url = "{provider.issuer}/.well-known/openid-configuration"
""",
        encoding="utf-8",
    )


def test_who_signs_in_decides_under_that_account_and_nobody_else_sees_anything(
    context: BrowserContext, tmp_path: Path, preloaded: Preloaded
):
    workspace, port = build_shared_project(tmp_path / "workspace"), free_port()

    def launch(words, environment, log):
        return preloaded.launch(words, environment | {"HOME": str(tmp_path / "home")}, log)

    with run_provider(CLAIMS) as provider:
        write_secrets(tmp_path / "home", port, provider)
        with Server(workspace, port, launch=launch) as server:
            page = context.new_page()
            page.goto(f"{server.url}/review")
            expect(page.get_by_role("button", name="Sign in")).to_be_visible()
            assert page.get_by_text("Pets").count() == 0
            assert page.request.get(f"{server.url}/thumb/1").status == 401
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_text("Signed in as Ann@example.org")).to_be_visible()
            assert page.get_by_label("Reviewer").count() == 0
            page.goto(f"{server.url}/review")
            shown = wait_for_example(page)
            page.wait_for_timeout(100)
            page.keyboard.press("k")
            wait_for_example(page, other_than=shown)
            wait_until_answered(page)
            # A text has no picture, which is an answer.
            assert page.request.get(f"{server.url}/thumb/1").status == 404
            # The page says "Sign in" before the browser has given its cookie back.
            with page.expect_response(f"{server.url}/auth/logout*"):
                page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_role("button", name="Sign in")).to_be_visible()
            assert page.request.get(f"{server.url}/thumb/1").status == 401
    engine = open_database(f"sqlite:///{workspace / 'tracin.db'}")
    try:
        (project,) = list_projects(engine)
        (made,) = fetch_history(engine, project.id).rows
    finally:
        engine.dispose()
    assert (made.reviewer, made.identity_source, made.example_id) == (
        "Ann@example.org",
        "oidc",
        shown,
    )
