// Salesforce's own JavaScript client against the simulator: `node run.mjs http://127.0.0.1:PORT`.
// Prints a line per step and fails at the first that is not as it should be.

import assert from 'node:assert/strict';
import jsforce from 'jsforce';

const sim = process.argv[2] ?? process.env.SIM_HTTP;
const control = async (path, body) => {
  const answer = await fetch(`${sim}/control${path}`, body && { method: 'POST', body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
};

let step = 0;
const ok = (what) => console.log(`jsforce ${++step}. ${what}`);

const oauth2 = new jsforce.OAuth2({
  loginUrl: sim,
  clientId: process.env.SIM_CLIENT_ID ?? '3MVG9tether.demo',
  clientSecret: process.env.SIM_CLIENT_SECRET ?? 'tether-demo-secret',
  redirectUri: 'http://localhost:9/callback',
  useVerifier: true,
});

const url = oauth2.getAuthorizationUrl({ scope: 'api refresh_token id', state: 'st&te=1' });
const { code, state } = await control(`/oauth/approve?url=${encodeURIComponent(url)}&username=admin@acme.example`);
assert.equal(state, 'st&te=1');
const conn = new jsforce.Connection({ oauth2, version: '62.0' });
let refreshed = 0;
conn.on('refresh', () => refreshed++);
const user = await conn.authorize(code);
assert.match(user.id, /^005/);
assert.match(user.organizationId, /^00D/);
assert.ok(conn.refreshToken);
ok(`logged in with code and PKCE as ${user.id} of ${user.organizationId}`);

const before = conn.accessToken;
await control('/sessions/expire', {});
assert.ok((await conn.query('SELECT COUNT() FROM Account')).totalSize >= 5000);
assert.equal(refreshed, 1);
assert.notEqual(conn.accessToken, before);
ok('the session was expired; the client refreshed after the refusal by itself');

const me = await conn.identity();
assert.equal(me.username, 'admin@acme.example');
ok('asked who it is');

const rows = await conn.query('SELECT Id, Name, Owner.Name FROM Account ORDER BY Id LIMIT 5000').execute({
  autoFetch: true,
  maxFetch: 100_000,
});
const list = rows.records ?? rows;
assert.equal(list.length, 5000);
assert.equal(new Set(list.map((r) => r.Id)).size, 5000);
assert.ok(list.every((r) => r.attributes.type === 'Account' && r.Owner.Name));
ok('read 5,000 accounts over several pages');

const all = await conn
  .query('SELECT Id, IsDeleted, MasterRecordId FROM Account WHERE IsDeleted = true')
  .execute({ scanAll: true, autoFetch: true, maxFetch: 100_000 });
const deleted = all.records ?? all;
assert.ok(deleted.length > 1);
assert.ok(deleted.every((r) => r.IsDeleted));
assert.ok(deleted.some((r) => r.MasterRecordId));
ok(`queryAll found ${deleted.length} deleted accounts, some of them losers of a merge`);

for (const name of ['Account', 'Contact', 'Opportunity', 'Contract', 'Case']) {
  const describe = await conn.sobject(name).describe();
  assert.equal(describe.name, name);
  assert.ok(describe.fields.length > 30);
  assert.ok(describe.fields.find((f) => f.name === 'SystemModstamp'));
  ok(`described ${name}: ${describe.fields.length} fields`);
}

const parent = await conn.query(
  'SELECT Id, (SELECT Id, LastName FROM Contacts), (SELECT Id FROM Opportunities) FROM Account ORDER BY Id LIMIT 1',
);
const contacts = parent.records[0].Contacts;
const count = await conn.query(`SELECT COUNT() FROM Contact WHERE AccountId = '${parent.records[0].Id}'`);
assert.equal(contacts.totalSize, count.totalSize);
assert.ok(contacts.totalSize > 2000);
assert.equal(contacts.done, false);
let children = contacts.records.length;
for (let next = contacts.nextRecordsUrl; next; ) {
  const page = await conn.queryMore(next);
  children += page.records.length;
  next = page.nextRecordsUrl;
}
assert.equal(children, contacts.totalSize);
ok(`a child sub-query of ${children} contacts, over its own pages`);

await assert.rejects(conn.query('SELECT Id, Foo__c FROM Account'), (error) => {
  assert.equal(error.errorCode, 'INVALID_FIELD');
  assert.match(error.message, /No such column 'Foo__c' on entity 'Account'/);
  assert.match(error.message, /\n {11}\^\nERROR at Row:1:Column:12\n/);
  return true;
});
ok('an unknown field is refused in Salesforce\'s words');

const bulk = async (soql, options) => (await conn.bulk2.query(soql, { pollInterval: 50, ...options })).toArray();
const soql = 'SELECT Id, Name, BillingStreet, IsPartner, CreatedDate, Owner.Name FROM Account';
const truth = new Map();
for (let page = await conn.query(soql); ; page = await conn.queryMore(page.nextRecordsUrl)) {
  page.records.forEach((r) => truth.set(r.Id, r));
  if (page.done) break;
}
const accounts = await bulk(soql);
assert.equal(accounts.length, truth.size);
for (const row of accounts) {
  const right = truth.get(row.Id);
  assert.deepEqual(
    [row.Name, row.BillingStreet ?? '', row.IsPartner, row.CreatedDate, row['Owner.Name']],
    [
      right.Name,
      right.BillingStreet ?? '',
      String(right.IsPartner),
      right.CreatedDate.replace('+0000', 'Z'),
      right.Owner.Name,
    ],
  );
}
assert.equal(new Set(accounts.map((r) => r.Id)).size, truth.size);
ok(`bulk2 query: ${accounts.length} accounts equal to REST`);

const withDeleted = await bulk('SELECT Id, IsDeleted, MasterRecordId FROM Account', { scanAll: true });
const gone = withDeleted.filter((r) => r.IsDeleted === 'true').map((r) => r.Id);
assert.deepEqual(gone.sort(), deleted.map((r) => r.Id).sort());
ok(`bulk2 query with deleted rows: ${gone.length}, as by REST`);

await assert.rejects(bulk('SELECT Id, BillingAddress FROM Account'), /Selecting compound data not supported in Bulk Query/);
await control('/jobs/script', { then: 'Failed', errorMessage: 'QUERY_TIMEOUT' });
await assert.rejects(bulk('SELECT Id FROM Account'), /failed/i);
ok('refused and failed jobs are errors');
await control('/jobs/settings', { reset: true });

await conn.oauth2.revokeToken(conn.refreshToken);
await assert.rejects(conn.query('SELECT Id FROM Account LIMIT 1'), /expired access\/refresh token/);
ok('after revocation nothing works');

assert.equal((await control('/requests')).writes, 0);
ok('no write arrived');
process.exit(0);
