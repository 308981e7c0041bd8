"""How the program treats proxies in the environment. Every test of a running page also shows that the page starts
with them: see DEAD_PROXIES in page_support.py."""

import os
import re
import sys

import httpx
import pytest

from srgan.page import proxies


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the machine's own proxies, and undoes what a test sets."""
    monkeypatch.setattr(
        os, "environ", {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    )


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "https_proxy"])
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("socks5://user:secret@127.0.0.1:9", "socksio"),
        ("socks://127.0.0.1:9", "socksio"),
        ("socks4://127.0.0.1:9", "begins with"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_left_out_with_a_sentence(
    name: str, address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)  # as if it were not installed
    os.environ[name] = address
    [note] = proxies.settle()
    assert re.search(f"{name.lower()}.*left out.*{reason}", note) and "secret" not in note
    assert set(proxies.getproxies()) == {"no"}
    httpx.Client().close()  # as Gradio does on import


def test_socks_means_socks5_where_it_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "why_unusable", lambda _: "")
    os.environ |= {"ALL_PROXY": "socks://127.0.0.1:9", "https_proxy": "socks5h://127.0.0.1:9"}
    assert proxies.settle() == []
    found = proxies.getproxies()
    assert (found["all"], found["https"]) == ("socks5://127.0.0.1:9", "socks5h://127.0.0.1:9")


def test_connections_to_this_machine_pass_by_a_proxy_and_exceptions_are_kept() -> None:
    os.environ |= {"HTTP_PROXY": "127.0.0.1:9", "NO_PROXY": "intranet.example", "GRADIO_SERVER_NAME": "192.0.2.7"}
    assert proxies.settle() == []
    assert proxies.getproxies()["http"] == "127.0.0.1:9"
    around = proxies.getproxies()["no"].split(",")
    assert {"intranet.example", "192.0.2.7", "localhost", "127.0.0.1", "::1"} == set(around)


def test_the_proxies_of_a_desktop_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxies, "getproxies", lambda: {"https": "http://127.0.0.1:9", "ftp": "http://127.0.0.1:9"})
    proxies.settle()
    assert os.environ["https_proxy"] == "http://127.0.0.1:9" and "127.0.0.1" in os.environ["no_proxy"]


def test_without_proxies_nothing_is_changed() -> None:
    before = dict(os.environ)
    assert proxies.settle() == [] and os.environ == before
