"""Corrects the proxies that the environment names, so that the page can start.

This must run before Gradio is imported, because Gradio opens connections then, and also looks for the page on this
machine through a proxy. If httpx cannot use a proxy, both end in a traceback.
"""

import os
from urllib.request import getproxies

import httpx

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def settle() -> list[str]:
    """Changes this process's environment: connections to this machine bypass every proxy, `socks://` becomes
    `socks5://`, and proxies that httpx cannot use are left out. Returns a sentence for each of those.

    The proxies of the desktop's settings count if the environment names none; they are copied into the environment.
    """
    proxies = getproxies()
    notes = []
    for scheme in ("http", "https", "all"):
        address = proxies.get(scheme, "").replace("socks://", "socks5://", 1)
        if problem := address and why_unusable(address):
            notes.append(f"The proxy {scheme}_proxy is left out: {problem}.")
        if address:
            os.environ[f"{scheme}_proxy"] = "" if problem else address  # wins over a name in capitals
    if proxies:
        around = (proxies.get("no"), os.environ.get("GRADIO_SERVER_NAME"), *THIS_MACHINE)
        os.environ["no_proxy"] = ",".join(filter(None, around))
    return notes


def why_unusable(address: str) -> str:
    """Returns "" for a proxy that httpx can use, or the reason. The address may hold a password, so it is not
    repeated."""
    try:
        httpx.HTTPTransport(verify=False, proxy=address if "://" in address else f"http://{address}")
    except ImportError:
        return "for SOCKS the package socksio is needed (pip install socksio)"
    except ValueError:
        return "its address begins with none of http://, https://, socks5:// and socks5h://"
    return ""


NOTES = settle()
