"""Airbyte's source for Salesforce against the simulator: run.py http://127.0.0.1:PORT

It checks, discovers and reads two objects with their deleted rows, by REST and by Bulk 2.0, and then incrementally.
Prints a line per step and fails at the first that is not as it should be.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

sim = sys.argv[1]
app = {"client_id": "3MVG9tether.demo", "client_secret": "tether-demo-secret"}
callback = "http://localhost:9/callback"
folder = tempfile.mkdtemp()
step = 0


def ok(what):
    global step
    step += 1
    print(f"airbyte {step}. {what}", flush=True)


def control(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{sim}/control{path}", data)
    return json.load(urllib.request.urlopen(request))


def log_in():
    verifier = "v" * 64
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    asked = {
        "response_type": "code", "client_id": app["client_id"], "redirect_uri": callback, "state": "s",
        "scope": "api refresh_token id", "code_challenge": challenge, "code_challenge_method": "S256",
    }
    url = f"{sim}/services/oauth2/authorize?{urllib.parse.urlencode(asked)}"
    approved = control("/oauth/approve?" + urllib.parse.urlencode({"url": url, "username": "admin@acme.example"}))
    form = app | {
        "grant_type": "authorization_code", "code": approved["code"], "redirect_uri": callback, "code_verifier": verifier,
    }
    token = urllib.request.urlopen(f"{sim}/services/oauth2/token", urllib.parse.urlencode(form).encode())
    return json.load(token)["refresh_token"]


def write(name, content):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return path


def airbyte(command, config, *options):
    """Runs a command of the source; returns its messages by type."""
    program = "from source_salesforce.run import run; run()"
    arguments = [sys.executable, "-c", program, command, "--config", write("config.json", config), *options]
    here = os.path.dirname(os.path.abspath(__file__))
    environment = dict(os.environ, SIM_HTTP=sim, PYTHONPATH=here)
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300)
    messages = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        messages.setdefault(message["type"], []).append(message)
    errors = [m for m in messages.get("TRACE", []) if m["trace"]["type"] == "ERROR"]
    assert done.returncode == 0 and not errors, (errors[:1], done.stderr[-2000:])
    return messages


def truth(name):
    rows = urllib.request.urlopen(f"{sim}/control/truth?object={name}&deleted=true&fields=Id,Name,IsDeleted,CreatedDate")
    return {row["Id"]: row for row in map(json.loads, rows.read().decode().splitlines())}


def rows(messages, name):
    found = [m["record"]["data"] for m in messages.get("RECORD", []) if m["record"]["stream"] == name]
    return {row["Id"]: row for row in found}


def check_rows(messages, name):
    found, right = rows(messages, name), truth(name)
    assert found.keys() == right.keys(), (len(found), len(right))
    for row_id, row in found.items():
        # From Bulk, the client reads a line break as one character.
        name = right[row_id]["Name"].replace("\r\n", "\n")
        assert (row["Name"].replace("\r\n", "\n"), row["IsDeleted"]) == (name, right[row_id]["IsDeleted"]), row
        assert row["CreatedDate"][:19] == right[row_id]["CreatedDate"][:19], row_id
    return len(found)


config = app | {
    "refresh_token": log_in(), "start_date": "2020-01-01T00:00:00Z", "auth_type": "Client", "stream_slice_step": "P900D",
}
status = airbyte("check", config)["CONNECTION_STATUS"][0]["connectionStatus"]
assert status["status"] == "SUCCEEDED", status
ok("checked the connection")

streams = airbyte("discover", config)["CATALOG"][0]["catalog"]["streams"]
names = {stream["name"] for stream in streams}
assert {"Account", "Contact", "Opportunity", "Contract", "Case"} <= names, names
ok(f"discovered {len(names)} streams")

chosen = [
    {"stream": s, "sync_mode": "incremental", "destination_sync_mode": "append_dedup", "cursor_field": ["SystemModstamp"]}
    for s in streams if s["name"] in ("Account", "Contact")
]
catalog = write("catalog.json", {"streams": chosen})
for api, bulk in [("REST", False), ("Bulk", True)]:
    config["force_use_bulk_api"] = bulk
    before = control("/requests")["counts"].get("bulk_results", 0)
    messages = airbyte("read", config, "--catalog", catalog)
    accounts, contacts = check_rows(messages, "Account"), check_rows(messages, "Contact")
    assert (control("/requests")["counts"].get("bulk_results", 0) > before) == bulk
    ok(f"read {accounts} accounts and {contacts} contacts by {api}, equal to the truth")
    state = [m["state"] for m in messages["STATE"]]
    latest = {s["stream"]["stream_descriptor"]["name"]: s for s in state}
    saved = write("state.json", list(latest.values()))
    changed = list(rows(messages, "Account"))[3:5]
    control("/records/update", {"id": changed[0], "fields": {"Name": f"changed for {api}"}})
    control("/records/delete", {"id": changed[1], "cascade": False})
    messages = airbyte("read", config, "--catalog", catalog, "--state", saved)
    found = rows(messages, "Account")
    assert set(changed) <= found.keys() and len(found) < accounts / 10, len(found)
    assert found[changed[0]]["Name"] == f"changed for {api}" and found[changed[1]]["IsDeleted"], found
    ok(f"read the changes since by {api}: {len(found)} accounts, a deleted one among them")

assert control("/requests")["writes"] == 0
ok("no write arrived")
