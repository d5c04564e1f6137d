"""Two groups and their integrations, guide by guide: shares, receivers, search, edits, deletes, five per account.

Needs a server that knows the groups acme and globex (`serve --dev` does) and reaches the simulated Salesforce, which
also plays the person who clicks "Allow". Takes from the environment TETHER (the address, 127.0.0.1:7443) and three
tokens: ANN, an administrator of acme, GIL, one of globex, and PLATFORM, the service identity. Neither group may have
integrations before; none is left behind. Lines are cut at WIDTH characters, 200 if not given. The stubs come from
`./generate`.
"""

import csv
import io
import json
import os
import re
import sys
import urllib.parse
import urllib.request
from decimal import Decimal

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "generated"))

import grpc
import pyarrow
import pyarrow.compute
import pyarrow.ipc
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tether.v1 import (
    company_service_pb2 as companies,
    company_service_pb2_grpc,
    company_pb2,
    field_pb2,
    group_service_pb2 as groups,
    group_service_pb2_grpc,
    integration_pb2,
    integration_service_pb2 as integrations,
    integration_service_pb2_grpc,
    share_pb2,
    sync_pb2,
)

Integration = integration_pb2.Integration
Sync = sync_pb2.Sync
Access = integrations.DeleteIntegrationResponse.Access
ADMIN = "admin@acme.example"
SALES = ["Account.Name", "Account.Industry", "Account.AnnualRevenue", "Opportunity.Name", "Opportunity.StageName"]
SERVICE = ["Account.Name", "Case.Subject", "Case.Status"]


def short(text: str, most: int = int(os.environ.get("WIDTH", "200"))) -> str:
    text = re.sub(r"((?:integrations|companies|syncs)/)[0-9a-f-]{30}([0-9a-f]{6})", r"\1…\2", text)
    return text if len(text) <= most else text[: most - 1] + "…"


def say(text: str) -> None:
    print("     ", short(text))


def check(expected, got) -> None:
    if got != expected:
        raise SystemExit(f"a surprise: expected {expected!r}, got {got!r}")


class Refused(Exception):
    """A refusal: the gRPC code, the reason and its metadata, which a program decides by, and what goes with it."""

    def __init__(self, error: grpc.RpcError):
        super().__init__(error.details())
        self.code, self.reason, self.metadata, self.violations = error.code().name, "", {}, []
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            info, quota = error_details_pb2.ErrorInfo(), error_details_pb2.QuotaFailure()
            if detail.Unpack(info) and info.domain == "tether":
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(quota):
                self.violations = [(one.subject, one.description) for one in quota.violations]


class Person:
    """Somebody with a token. `person.SomeRpc(field=…)` calls it, prints the request, and answers."""

    def __init__(self, channel: grpc.Channel, who: str, group: str):
        self.who, self.group = who, group
        self.metadata = [("authorization", "Bearer " + os.environ[who.upper()])]
        self.services = [
            (integrations, integration_service_pb2_grpc.IntegrationServiceStub(channel)),
            (companies, company_service_pb2_grpc.CompanyServiceStub(channel)),
            (groups, group_service_pb2_grpc.GroupServiceStub(channel)),
        ]

    def __getattr__(self, rpc: str):
        for module, stub in self.services:
            if hasattr(stub, rpc):
                return lambda **fields: self.call(getattr(stub, rpc), rpc, getattr(module, rpc + "Request")(**fields))
        raise AttributeError(rpc)

    def call(self, method, rpc: str, request):
        asked = json.dumps(json_format.MessageToDict(request, preserving_proto_field_name=True), ensure_ascii=False)
        asked = re.sub(r'("(?:state|code)"): "[^"]*"', r'\1: "…"', asked)  # a login's, for nobody else to see
        print("  ", short(f"{self.who}: {rpc} {asked}".replace('\\"', '"')))
        try:
            return method(request, metadata=self.metadata, timeout=35)
        except grpc.RpcError as error:
            raise Refused(error) from None

    def refused(self, code: str, reason: str, rpc: str, **fields) -> Refused:
        """A call that must be refused."""
        try:
            answer = getattr(self, rpc)(**fields)
        except Refused as no:
            say(f"{no.code} {no.reason}: {no}")
            check((code, reason), (no.code, no.reason))
            return no
        raise SystemExit(f"a surprise: {rpc} should have been refused, and answered {answer}")

    # Calls that are used repeatedly.

    def draft(self, display_name: str) -> str:
        wanted = Integration(display_name=display_name, connector="connectors/salesforce")
        made = self.CreateIntegration(parent=self.group, integration=wanted)
        say(f"{made.name}: {Integration.DraftStep.Name(made.draft_step)}")
        return made.name

    def callback(self, name: str, username: str = ADMIN) -> dict:
        """The browser's round trip: what it comes back with."""
        begun = self.BeginAuthorization(name=name, redirect_uri="http://127.0.0.1:9/callback")
        at = urllib.parse.urlsplit(begun.authorization_uri)
        query = urllib.parse.urlencode({"url": begun.authorization_uri, "username": username})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{at.scheme}://{at.netloc}/control/oauth/approve?{query}", timeout=10) as answer:
            back = urllib.parse.urlsplit(json.load(answer)["redirectUrl"]).query
        parameters = dict(urllib.parse.parse_qsl(back))
        return {"state": parameters.pop("state"), "callback_parameters": parameters}

    def log_in(self, name: str) -> None:
        account = self.CompleteAuthorization(**self.callback(name)).integration.account
        say(f"{account.username} of {account.organization_name}: {account.active_integration_count} of "
            f"{account.active_integration_limit} places taken")

    def select(self, name: str, fields: list[str]) -> None:
        changed = self.UpdateIntegration(integration=Integration(name=name, selected_fields=fields))
        say(f"{changed.field_counts.selected} fields selected")

    def save(self, name: str) -> company_pb2.SourcePosition:
        """Saves a draft and waits for its first sync; answers how far the search must have come to show it."""
        return self.ended(self.ActivateIntegration(name=name).sync.name)

    def ended(self, name: str) -> company_pb2.SourcePosition:
        try:
            for message in self.WatchSync(name=name):
                now, position = message.sync, message.position
        except grpc.RpcError as error:
            raise Refused(error) from None
        say(f"{Sync.Mode.Name(now.mode)} {Sync.State.Name(now.state)}: {now.totals.read} read, "
            f"{now.totals.written} written")
        check(Sync.STATE_SUCCEEDED, now.state)
        check((name.partition("/syncs/")[0], now.change_number), (position.integration, position.change_number))
        return position

    def integration(self, display_name: str, fields: list[str]) -> tuple[str, company_pb2.SourcePosition]:
        name = self.draft(display_name)
        self.log_in(name)
        self.select(name, fields)
        return name, self.save(name)

    def fields(self, name: str) -> dict[str, bool]:
        """The fields with whether they are active for the asking group."""
        found = {
            f"{one.definition.object}.{one.definition.key}": one.activation == field_pb2.FIELD_ACTIVATION_ACTIVE
            for one in self.ListFields(parent=name).fields
        }
        say(", ".join(f"{key} ({'active' if active else 'passive'})" for key, active in found.items()) or "none")
        return found

    def table(self, **asked) -> list:
        answer = self.ListCompanies(parent=self.group, show_total_size=True, **{"page_size": 1000, **asked})
        rows = [one.display_name for one in answer.companies]
        say(f"{answer.total_size} companies" + (": " + ", ".join(rows) if rows else ""))
        return list(answer.companies)

    def labels(self) -> list[str]:
        sources = self.ListSources(parent=self.group).sources
        for one in sources:
            say(f"{one.label}: {one.display_name} of {one.group_display_name}, "
                f"{Integration.Relation.Name(one.relation)}, {one.company_count} companies, "
                f"{one.active_field_count} active fields")
        if not sources:
            say("none")
        return [one.label for one in sources]

    def delete(self, name: str) -> integrations.DeleteIntegrationResponse:
        gone = self.DeleteIntegration(name=name)
        say(f"{Access.Name(gone.access)}; {gone.affected_group_count} groups affected, "
            f"{gone.company_record_count} company records")
        return gone


def guide_5(ann: Person, platform: Person) -> tuple[str, str, list]:
    print("\n5  The Connect step: search groups, share some fields, share all active ones")
    sales = ann.draft("Acme Sales")
    ann.log_in(sales)
    ann.select(sales, SALES)
    found = ann.SearchShareableGroups(parent=ann.group, query="part", integration=sales).groups
    say(f"{len(found)} groups: only those connected with one's own are found")
    check([], list(found))
    platform.ConnectGroups(group="groups/acme", other_group="groups/globex")
    found = ann.SearchShareableGroups(parent=ann.group, query="part", integration=sales).groups
    say(", ".join(f"{one.group}: {one.display_name}, shared: {one.shared}" for one in found))
    check([("groups/globex", False)], [(one.group, one.shared) for one in found])

    some = ["Account.AnnualRevenue", "Account.Industry", "Opportunity.StageName"]
    share = ann.SetShare(share=share_pb2.Share(name=f"{sales}/shares/globex", fields=some))
    say(f"{share.group_display_name} will get {share.shared_field_count} fields; effective: {share.effective}")
    check((3, False), (share.shared_field_count, share.effective))
    review = ann.ReviewIntegration(name=sales)
    access = [(one.display_name, one.field_count) for one in review.groups_with_access]
    say(f"{review.field_counts.selected} fields, at most {review.company_record_count} companies, access: {access}")
    check([("Acme Research", 5), ("Globex Partners", 3)], access)
    sales_at = ann.save(sales)

    service, service_at = ann.integration("Acme Service", SERVICE)
    share = ann.SetShare(share=share_pb2.Share(name=f"{service}/shares/globex", all_active_fields=True))
    say(f"{share.group_display_name} gets {share.shared_field_count} fields; effective: {share.effective}, "
        f"connected: {share.connected}")
    check((3, True, True), (share.shared_field_count, share.effective, share.connected))
    return sales, service, [sales_at, service_at]


def guide_8(ann: Person, gil: Person, sales: str, positions: list) -> None:
    print("\n8  The receiver: already connected, Manage, active and passive, disconnect and reconnect, no edits")
    listed = gil.ListIntegrations(parent=gil.group).integrations
    for one in listed:
        say(f"{one.display_name} from {one.group_display_name}: {Integration.Relation.Name(one.relation)}, "
            f"connected: {one.connected}")
        check((Integration.RELATION_RECEIVED, True), (one.relation, one.connected))
    check(["Acme Service", "Acme Sales"], [one.display_name for one in listed])
    managed = gil.GetIntegration(name=sales)
    say(f"{managed.account.organization_name}, {managed.field_counts.selected} fields, "
        f"{managed.field_counts.active} active; other shares shown: {len(managed.shares)}")
    check((3, 0, 0), (managed.field_counts.selected, managed.field_counts.active, len(managed.shares)))
    check([False] * 3, list(gil.fields(sales).values()))

    counts = gil.BatchUpdateFieldActivation(parent=sales, active_fields=["Account.Industry"]).field_counts
    say(f"{counts.active} of {counts.selected} active")
    decided = gil.fields(sales)
    check(["Account.Industry"], [key for key, active in decided.items() if active])
    check([True] * 5, list(ann.fields(sales).values()))

    before = gil.table(at_least=positions, sources=[sales], page_size=3)
    check(3, len(before))
    off = gil.DisconnectIntegration(name=sales)
    say(f"connected: {off.connected}")
    check(["acme_service"], gil.labels())
    check(["acme_sales", "acme_service"], ann.labels())
    on = gil.ConnectIntegration(name=sales)
    say(f"connected: {on.connected}")
    check(before, gil.table(at_least=positions, sources=[sales], page_size=3))
    check(decided, gil.fields(sales))
    edit = Integration(name=sales, display_name="Ours now")
    gil.refused("PERMISSION_DENIED", "NOT_OWNER", "UpdateIntegration", integration=edit)


def texts(cell: company_pb2.CompanyCell) -> set[str]:
    check(False, cell.more)
    return {value.text for value in cell.values}


def guide_10(ann: Person, gil: Person, positions: list) -> None:
    print("\n10  Sources, filters, words, order and pages; passive fields take no part")
    check(["acme_sales", "acme_service"], ann.labels())
    columns = ["acme_sales.Account.Industry", "acme_service.Case.Status", "acme_sales.Account.AnnualRevenue"]
    everything = ann.table(at_least=positions, columns=columns)
    industry, status = next(
        (min(texts(one.cells[0])), min(texts(one.cells[1])))
        for one in everything
        if texts(one.cells[0]) and texts(one.cells[1])
    )

    of_one = ann.table(filter=f'acme_sales.Account.Industry = "{industry}"', at_least=positions)
    expected = [one.name for one in everything if industry in texts(one.cells[0])]
    check(expected, [one.name for one in of_one])
    both = f'acme_sales.Account.Industry = "{industry}" AND acme_service.Case.Status = "{status}"'
    of_two = ann.table(filter=both, at_least=positions)
    expected = [one.name for one in everything if industry in texts(one.cells[0]) and status in texts(one.cells[1])]
    check(expected, [one.name for one in of_two])

    # Words in any order, ignoring case; the last one may be the beginning of a word.
    wanted = next(one for one in everything if re.fullmatch(r"[A-Za-z]{5,} \d+ [A-Za-z]{3,}", one.display_name))
    first, *_, last = wanted.display_name.upper().split()
    found = ann.table(query=f"{last} {first[:4]}", at_least=positions)
    check(True, wanted.name in [one.name for one in found] and len(found) < len(everything))

    order = "acme_sales.Account.AnnualRevenue desc, display_name"
    whole = ann.ListCompanies(
        parent=ann.group, order_by=order, page_size=1000, columns=columns[2:], at_least=positions
    ).companies
    amounts = [max(map(Decimal, (v.money.amount for v in one.cells[0].values)), default=None) for one in whole]
    say(f"{len(whole)} companies, {', '.join(str(one) for one in amounts[:4])}, … {amounts[-1]}")
    known = [one for one in amounts if one is not None]
    check(sorted(known, reverse=True) + [None] * (len(amounts) - len(known)), amounts)
    paged, token = [], ""
    while True:
        page = ann.ListCompanies(
            parent=ann.group, order_by=order, page_size=25, columns=columns[2:], at_least=positions, page_token=token
        )
        say(f"{len(page.companies)} companies, next_page_token: {'yes' if page.next_page_token else 'none'}")
        paged += page.companies
        token = page.next_page_token
        if not token:
            break
    check(list(whole), paged)

    # Each group has its own active fields: Gil's group made only Industry active.
    check(["acme_sales", "acme_service"], gil.labels())
    found = gil.table(filter=f'acme_sales.Account.Industry = "{industry}"', at_least=positions)
    check({one.name for one in of_one}, {one.name for one in found})
    no = gil.refused(
        "FAILED_PRECONDITION", "FIELD_PASSIVE", "ListCompanies",
        parent=gil.group, filter="acme_sales.Account.AnnualRevenue > 1000",
    )
    say(f"metadata: {no.metadata}")


def export(person: Person, encoding, **asked) -> tuple[bytes, bytes]:
    """The data of an export that is interrupted after its first message and resumed: both parts."""
    first, rest, token = b"", b"", ""
    for messages in (1, None):
        stream = person.ExportCompanies(parent=person.group, encoding=encoding, resume_token=token, **asked)
        for number, message in enumerate(stream, 1):
            token = message.resume_token
            if messages is None:
                rest += message.data
            else:
                first += message.data
            if number == messages:
                stream.cancel()
                break
    say(f"{len(first)} bytes, then {len(rest)} bytes")
    return first, rest


def guide_10_export(ann: Person, positions: list) -> None:
    print("\n10 An export as CSV and as Arrow, interrupted and resumed")
    columns = ["acme_sales.Account.AnnualRevenue", "acme_sales.Account.Industry", "acme_sales.Opportunity.StageName"]
    asked = {"columns": columns, "at_least": positions, "page_size": 25}
    rows = [
        one
        for message in ann.ExportCompanies(parent=ann.group, **asked)
        for one in message.companies
    ]
    check([one.name for one in rows], sorted(one.name for one in rows))
    check(len(rows), len(ann.table()))

    # One CSV file over both streams, with one header.
    first, rest = export(ann, companies.ExportCompaniesRequest.ENCODING_CSV, **asked)
    table = list(csv.DictReader(io.StringIO((first + rest).decode(), newline="")))
    check([one.name for one in rows], [row["name"] for row in table])
    check([one.display_name for one in rows], [row["display_name"] for row in table])
    for one, row in zip(rows, table):
        check([value.money.amount for value in one.cells[0].values], row[columns[0]].split("\n") if row[columns[0]] else [])
        check([value.text for value in one.cells[2].values], row[columns[2]].split("\n") if row[columns[2]] else [])
    say(f"{len(table)} rows of CSV, {len(table[0])} columns")

    # Each stream of Arrow can be read alone.
    parts = export(ann, companies.ExportCompaniesRequest.ENCODING_ARROW_IPC, **asked)
    table = pyarrow.concat_tables(pyarrow.ipc.open_stream(part).read_all() for part in parts)
    table.validate(full=True)
    check([one.name for one in rows], table["name"].to_pylist())
    for number, column in enumerate(columns[1:], 1):
        for one, value in zip(rows, table[column].to_pylist()):
            texts = [each.text for each in one.cells[number].values]
            check(texts if isinstance(value, list) else (texts or [None])[0], value)
    amounts = table[columns[0]].cast(pyarrow.decimal128(38, 2))
    known = [Decimal(one.cells[0].values[0].money.amount) for one in rows if one.cells[0].values]
    check(sum(known), pyarrow.compute.sum(amounts).as_py())
    say(f"{table.num_rows} rows of Arrow: {', '.join(str(field.type) for field in table.schema)}")


def guide_12(ann: Person, gil: Person, sales: str) -> None:
    print("\n12  An edit: reviewed, saved in one step, filled by a sync of its own; nobody's edit is overwritten")
    before = ann.GetIntegration(name=sales)
    say(f"{before.display_name}, etag {before.etag}")
    proposal = Integration(
        name=sales,
        display_name="Acme EMEA",
        selected_fields=["Account.Name", "Account.Industry", "Account.Phone", "Opportunity.Name"],
        shares=[share_pb2.Share(group="groups/globex", fields=["Account.Industry", "Account.Phone"])],
        etag=before.etag,
    )
    review = ann.ReviewIntegration(name=sales, proposal=proposal)
    access = [(one.display_name, one.field_count) for one in review.groups_with_access]
    say(f"{review.display_name}: {review.field_counts.selected} fields, access: {access}, "
        f"groups that lose something: {review.losing_group_count}")
    for warning in review.warnings:
        say(f"{integrations.ReviewWarning.Kind.Name(warning.kind)}: {warning.message}")
    check(([("Acme Research", 4), ("Globex Partners", 2)], 1), (access, review.losing_group_count))
    unchanged = ann.GetIntegration(name=sales)
    # The review asked the CRM for the number of records.
    unchanged.api_usage.CopyFrom(before.api_usage)
    check(before, unchanged)

    after = ann.UpdateIntegration(integration=proposal)
    say(f"{after.display_name} (label {after.label}), etag {after.etag}")
    check(("Acme EMEA", "acme_sales"), (after.display_name, after.label))
    check({"Account.Industry": True, "Account.Phone": False}, gil.fields(sales))
    queued = ann.ListSyncs(parent=sales, page_size=1).syncs[0]
    say(Sync.Trigger.Name(queued.trigger))
    check(Sync.TRIGGER_FIELDS_CHANGED, queued.trigger)
    filled = ann.ended(queued.name)
    rows = ann.table(columns=["acme_sales.Account.Phone"], filter="acme_sales.Account.Phone:*", at_least=[filled])
    say(f"the first phones: {', '.join(one.cells[0].values[0].text for one in rows[:3])}")
    check(True, len(rows) > 0)
    late = ann.refused("ABORTED", "ETAG_MISMATCH", "UpdateIntegration", integration=proposal)
    check(ann.GetIntegration(name=sales).etag, late.metadata["etag"])


def guide_13(ann: Person, gil: Person, sales: str, service: str) -> None:
    print("\n13  Deleting: access kept, then revoked; companies leave, tracked ones stay")
    tracked = gil.table(page_size=2)[0]
    gil.TrackCompanies(parent=gil.group, companies=[companies.CompanyToTrack(name=tracked.name)])
    say(f"{tracked.display_name} is tracked")
    before = ann.table(page_size=1)
    check(Access.ACCESS_KEPT, ann.delete(service).access)
    check(["acme_sales"], ann.labels())
    check(["acme_sales"], gil.labels())
    ann.refused("NOT_FOUND", "NOT_FOUND", "GetIntegration", name=service)
    check(before[0].name, ann.table(page_size=1)[0].name)
    check(Access.ACCESS_REVOKED, ann.delete(sales).access)
    check([], ann.table())
    left = gil.table()
    check([(tracked.name, True, 0)], [(one.name, one.tracked, len(one.sources)) for one in left])
    profile = gil.GetCompanyProfile(parent=gil.group, name=tracked.name)
    say(f"{profile.company.display_name}: {len(profile.cards)} cards")
    check(0, len(profile.cards))
    gil.UntrackCompanies(parent=gil.group, names=[tracked.name])
    check([], gil.table())


def guide_15(ann: Person, gil: Person) -> None:
    print("\n15  Five for each account, over all groups")
    made = []
    for person, number in [(ann, 1), (ann, 2), (ann, 3), (gil, 1), (gil, 2)]:
        name = "Acme" if person is ann else "Globex"
        made.append((person, person.integration(f"{name} {number}", ["Account.Name"])[0]))
    account = ann.GetIntegration(name=made[0][1]).account
    say(f"{account.active_integration_count} of {account.active_integration_limit} places taken")
    check((5, 5), (account.active_integration_count, account.active_integration_limit))
    sixth = ann.draft("Sixth")
    no = ann.refused("RESOURCE_EXHAUSTED", "ACCOUNT_LIMIT_REACHED", "CompleteAuthorization", **ann.callback(sixth))
    say(f"metadata: {no.metadata}")
    for subject, description in no.violations:
        say(f"QuotaFailure: {subject}: {description}")
    check((1, "5", "5"), (len(no.violations), no.metadata["limit"], no.metadata["active"]))
    check(True, "5" in no.violations[0][1] and "lobex" not in str(no))

    person, name = made.pop()
    check(Access.ACCESS_KEPT, person.delete(name).access)
    ann.log_in(sixth)
    ann.select(sixth, ["Account.Name"])
    ann.save(sixth)
    made.append((ann, sixth))
    for person, name in made:
        gone = person.delete(name)
    check(Access.ACCESS_REVOKED, gone.access)


def main() -> None:
    # In production: grpc.secure_channel(address, grpc.ssl_channel_credentials()).
    with grpc.insecure_channel(os.environ.get("TETHER", "127.0.0.1:7443")) as channel:
        ann, gil = Person(channel, "ann", "groups/acme"), Person(channel, "gil", "groups/globex")
        platform = Person(channel, "platform", "")
        platform.DisconnectGroups(group="groups/acme", other_group="groups/globex")
        for person in (ann, gil):
            check(0, person.ListIntegrations(parent=person.group).total_size)
            enabled = person.EnableConnector(parent=person.group, connector="connectors/salesforce")
            say(f"{enabled.display_name} {enabled.version}")
        sales, service, positions = guide_5(ann, platform)
        guide_8(ann, gil, sales, positions)
        guide_10(ann, gil, positions)
        guide_10_export(ann, positions)
        guide_12(ann, gil, sales)
        guide_13(ann, gil, sales, service)
        guide_15(ann, gil)
        print("\nall as expected")


if __name__ == "__main__":
    main()
