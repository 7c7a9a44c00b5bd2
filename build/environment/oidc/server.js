// An OpenID provider for the live tests: client credentials in, or a login with code and PKCE; RS256 `at+jwt` access tokens
// with a user name out.
//
// Usage: node server.js STATE_FOLDER PORT. The folder holds clients.json; keys.json is made there at the first start.
// SIGHUP rotates the signing key: new tokens are signed with the new one, the older ones stay in the key set.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

import Provider from 'oidc-provider';

const [folder, port] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const clients = JSON.parse(readFileSync(join(folder, 'clients.json'), 'utf8'));
const cookieKey = randomUUID();
const keysFile = join(folder, 'keys.json');

// What a client may ask a token for with the `resource` parameter (RFC 8707).
const resources = {
  'urn:goldcrest': { audience: 'goldcrest', accessTokenTTL: 3600 },
  // A token that is about to end.
  'urn:goldcrest:brief': { audience: 'goldcrest', accessTokenTTL: 10 },
  // A token for somebody else.
  'urn:elsewhere': { audience: 'elsewhere', accessTokenTTL: 3600 },
};

// A program of people, who log in under the name of the client that stands for them, by naming it: login_hint.
const webpage = {
  client_id: 'webpage',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
};

const claimsOf = (name) => clients.find((client) => client.client_id === name)?.claims;

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: randomUUID() };
}

function save(keys) {
  writeFileSync(keysFile, JSON.stringify({ keys }), { mode: 0o600 });
}

// The newest key stands first and signs.
function provider(keys) {
  const jwt = { sign: { alg: 'RS256', kid: keys[0].kid } };
  const instance = new Provider(issuer, {
    jwks: { keys },
    clients: [
      webpage,
      ...clients.map(({ claims, ...client }) => ({
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        ...client,
      })),
    ],
    cookies: { keys: [cookieKey] },
    findAccount: (_, name) => claimsOf(name) && { accountId: name, claims: async () => ({ sub: name, ...claimsOf(name) }) },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:goldcrest',
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => {
          const known = resources[resource];
          if (!known) throw new Error(`unknown resource ${resource}`);
          return { scope: '', accessTokenFormat: 'jwt', jwt, ...known };
        },
      },
    },
    extraTokenClaims: (_, token) => claimsOf(token.accountId ?? token.clientId),
  });
  instance.on('server_error', (_, error) => console.error(error));
  const callback = instance.callback();
  return (request, response) =>
    request.url.startsWith('/interaction/') ? logIn(instance, request, response) : callback(request, response);
}

// Nobody is asked for anything: whoever is named is logged in, and agrees.
async function logIn(instance, request, response) {
  try {
    const { params } = await instance.interactionDetails(request, response);
    const accountId = params.login_hint;
    if (!claimsOf(accountId)) throw new Error(`unknown account ${accountId}`);
    const grant = new instance.Grant({ accountId, clientId: params.client_id });
    grant.addOIDCScope('openid');
    grant.addResourceScope('urn:goldcrest', '');
    const result = { login: { accountId }, consent: { grantId: await grant.save() } };
    await instance.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  } catch (error) {
    response.writeHead(400).end(`${error.message}\n`);
  }
}

if (!existsSync(keysFile)) save([newKey()]);
let { keys } = JSON.parse(readFileSync(keysFile, 'utf8'));
let handle = provider(keys);

process.on('SIGHUP', () => {
  keys = [newKey(), ...keys].slice(0, 8);
  save(keys);
  handle = provider(keys);
  console.error(`signing with ${keys[0].kid}`);
});

createServer((request, response) => handle(request, response)).listen(Number(port), '127.0.0.1');
