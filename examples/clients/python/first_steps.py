"""First steps with tether from Python: lists, profiles, errors, a sync that is watched, a group that is watched.

Takes from the environment TETHER (the address, 127.0.0.1:7443) and TOKEN. The stubs come from `./generate`.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "generated"))

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tether.v1 import (
    company_service_pb2,
    company_service_pb2_grpc,
    integration_service_pb2,
    integration_service_pb2_grpc,
    sync_pb2,
)

GROUP = os.environ.get("GROUP", "groups/acme")


def why(error: grpc.RpcError) -> tuple[str, dict[str, str]]:
    """The reason of an error, and its metadata: what a program decides by."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == "tether":
            return info.reason, dict(info.metadata)
    return error.code().name, {}


def companies(stub, metadata, page_size=50):
    """Every company of the group, page by page."""
    token = ""
    while True:
        page = stub.ListCompanies(
            company_service_pb2.ListCompaniesRequest(parent=GROUP, page_size=page_size, page_token=token),
            metadata=metadata,
            timeout=10,
        )
        yield from page.companies
        token = page.next_page_token
        if not token:
            return


def sync(stub, metadata, integration: str) -> sync_pb2.Sync:
    """Syncs an integration and watches it to its end. A sync that is running already is watched instead."""
    try:
        name = stub.SyncIntegration(
            integration_service_pb2.SyncIntegrationRequest(name=integration), metadata=metadata, timeout=10
        ).name
    except grpc.RpcError as error:
        reason, about = why(error)
        if reason != "SYNC_ALREADY_RUNNING":
            raise
        name = about["sync"]
    now = sync_pb2.Sync()
    for message in stub.WatchSync(integration_service_pb2.WatchSyncRequest(name=name), metadata=metadata):
        now = message.sync
        print(f"  {sync_pb2.Sync.State.Name(now.state)}: {now.totals.read} read, {now.totals.written} written")
    return now


def main() -> None:
    metadata = [("authorization", "Bearer " + os.environ["TOKEN"])]
    # In production: grpc.secure_channel(address, grpc.ssl_channel_credentials()).
    with grpc.insecure_channel(os.environ.get("TETHER", "127.0.0.1:7443")) as channel:
        company = company_service_pb2_grpc.CompanyServiceStub(channel)
        integration = integration_service_pb2_grpc.IntegrationServiceStub(channel)

        found = list(companies(company, metadata))
        print(f"{len(found)} companies, the first: {found[0].display_name}")

        profile = company.GetCompanyProfile(
            company_service_pb2.GetCompanyProfileRequest(parent=GROUP, name=found[0].name),
            metadata=metadata,
            timeout=35,
        )
        for card in profile.cards:
            columns = [column.label for column in card.company_records.columns]
            print(f"card: {', '.join(columns)}; live: {card.freshness.live}")

        try:
            company.GetCompany(
                company_service_pb2.GetCompanyRequest(
                    parent=GROUP, name="companies/00000000-0000-5000-8000-000000000000"
                ),
                metadata=metadata,
                timeout=10,
            )
        except grpc.RpcError as error:
            print("as expected:", error.code().name, *why(error))

        # The stream sends every event from now on. Keep the token: after an interruption it continues from there.
        watched = integration.WatchGroup(integration_service_pb2.WatchGroupRequest(parent=GROUP), metadata=metadata)
        resume_token = next(watched).resume_token
        mine = integration.ListIntegrations(
            integration_service_pb2.ListIntegrationsRequest(parent=GROUP), metadata=metadata, timeout=10
        ).integrations
        ended = sync(integration, metadata, mine[0].name)
        assert ended.state == sync_pb2.Sync.STATE_SUCCEEDED, ended
        watched.cancel()

        again = integration.WatchGroup(
            integration_service_pb2.WatchGroupRequest(parent=GROUP, resume_token=resume_token), metadata=metadata
        )
        event = next(message.event for message in again if message.HasField("event"))
        assert event.subject == ended.name, event
        print("the group was told:", event.Kind.Name(event.kind), event.subject)
        again.cancel()


if __name__ == "__main__":
    main()
