"""HubSpot's own Python client against the simulator: run.py http://127.0.0.1:PORT

Prints a line per step and fails at the first that is not as it should be.
"""

import json
import sys
import urllib.parse
import urllib.request

from hubspot import Client
from hubspot.crm.associations.v4 import BatchInputPublicFetchAssociationsBatchRequest
from hubspot.crm.companies import ApiException, BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest
from hubspot.oauth import ApiException as OAuthException
from hubspot.utils.oauth import get_auth_url

sim = sys.argv[1]
step = 0


def ok(what):
    global step
    step += 1
    print(f"hubspot-python {step}. {what}", flush=True)


def control(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    return json.load(urllib.request.urlopen(urllib.request.Request(f"{sim}/control{path}", data)))


def truth(object_type):
    lines = urllib.request.urlopen(f"{sim}/control/truth?object={object_type}").read().decode().splitlines()
    return [json.loads(line) for line in lines]


app = {"client_id": "tether-demo-app", "redirect_uri": "http://localhost:9/callback"}
url = get_auth_url(scope=("oauth", "crm.objects.companies.read"), optional_scope=("tickets",), **app)
went = control("/oauth/approve?" + urllib.parse.urlencode({"url": url, "username": "restricted@acme.example"}))
client = Client.create(host=sim)
secret = "tether-demo-secret"
tokens = client.oauth.tokens_api.create(
    grant_type="authorization_code", code=went["code"], client_secret=secret, **app
)
assert tokens.expires_in == 1800, tokens
try:
    client.oauth.tokens_api.create(grant_type="authorization_code", code=went["code"], client_secret=secret, **app)
    raise SystemExit("a code was accepted twice")
except OAuthException as error:
    assert error.status == 400 and json.loads(error.body)["status"] == "BAD_AUTH_CODE", error
ok("logged in with a code, which is good once")

client = Client.create(host=sim, access_token=tokens.access_token)
try:
    client.crm.tickets.basic_api.get_page(limit=1)
    raise SystemExit("tickets were read without the scope")
except Exception as error:
    body = json.loads(error.body)
    assert error.status == 403 and body["category"] == "MISSING_SCOPES", error
    assert body["errors"][0]["context"]["requiredGranularScopes"] == ["tickets"], body
ok("an optional scope that the user may not grant is refused by its name")

private = Client.create(host=sim, access_token="pat-na1-11111111-2222-4333-8444-555555555555")
expected = truth("deals")
deals = private.crm.deals.get_all(properties=["amount", "closedate"])
assert [deal.id for deal in deals] == [row["id"] for row in expected]
assert all(deal.properties["amount"] == row["amount"] for deal, row in zip(deals, expected))
ok(f"a private app listed {len(deals)} deals")

contact = next(row for row in truth("contacts") if len(row["companies"]) > 1)
page = private.crm.contacts.basic_api.get_by_id(contact["id"], associations=["companies"])
ends = {one.id for one in page.associations["companies"].results}
assert ends == set(contact["companies"]), (ends, contact)
batch = BatchInputPublicFetchAssociationsBatchRequest(inputs=[{"id": contact["id"]}])
linked = private.crm.associations.v4.batch_api.get_page("contacts", "companies", batch)
assert {str(to.to_object_id) for to in linked.results[0].to} == set(contact["companies"]), linked
ok(f"a contact of {len(ends)} companies, inline and by batch")

companies = truth("companies")
search = PublicObjectSearchRequest(
    filter_groups=[{"filters": [{"propertyName": "numberofemployees", "operator": "BETWEEN", "value": "1000", "highValue": "2000"}]}],
    sorts=[{"propertyName": "numberofemployees", "direction": "DESCENDING"}], properties=["numberofemployees"], limit=100,
)
found = private.crm.companies.search_api.do_search(public_object_search_request=search)
inside = [row for row in companies if row["numberofemployees"] and 1000 <= int(row["numberofemployees"]) <= 2000]
assert found.total == len(inside) > 100, found.total
sizes = [int(row.properties["numberofemployees"]) for row in found.results]
assert sizes == sorted((int(row["numberofemployees"]) for row in inside), reverse=True)[:100]
ok(f"searched {found.total} companies by a range, sorted")

asked = BatchReadInputSimplePublicObjectId(
    inputs=[{"id": companies[0]["id"]}], properties=["sectors"], properties_with_history=[]
)
assert private.crm.companies.batch_api.read(asked).results[0].properties["sectors"] == companies[0]["sectors"]
properties = {one.name: one for one in private.crm.properties.core_api.get_all("companies").results}
assert properties["annualrevenue"].show_currency_symbol and properties["weighted_arr"].calculated
assert [option.hidden for option in properties["industry"].options if option.value == "TOBACCO"] == [True]
ok(f"read a batch, and {len(properties)} properties")

control("/limits", {"daily": 5, "dailyUsed": 5})
try:
    private.crm.companies.basic_api.get_page()
    raise SystemExit("the day's allowance has no end")
except ApiException as error:
    assert error.status == 429 and json.loads(error.body)["policyName"] == "DAILY", error
    assert error.headers["X-HubSpot-RateLimit-Daily-Remaining"] == "0", error.headers
ok("a day's allowance that is used up is refused in HubSpot's words")

assert control("/requests")["writes"] == 0
ok("no write arrived")
