"""Who is told of alerts, played by one pod: Discord's Slack-like address, any webhook, and a mail server.

This file runs in the pod as it is: it imports the standard library alone.
"""

from __future__ import annotations

import email
import email.policy
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

HTTP, SMTP = 8080, 2525
TOLD: list[dict[str, Any]] = []


class Web(BaseHTTPRequestHandler):
    """`POST /api/webhooks/ID/TOKEN/slack` and `/hook` keep what they get, `GET /told` tells all that was kept."""

    def do_GET(self) -> None:
        self._answer(200, json.dumps(TOLD))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/hook":
            TOLD.append({"way": "webhook", "body": body})
            self._answer(200, "")
        elif self.path == "/api/webhooks/1/the-secret/slack":
            [attachment] = body["attachments"]
            # Discord's own limits of an embed.
            fits = 0 < len(attachment["title"]) <= 256 and 0 < len(attachment["text"]) <= 4096
            if fits:
                TOLD.append({"way": "discord", "title": attachment["title"], "text": attachment["text"]})
            self._answer(200 if fits else 400, "ok")
        else:
            self._answer(404, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
        """What was told is kept instead."""


class Mail(StreamRequestHandler):
    """As much of RFC 5321 as a sender needs; mail to `refused@...` is not taken."""

    def handle(self) -> None:
        self._say("220 ready")
        recipients: list[str] = []
        for line in self._lines():
            word, _, rest = line.upper().partition(" ")
            if word == "EHLO":
                self._say("250-receiver\r\n250 8BITMIME")
            elif word == "RCPT" and "REFUSED@" in rest:
                self._say("550 nobody of that name")
            elif word == "DATA":
                self._say("354 go on")
                self._take(recipients)
                recipients = []
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                if word == "RCPT":
                    recipients.append(line.partition("<")[2].partition(">")[0])
                self._say("250 well")

    def _take(self, recipients: list[str]) -> None:
        text = "\r\n".join(line.removeprefix(".") for line in iter(self._line, "."))
        message = email.message_from_string(text, policy=email.policy.default)
        body = message.get_body(("plain",))
        assert body is not None
        TOLD.append({"way": "mail", "to": recipients, "title": message["Subject"], "text": body.get_content()})
        self._say("250 taken")

    def _lines(self) -> Iterator[str]:
        return iter(self._line, "")

    def _line(self) -> str:
        return self.rfile.readline().decode().rstrip("\r\n")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def manifests() -> list[dict[str, Any]]:
    """A pod called `receiver` that runs this file, and its Service."""
    about = {"name": "receiver", "labels": {"app": "receiver"}}
    container = {
        "name": "receiver",
        "image": "python:3.11-slim",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/code/receiver.py"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/told", "port": HTTP}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "code", "configMap": {"name": "receiver"}}],
    }
    ports = [{"name": "http", "port": HTTP}, {"name": "smtp", "port": SMTP}]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": about,
            "data": {"receiver.py": Path(__file__).read_text()},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {"selector": about["labels"], "ports": ports},
        },
    ]


if __name__ == "__main__":
    Thread(target=ThreadingTCPServer(("", SMTP), Mail).serve_forever).start()
    ThreadingHTTPServer(("", HTTP), Web).serve_forever()
