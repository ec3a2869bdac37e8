"""Stand-ins for what a route leads to: pods that answer at once who they are and how the request was stamped."""

from __future__ import annotations

from typing import Any

from canari.launch.cluster_config import BENTO_PORT

_SERVER = """
import collections, http.server, json, os, signal, threading

seen = collections.Counter()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        stamp = self.headers.get("x-canari-arm", "")
        if self.path == "/seen":
            answer = seen
        else:
            seen[stamp] += 1
            answer = {"who": os.environ["WHO"], "stamp": stamp}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer.request_queue_size = 128
server = http.server.ThreadingHTTPServer(("", 3000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""


def echo(name: str, *, pre_stop_seconds: int = 5) -> list[dict[str, Any]]:
    """A Deployment and its Service, called `name`; the pods answer with it."""
    labels = {"app": name}
    container = {
        "name": "echo",
        "image": "python:3.11-slim",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _SERVER],
        "env": [{"name": "WHO", "value": name}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/seen", "port": BENTO_PORT}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": pre_stop_seconds}}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": pre_stop_seconds + 5,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    strategy = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": template, "strategy": strategy},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": BENTO_PORT}]},
        },
    ]
