"""The most used Python client against the simulator: run.py https://localhost:PORT http://127.0.0.1:PORT JWT_KEY

Prints a line per step and fails at the first that is not as it should be. The client speaks https only; the
caller sets REQUESTS_CA_BUNDLE to the simulator's ca.pem. Its login host ends in .salesforce.com whatever one
does, so the `domain` given here carries the whole address and a `#` that turns the rest into a fragment: the
client's own login code runs, unpatched.
"""

import csv
import io
import json
import sys
import tempfile
import urllib.parse
import urllib.request

from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceMalformedRequest, SalesforceOperationError

https, control, key_file = sys.argv[1], sys.argv[2] + "/control", sys.argv[3]
login = urllib.parse.urlparse(https).netloc + "/services/oauth2/token#"
client_id, secret = "3MVG9tether.demo", "tether-demo-secret"
step = 0


def ok(what):
    global step
    step += 1
    print(f"simple-salesforce {step}. {what}", flush=True)


def control_post(path, body):
    request = urllib.request.Request(control + path, json.dumps(body).encode(), method="POST")
    return json.load(urllib.request.urlopen(request))


sf = Salesforce(consumer_key=client_id, consumer_secret=secret, domain=login, version="62.0")
assert sf.session_id.startswith("00D"), sf.session_id
ok("logged in with client credentials")

try:
    Salesforce(consumer_key=client_id, consumer_secret="wrong", domain=login)
    raise SystemExit("a wrong secret was accepted")
except SalesforceAuthenticationFailed as error:
    assert error.code == "invalid_client" and "invalid client credentials" in str(error), error
ok("a wrong secret is refused")

jwt = Salesforce(
    username="restricted@acme.example", consumer_key=client_id, privatekey_file=key_file,
    instance_url=login, domain="login", version="62.0",
)
names = [o["name"] for o in jwt.describe()["sobjects"]]
assert "Account" in names and "Contract" not in names, names
ok("logged in with a signed JWT as the restricted user, who sees no contracts")

rows = sf.query_all("SELECT Id, Name, Website, Owner.Name FROM Account ORDER BY Id LIMIT 5000")
assert rows["totalSize"] == 5000 and rows["done"]
assert len({r["Id"] for r in rows["records"]}) == 5000
ok("read 5,000 accounts over several pages")

deleted = sf.query_all("SELECT Id, IsDeleted, MasterRecordId FROM Account WHERE IsDeleted = true", include_deleted=True)
assert deleted["totalSize"] > 1 and all(r["IsDeleted"] for r in deleted["records"])
assert any(r["MasterRecordId"] for r in deleted["records"])
ok(f"queryAll found {deleted['totalSize']} deleted accounts, some of them losers of a merge")

for name in ["Account", "Contact", "Opportunity", "Contract", "Case"]:
    describe = getattr(sf, name).describe()
    assert describe["name"] == name and len(describe["fields"]) > 30
    ok(f"described {name}: {len(describe['fields'])} fields")

one = rows["records"][3]["Id"]
record = sf.Account.get(one)
assert record["Id"] == one and record["attributes"]["type"] == "Account"
ok(f"read one account: {len(record)} keys")

children = sf.query("SELECT Id, (SELECT Id, LastName FROM Contacts) FROM Account ORDER BY Id LIMIT 1")
contacts = children["records"][0]["Contacts"]
assert contacts["totalSize"] > 2000 and not contacts["done"]
found, more = len(contacts["records"]), contacts
while not more["done"]:
    more = sf.query_more(more["nextRecordsUrl"], identifier_is_url=True)
    found += len(more["records"])
assert found == contacts["totalSize"]
ok(f"a child sub-query of {found} contacts, over its own pages")

try:
    sf.query("SELECT Id, Foo__c FROM Account")
    raise SystemExit("an unknown field was accepted")
except SalesforceMalformedRequest as error:
    assert error.content[0]["errorCode"] == "INVALID_FIELD", error
    assert "No such column 'Foo__c' on entity 'Account'" in error.content[0]["message"], error
ok("an unknown field is refused in Salesforce's words")

# Bulk 2.0: the client compares nothing with the header of a page, so it is done here.
soql = "SELECT Id, Name, BillingStreet, AnnualRevenue, IsPartner, CreatedDate, Owner.Name FROM Account"
truth = {r["Id"]: r for r in sf.query_all(soql)["records"]}
pages = list(sf.bulk2.Account.query(soql, max_records=2500, wait=0.1))
parsed = [list(csv.DictReader(io.StringIO(page, newline=""))) for page in pages]
assert [len(page) for page in parsed] == [2500, 2500, 1000], [len(page) for page in parsed]
for row in (row for page in parsed for row in page):
    right = truth.pop(row["Id"])
    assert row["Name"] == right["Name"] and row["Owner.Name"] == right["Owner"]["Name"], row
    assert row["BillingStreet"] == (right["BillingStreet"] or ""), row
    assert row["IsPartner"] == str(right["IsPartner"]).lower(), row
    assert row["CreatedDate"] == right["CreatedDate"].replace("+0000", "Z"), row
    assert row["AnnualRevenue"] == "" if right["AnnualRevenue"] is None else float(row["AnnualRevenue"]) == right["AnnualRevenue"]
assert not truth
ok("bulk2 query: 6,000 accounts over three pages, equal to REST")

with tempfile.TemporaryDirectory() as folder:
    files = sf.bulk2.Contact.download("SELECT Id, LastName FROM Contact", path=folder, max_records=5000, wait=0.1)
    rows = []
    for file in files:
        with open(file["file"], newline="", encoding="utf-8") as text:
            rows += list(csv.DictReader(text))
    assert sum(int(file["number_of_records"]) for file in files) == len(rows) == 8500, len(rows)
ok(f"bulk2 download: {len(rows)} contacts in {len(files)} files")

pages = sf.bulk2.Account.query_all("SELECT Id, IsDeleted, MasterRecordId FROM Account", wait=0.1)
rows = [row for page in pages for row in csv.DictReader(io.StringIO(page, newline=""))]
gone = {row["Id"] for row in rows if row["IsDeleted"] == "true"}
assert gone == {r["Id"] for r in deleted["records"]} and any(row["MasterRecordId"] for row in rows)
ok(f"bulk2 query_all: {len(gone)} deleted accounts, as by REST")

control_post("/jobs/script", {"then": "Failed", "errorMessage": "InternalServerError: retried more than 15 times"})
try:
    list(sf.bulk2.Account.query("SELECT Id FROM Account", wait=0.1))
    raise SystemExit("a failed job was taken for a complete one")
except SalesforceOperationError as error:
    assert "retried more than 15 times" in str(error), error
ok("a failed job tells why")

control_post("/sessions/expire", {})
old = sf.session_id
assert sf.query("SELECT COUNT() FROM Account")["totalSize"] >= 5000
assert sf.session_id != old
ok("the session was expired; the client logged in again by itself")

usage = sf.api_usage
assert usage["api-usage"].used > 0, usage
ok(f"read the API usage: {usage['api-usage']}")

assert json.load(urllib.request.urlopen(control + "/requests"))["writes"] == 0
ok("no write arrived")
