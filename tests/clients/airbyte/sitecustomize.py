"""Sends requests for *.salesforce.com to the simulator: the client's login host cannot be changed."""

import os
import urllib.parse

SIM = os.environ.get("SIM_HTTP")
if SIM:
    import requests

    send = requests.Session.send

    def to_loopback(self, request, **options):
        parts = urllib.parse.urlsplit(request.url)
        if (parts.hostname or "").endswith(".salesforce.com"):
            sim = urllib.parse.urlsplit(SIM)
            request.url = urllib.parse.urlunsplit((sim.scheme, sim.netloc, parts.path, parts.query, ""))
        return send(self, request, **options)

    requests.Session.send = to_loopback
