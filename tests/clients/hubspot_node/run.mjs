// HubSpot's own JavaScript client against the simulator: `node run.mjs http://127.0.0.1:PORT`.
// Prints a line per step and fails at the first that is not as it should be.

import assert from 'node:assert/strict';
import { Client } from '@hubspot/api-client';

const sim = process.argv[2];
const control = async (path, body) => {
  const answer = await fetch(`${sim}/control${path}`, body && { method: 'POST', body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
};
const truth = async (object, more = '') => {
  const text = await (await fetch(`${sim}/control/truth?object=${object}${more}`)).text();
  return text.trim().split('\n').map((line) => JSON.parse(line));
};

let step = 0;
const ok = (what) => console.log(`hubspot-node ${++step}. ${what}`);

const app = { id: 'tether-demo-app', secret: 'tether-demo-secret', redirect: 'http://localhost:9/callback' };
const client = new Client({ basePath: sim, numberOfApiCallRetries: 3 });
const scopes = 'oauth crm.objects.companies.read crm.objects.contacts.read';
const url = client.oauth.getAuthorizationUrl(app.id, app.redirect, scopes, 'crm.objects.deals.read tickets', 'st&te=1');
const { code, state } = await control(`/oauth/approve?url=${encodeURIComponent(url)}&username=admin@acme.example`);
assert.equal(state, 'st&te=1');
const tokens = await client.oauth.tokensApi.create('authorization_code', code, app.redirect, app.id, app.secret);
assert.equal(tokens.expiresIn, 1800);
client.setAccessToken(tokens.accessToken);
const who = await client.oauth.accessTokensApi.get(tokens.accessToken);
assert.equal(who.user, 'admin@acme.example');
assert.equal(who.hubId, 62515);
ok(`logged in with a code as ${who.user} of ${who.hubId}`);

await control('/sessions/expire', {});
await assert.rejects(client.crm.companies.basicApi.getPage(1), (error) => {
  assert.equal(error.code, 401);
  assert.equal(error.body.category, 'EXPIRED_AUTHENTICATION');
  return true;
});
const renewed = await client.oauth.tokensApi.create(
  'refresh_token', undefined, undefined, app.id, app.secret, tokens.refreshToken,
);
assert.equal(renewed.refreshToken, tokens.refreshToken);
client.setAccessToken(renewed.accessToken);
ok('the token expired and was refreshed; the refresh token is the same');

const companies = await truth('companies');
const all = await client.crm.companies.getAll(100, undefined, ['name', 'annualrevenue', 'no_such_property']);
assert.deepEqual(all.map((row) => row.id), companies.map((row) => row.id));
for (const [at, row] of all.entries()) {
  assert.equal(row.properties.name, companies[at].name);
  assert.equal(row.properties.annualrevenue, companies[at].annualrevenue);
  assert.ok(!('no_such_property' in row.properties));
  assert.equal(row.updatedAt.getTime(), Date.parse(companies[at].updatedAt));
}
assert.notDeepEqual(all.map((row) => row.id), all.map((row) => row.id).sort());
ok(`listed ${all.length} companies over ${Math.ceil(all.length / 100)} pages, in the order of numbers and not of texts`);

const archived = await client.crm.companies.getAll(100, undefined, undefined, undefined, undefined, true);
const gone = (await truth('companies', '&deleted=true')).filter((row) => row.archived);
assert.deepEqual(archived.map((row) => row.id), gone.filter((row) => !row.mergedInto).map((row) => row.id));
assert.ok(archived.every((row) => row.archived && row.archivedAt));
const loser = gone.find((row) => row.mergedInto);
assert.equal((await client.crm.companies.basicApi.getById(loser.id)).id, loser.mergedInto);
ok(`${archived.length} archived companies; the id of a merged one leads to the winner`);

for (const object of ['companies', 'contacts', 'deals', 'tickets']) {
  const { results } = await client.crm.properties.coreApi.getAll(object);
  assert.ok(results.find((property) => property.name === 'hs_merged_object_ids'));
  const option = results.flatMap((property) => property.options).find((one) => one.label && one.value);
  assert.ok(option, object);
  ok(`${object} have ${results.length} properties`);
}

const banks = companies.filter((row) => row.industry === 'BANKING');
const found = [];
for (let after; ; ) {
  const page = await client.crm.companies.searchApi.doSearch({
    filterGroups: [{ filters: [{ propertyName: 'industry', operator: 'EQ', value: 'BANKING' }] }],
    sorts: ['hs_object_id'], properties: ['industry'], limit: 40, after,
  });
  assert.equal(page.total, banks.length);
  found.push(...page.results);
  after = page.paging?.next?.after;
  if (!after) break;
}
assert.deepEqual(found.map((row) => row.id), banks.map((row) => row.id));
await assert.rejects(client.crm.companies.searchApi.doSearch({ limit: 100, after: '9950' }), (error) => {
  assert.equal(error.code, 400);
  assert.equal(error.body.category, 'VALIDATION_ERROR');
  return true;
});
ok(`searched ${found.length} banks over pages; beyond 10,000 rows a search is refused`);

const contacts = (await truth('contacts')).slice(0, 900);
const linked = await client.crm.associations.v4.batchApi.getPage('contacts', 'companies', {
  inputs: contacts.map((row) => ({ id: row.id })),
});
const ends = new Map(linked.results.map((one) => [one._from.id, one.to.map((to) => String(to.toObjectId))]));
for (const row of contacts) assert.deepEqual(ends.get(row.id) ?? [], row.companies, row.id);
assert.ok(linked.results.some((one) => one.to.length > 1));
assert.ok(linked.numErrors > 0, 'some have none');
ok(`the companies of ${contacts.length} contacts, many to many`);

const read = await client.crm.contacts.batchApi.read({
  inputs: [{ id: contacts[0].id }, { id: '1' }], properties: ['email'], propertiesWithHistory: [],
});
assert.equal(read.results[0].properties.email, contacts[0].email);
assert.equal(read.numErrors, 1);
await assert.rejects(client.crm.contacts.basicApi.getById('1'), (error) => error.code === 404);
ok('read a batch of contacts; one that is not there is told');

await control('/limits', { burst: 1, intervalMs: 3_000, searches: 1_000 });
await client.crm.deals.basicApi.getPage(1);
const impatient = new Client({ basePath: sim, accessToken: renewed.accessToken });
await assert.rejects(impatient.crm.deals.basicApi.getPage(1), (error) => {
  assert.equal(error.code, 429);
  assert.equal(error.body.policyName, 'TEN_SECONDLY_ROLLING');
  assert.equal(error.headers['x-hubspot-ratelimit-max'], '1');
  return true;
});
await control('/limits', { burst: 1_000_000 });
ok('too fast is refused in HubSpot\'s words, with its headers');

assert.equal((await control('/requests')).writes, 0);
ok('no write arrived');
