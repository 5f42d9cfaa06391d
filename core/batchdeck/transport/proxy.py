"""Which proxy a request goes through: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` as everywhere."""

from __future__ import annotations

import ipaddress
from urllib.request import getproxies, proxy_bypass

from batchdeck.errors import TransportError


def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy's URL, None for a direct connection. A loopback address is never sent to a proxy.

    Raises ``TransportError`` for a proxy that cannot be used; going around it could be what nobody wants.
    """
    if is_loopback(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.lower().startswith(("http://", "https://")):
        kind = proxy.partition("://")[0][:20]
        raise TransportError(
            "connect",
            f"{kind} proxies are not supported; set {scheme.upper()}_PROXY to an http proxy or NO_PROXY to {host}",
        )
    return proxy


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
