"""The configuration of a proxy that joins streams and datagrams to services."""

import json


def configuration(targets):
    """For {path: keys of the backend, and proxy_protocol of the route}. YAML, of which JSON is a part."""
    backends, routes = {}, []
    for number, (path, keys) in enumerate(targets.items()):
        keys = dict(keys)
        route = {"path": path, "backend": f"service{number}"}
        if "proxy_protocol" in keys:
            route["proxy_protocol"] = keys.pop("proxy_protocol")
        backends[route["backend"]] = {"kind": "bridge", **keys}
        routes.append(route)
    return f"backends: {json.dumps(backends)}\nroutes: {json.dumps(routes)}\n"


def choice(path, **addresses):
    """For a path of which the last segment is '{name}': {name: address}."""
    backends = {name: {"kind": "bridge", "addresses": address} for name, address in addresses.items()}
    routes = [{"path": path, "targets": {name: name for name in addresses}}]
    return f"backends: {json.dumps(backends)}\nroutes: {json.dumps(routes)}\n"
