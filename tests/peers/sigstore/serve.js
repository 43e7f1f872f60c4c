// Fulcio, Rekor (versions 1 and 2), a certificate log and a timestamp authority on one loopback port: those of
// @sigstore/mock, which are made for interception inside one process, behind HTTP as the real ones speak it.
//
//   node serve.js FOLDER
//
// Writes FOLDER/trusted_root.json, FOLDER/signing_config.json (Rekor 1) and FOLDER/signing_config.v2.json (Rekor 2), then
// one line of JSON with the address on standard output. It ends when its standard input ends.
//
// What the mock leaves out and real services do is done here: the proof of possession is checked, an entry is stored in
// its canonical form and only when its signature verifies, a second one is answered by where the first is, and a
// timestamp query is DER.
'use strict';
const { createHash, createPublicKey, generateKeyPairSync, verify, X509Certificate } = require('crypto');
const { readFileSync, writeFileSync } = require('fs');
const http = require('http');
const path = require('path');
const modules = process.env.HALLMARK_SIGSTORE_MODULES || path.join(__dirname, 'node_modules');
const from = (name) => require(path.join(modules, name));
const mock = from('@sigstore/mock');
// The mock writes every name as a URI; Fulcio writes an e-mail address as one.
const x509 = from('@peculiar/x509');
const Names = x509.SubjectAlternativeNameExtension;
x509.SubjectAlternativeNameExtension = class extends Names {
  constructor([{ type, value }], critical) {
    super([{ type: /^[^/:]+@[^/:]+$/.test(value) ? 'email' : type, value }], critical);
  }
};
const asn1js = from('asn1js');
const canonicalize = from('canonicalize');
const pkijs = from('pkijs');

const folder = process.argv[2];
if (folder === '--version') {
  console.log(JSON.parse(readFileSync(path.join(modules, '@sigstore/mock/package.json'))).version);
  process.exit(0);
}
const sha256 = (bytes) => createHash('sha256').update(bytes).digest();
const pair = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const start = new Date(Date.now() - 3600_000).toISOString();

// Faults that a test asks for: path -> { status, times }.
const faults = new Map();
const counts = new Map();

function makerKey(pem) {
  return pem.includes('BEGIN CERTIFICATE') ? new X509Certificate(pem).publicKey : createPublicKey(pem);
}

function preAuthenticationEncoding(type, payload) {
  return Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]);
}

const digestOf = (key) => {
  if (key.asymmetricKeyType === 'ed25519') return null;
  return key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'sha384' : 'sha256';
};

function checkEnvelope(envelope, pem) {
  const [signature] = envelope.signatures;
  const message = preAuthenticationEncoding(envelope.payloadType, Buffer.from(envelope.payload, 'base64'));
  const key = makerKey(pem);
  if (!verify(digestOf(key), message, key, Buffer.from(signature.sig, 'base64'))) throw new Error('signature does not verify');
}

// Rekor 1: the stored form of a proposed entry.
function canonicalV1(proposed) {
  const { apiVersion, kind, spec } = proposed;
  if (kind === 'hashedrekord' && apiVersion === '0.0.1') {
    makerKey(Buffer.from(spec.signature.publicKey.content, 'base64').toString());
    return proposed;
  }
  if (kind !== 'dsse' || apiVersion !== '0.0.1') throw new Error(`kind ${kind} ${apiVersion} is not known`);
  const { envelope: text, verifiers } = spec.proposedContent;
  const envelope = JSON.parse(text);
  const pem = Buffer.from(verifiers[0], 'base64').toString();
  checkEnvelope(envelope, pem);
  const hash = (bytes) => ({ algorithm: 'sha256', value: sha256(bytes).toString('hex') });
  return {
    apiVersion,
    kind,
    spec: {
      envelopeHash: hash(text),
      payloadHash: hash(Buffer.from(envelope.payload, 'base64')),
      signatures: [{ signature: envelope.signatures[0].sig, verifier: verifiers[0] }],
    },
  };
}

// Rekor 2: the stored form of a request, and its kind.
function canonicalV2(request) {
  const stored = (verifier) => {
    const { keyDetails, x509Certificate, publicKey } = verifier;
    if (!/^PKIX_/.test(keyDetails)) throw new Error('keyDetails are missing');
    return x509Certificate ? { keyDetails, x509Certificate } : { keyDetails, publicKey };
  };
  const named = (details) => (details.endsWith('384') ? 'SHA2_384' : 'SHA2_256');
  const hashed = request.hashedRekordRequestV002;
  if (hashed) {
    const { content, verifier } = hashed.signature;
    const data = { algorithm: named(verifier.keyDetails), digest: hashed.digest };
    const spec = { hashedRekordV002: { data, signature: { content, verifier: stored(verifier) } } };
    return { apiVersion: '0.0.2', kind: 'hashedrekord', spec };
  }
  throw new Error('only entries of digests are taken');
}

// The keys of an issuer that is on this machine, too: only they make its tokens.
async function checkSignature(token, issuer) {
  const document = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  const { keys } = await (await fetch(document.jwks_uri)).json();
  const [header, claims, signature] = token.split('.');
  const isGenuine = keys.filter((key) => key.kty === 'RSA').some((jwk) => {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    return verify('sha256', Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, 'base64url'));
  });
  if (document.issuer !== issuer || !isGenuine) throw new Error('the token is not of its issuer');
}

// A token must be for Sigstore and must not have ended; whoever asks must hold the key.
async function checkRequest(body, authorization) {
  const request = JSON.parse(body);
  const token = request.credentials?.oidcIdentityToken || (authorization || '').replace(/^Bearer /, '');
  const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  if (claims.aud !== 'sigstore') throw new Error('the token is for somebody else');
  if (!(claims.exp * 1000 > Date.now())) throw new Error('the token has ended');
  if (claims.iss.startsWith('http://127.0.0.1:')) await checkSignature(token, claims.iss);
  const complete = { ...request, credentials: { oidcIdentityToken: token } };
  if (!request.publicKeyRequest) return complete;
  const { publicKey, proofOfPossession } = request.publicKeyRequest;
  const subject = claims.email || claims.sub;
  if (!verify('sha256', Buffer.from(subject), createPublicKey(publicKey.content), Buffer.from(proofOfPossession, 'base64'))) {
    throw new Error('the proof of possession does not verify');
  }
  return complete;
}

function timestampRequest(body) {
  const query = pkijs.TimeStampReq.fromBER(body);
  return {
    artifactHash: Buffer.from(query.messageImprint.hashedMessage.valueBlock.valueHexView),
    hashAlgorithmOID: query.messageImprint.hashAlgorithm.algorithmId,
    nonce: query.nonce && Buffer.from(query.nonce.valueBlock.valueHexView),
    policyOID: '1.3.6.1.4.1.57264.2',
    certReq: query.certReq ?? false,
  };
}

async function main() {
  const ctLog = await mock.initializeCTLog(pair());
  const authority = await mock.initializeCA(pair(), ctLog);
  const tsa = await mock.initializeTSA(pair());
  // The mock keeps nonces as numbers, which are too small for those of real clients.
  const tstInfo = tsa.tstInfo.bind(tsa);
  tsa.tstInfo = (request) => {
    const info = tstInfo({ ...request, nonce: 0 });
    info.nonce = request.nonce && new asn1js.Integer({ valueHex: request.nonce });
    // Whole seconds, as the real one writes them: sigstore-js reads no fractions that end with a zero left out.
    info.genTime = new Date(Math.floor(info.genTime.getTime() / 1000) * 1000);
    return info;
  };
  const server = http.createServer();
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const url = `http://127.0.0.1:${server.address().port}`;
  // Two logs with a key each: one key must not speak for both.
  const logs = { v1: await mock.initializeTLog(url, pair()), v2: await mock.initializeTLog(url, pair()) };
  const entries = new Map();

  const routes = {
    'POST /api/v2/signingCert': async (body, { authorization }) => {
      const request = await checkRequest(body, authorization);
      const { statusCode, response } = await mock.fulcioHandler(authority).fn(JSON.stringify(request));
      return { status: statusCode === 201 ? 200 : statusCode, type: 'application/json', body: response };
    },
    // The older form, which cosign 2 speaks: the same request with other names, answered by certificates in PEM.
    'POST /api/v1/signingCert': async (body, headers) => {
      const { publicKey, signedEmailAddress } = JSON.parse(body);
      const content = Buffer.from(publicKey.content, 'base64');
      const key = createPublicKey(content.includes('BEGIN') ? content.toString() : { key: content, format: 'der', type: 'spki' });
      const pem = key.export({ type: 'spki', format: 'pem' });
      const asked = { publicKeyRequest: { publicKey: { algorithm: 'ECDSA', content: pem }, proofOfPossession: signedEmailAddress } };
      const request = await checkRequest(JSON.stringify(asked), headers.authorization);
      const { statusCode, response } = await mock.fulcioHandler(authority).fn(JSON.stringify(request));
      if (statusCode !== 201) return { status: statusCode, type: 'application/json', body: response };
      const { certificates } = JSON.parse(response).signedCertificateEmbeddedSct.chain;
      return { status: 201, type: 'application/pem-certificate-chain', body: certificates.join('\n') };
    },
    'POST /api/v1/log/entries': async (body) => {
      const stored = canonicalV1(JSON.parse(body));
      const key = sha256(canonicalize(stored)).toString('hex');
      if (entries.has(key)) {
        const message = JSON.stringify({ code: 409, message: 'an equivalent entry already exists in the transparency log' });
        return { status: 409, type: 'application/json', body: message, location: `/api/v1/log/entries/${entries.get(key).uuid}` };
      }
      const entry = await logs.v1.log(stored);
      const uuid = Object.keys(entry)[0];
      entries.set(key, { uuid, entry });
      return { status: 201, type: 'application/json', body: JSON.stringify(entry), location: `/api/v1/log/entries/${uuid}`, uuid };
    },
    'POST /api/v2/log/entries': async (body) => {
      const stored = canonicalV2(JSON.parse(body));
      const canonical = Buffer.from(canonicalize(stored));
      const logID = sha256(logs.v2.publicKey);
      const proof = logs.v2.calculateInclusionProof({ body: canonical, timestamp: Math.floor(Date.now() / 1000), logID });
      const entry = {
        logIndex: '0',
        logId: { keyId: logID.toString('base64') },
        kindVersion: { kind: stored.kind, version: stored.apiVersion },
        integratedTime: '0',
        inclusionPromise: null,
        inclusionProof: {
          logIndex: '0',
          rootHash: Buffer.from(proof.rootHash, 'hex').toString('base64'),
          treeSize: '1',
          hashes: [],
          checkpoint: { envelope: proof.checkpoint },
        },
        canonicalizedBody: canonical.toString('base64'),
      };
      return { status: 201, type: 'application/json', body: JSON.stringify(entry) };
    },
    'POST /api/v1/timestamp': async (body) => {
      const response = await tsa.timestamp(timestampRequest(body));
      return { status: 200, type: 'application/timestamp-reply', body: response };
    },
    'POST /faults': async (body) => {
      const { path: where, status, times } = JSON.parse(body);
      faults.set(where, { status, times });
      return { status: 200, type: 'text/plain', body: '' };
    },
    'GET /counts': async () => ({ status: 200, type: 'application/json', body: JSON.stringify(Object.fromEntries(counts)) }),
  };

  const answer = async (request, body) => {
    const where = request.url.split('?')[0];
    counts.set(where, (counts.get(where) || 0) + 1);
    const fault = faults.get(where);
    if (fault && fault.times-- > 0) return { status: fault.status, type: 'text/plain', body: 'out of order' };
    const known = /^\/api\/v1\/log\/entries\/([0-9a-f]+)$/.exec(where);
    if (request.method === 'GET' && known) {
      const found = [...entries.values()].find((entry) => entry.uuid === known[1]);
      if (found) return { status: 200, type: 'application/json', body: JSON.stringify(found.entry) };
    }
    const route = routes[`${request.method} ${where}`];
    if (!route) return { status: 404, type: 'text/plain', body: 'no such thing' };
    try {
      return await route(body, request.headers);
    } catch (error) {
      return { status: 400, type: 'application/json', body: JSON.stringify({ code: 3, message: String(error.message) }) };
    }
  };
  server.on('request', (request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
      const { status, type, body, location, uuid } = await answer(request, Buffer.concat(chunks));
      const headers = { 'Content-Type': type };
      if (location) headers.Location = location;
      if (uuid) headers.ETag = uuid; // without quotes, as Rekor writes it
      response.writeHead(status, headers).end(body);
    });
  });

  const log = (publicKey, key) => ({
    baseUrl: url,
    hashAlgorithm: 'SHA2_256',
    publicKey: { rawBytes: publicKey.toString('base64'), keyDetails: 'PKIX_ECDSA_P256_SHA_256', validFor: { start } },
    logId: { keyId: key.toString('base64') },
  });
  const chain = (...certificates) => ({
    certificates: certificates.map((certificate) => ({ rawBytes: Buffer.from(certificate).toString('base64') })),
  });
  const subject = { organization: 'sigstore.mock', commonName: 'sigstore' };
  const root = {
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: [log(logs.v1.publicKey, sha256(logs.v1.publicKey)), log(logs.v2.publicKey, sha256(logs.v2.publicKey))],
    certificateAuthorities: [{ subject, uri: url, certChain: chain(authority.rootCertificate), validFor: { start } }],
    ctlogs: [log(ctLog.publicKey, ctLog.logID)],
    timestampAuthorities: [{ subject, uri: url, certChain: chain(tsa.intCertificate, tsa.rootCertificate), validFor: { start } }],
  };
  const service = (majorApiVersion, address = url) => ({ url: address, majorApiVersion, validFor: { start }, operator: 'sigstore.mock' });
  const config = (version) => ({
    mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
    caUrls: [service(1)],
    oidcUrls: [service(1)],
    rekorTlogUrls: [service(version)],
    tsaUrls: [service(1, `${url}/api/v1/timestamp`)],
    rekorTlogConfig: { selector: 'ANY' },
    tsaConfig: { selector: 'ANY' },
  });
  const write = (name, document) => writeFileSync(path.join(folder, name), JSON.stringify(document, null, 2));
  write('trusted_root.json', root);
  write('signing_config.json', config(1));
  write('signing_config.v2.json', config(2));
  process.stdout.write(JSON.stringify({ url }) + '\n');
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
