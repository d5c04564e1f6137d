// First steps with tether from TypeScript, over gRPC-Web like a page in a browser: lists, profiles, errors, a watched
// sync, a watched group. In a page, use createGrpcWebTransport of @connectrpc/connect-web and add the page's origin to
// tether's `web.allowed_origins`; the rest is the same.
//
// Environment variables: TETHER (the address, 127.0.0.1:7443 by default) and TOKEN.

import { type Interceptor, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-node";
import { CompanyService } from "../generated/tether/v1/company_service_pb.js";
import { type Company } from "../generated/tether/v1/company_pb.js";
import { GroupEvent_Kind } from "../generated/tether/v1/event_pb.js";
import { IntegrationService } from "../generated/tether/v1/integration_service_pb.js";
import { Sync_State, type Sync } from "../generated/tether/v1/sync_pb.js";
import { type ErrorInfo, ErrorInfoSchema } from "../generated/google/rpc/error_info_pb.js";

const parent = process.env.GROUP ?? "groups/acme";

const withToken: Interceptor = (next) => (request) => {
  request.header.set("authorization", `Bearer ${process.env.TOKEN}`);
  return next(request);
};
const transport = createGrpcWebTransport({
  baseUrl: `http://${process.env.TETHER ?? "127.0.0.1:7443"}`,
  httpVersion: "1.1",
  interceptors: [withToken],
});
const companies = createClient(CompanyService, transport);
const integrations = createClient(IntegrationService, transport);

/** The reason of an error, and its metadata: what a program decides by. */
function why(error: unknown): ErrorInfo | undefined {
  const infos = ConnectError.from(error).findDetails(ErrorInfoSchema);
  return infos.find((info) => info.domain === "tether");
}

/** Every company of the group, page by page. */
async function* allCompanies(pageSize: number): AsyncGenerator<Company> {
  let pageToken = "";
  do {
    const page = await companies.listCompanies({ parent, pageSize, pageToken }, { timeoutMs: 10_000 });
    yield* page.companies;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

/** Syncs an integration and watches it to its end. A sync that is running already is watched instead. */
async function sync(integration: string): Promise<Sync> {
  let name: string;
  try {
    ({ name } = await integrations.syncIntegration({ name: integration }, { timeoutMs: 10_000 }));
  } catch (error) {
    const info = why(error);
    if (info?.reason !== "SYNC_ALREADY_RUNNING") throw error;
    name = info.metadata.sync;
  }
  let now: Sync | undefined;
  for await (const message of integrations.watchSync({ name })) {
    now = message.sync;
    if (now) console.log(`  ${Sync_State[now.state]}: ${now.totals?.read} read, ${now.totals?.written} written`);
  }
  if (now?.state !== Sync_State.SUCCEEDED) throw new Error(`the sync ended as ${now && Sync_State[now.state]}`);
  return now;
}

const all: Company[] = [];
for await (const company of allCompanies(50)) all.push(company);
console.log(`${all.length} companies, the first: ${all[0].displayName}`);

const profile = await companies.getCompanyProfile({ parent, name: all[0].name }, { timeoutMs: 35_000 });
for (const card of profile.cards) {
  const columns = card.companyRecords?.columns.map((column) => column.label) ?? [];
  console.log(`card: ${columns.join(", ")}; live: ${card.freshness?.live}`);
}

try {
  await companies.getCompany({ parent, name: "companies/00000000-0000-5000-8000-000000000000" });
  throw new Error("a company that is not there was found");
} catch (error) {
  const info = why(error);
  if (!info) throw error;
  console.log("as expected:", Code[ConnectError.from(error).code], info.reason, info.metadata);
}

// The stream sends every event from now on. Keep the token: after an interruption it continues from there.
let resumeToken = "";
const first = new AbortController();
for await (const message of integrations.watchGroup({ parent }, { signal: first.signal })) {
  resumeToken = message.resumeToken;
  break;
}
first.abort(); // leaving the loop alone would leave the stream open
const mine = await integrations.listIntegrations({ parent });
const ended = await sync(mine.integrations[0].name);
const second = new AbortController();
for await (const { event } of integrations.watchGroup({ parent, resumeToken }, { signal: second.signal })) {
  if (!event) continue;
  if (event.subject !== ended.name) throw new Error(`told of ${event.subject}`);
  console.log("the group was told:", GroupEvent_Kind[event.kind], event.subject);
  break;
}
second.abort();
