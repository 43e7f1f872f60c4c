// An OpenID Connect issuer on loopback, with logins in a browser and by codes for devices: oidc-provider, with the pages
// that it has for development. Whoever logs in says who they are: an e-mail address.
//
//   node serve.mjs
//
// Writes one line of JSON with its address on standard output. It ends when its standard input ends.
import { readFileSync } from 'node:fs';
import http from 'node:http';

if (process.argv[2] === '--version') {
  const description = new URL('./node_modules/oidc-provider/package.json', import.meta.url);
  console.log(JSON.parse(readFileSync(description)).version);
  process.exit(0);
}
// Whoever reads the address reads nothing else; what the library remarks on is that this is no issuer for real life.
console.info = console.warn = () => {};
process.stdout.on('error', () => {});
const { Provider } = await import('oidc-provider');

const server = http.createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const url = `http://127.0.0.1:${server.address().port}`;
const device = 'urn:ietf:params:oauth:grant-type:device_code';
const client = (client_id, more) => ({
  client_id,
  application_type: 'native', // any port of loopback may be redirected to (RFC 8252, section 7.3)
  token_endpoint_auth_method: 'none',
  redirect_uris: ['http://127.0.0.1/auth/callback'],
  response_types: ['code'],
  grant_types: ['authorization_code', device],
  ...more,
});
const provider = new Provider(url, {
  clients: [client('sigstore'), client('codeless', { grant_types: ['authorization_code'] })],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false, // the address stands in the token, as Fulcio wants it
  cookies: { keys: ['only for tests'] },
  features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
  findAccount: (_, name) => ({
    accountId: name,
    claims: () => ({ sub: name, email: name, email_verified: true }),
  }),
});
server.on('request', provider.callback());
process.stdout.write(JSON.stringify({ url }) + '\n');
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
