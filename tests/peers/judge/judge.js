// Another implementation of Sigstore's verification, sigstore-js's, as a judge of bundles: nothing of it is Go's or ours.
//
//   node judge.js TRUSTED_ROOT ARTIFACT SUBJECT ISSUER BUNDLE...
//
// Says `accepted`, or `refused: CODE: why`, on standard output, a line for each bundle; an exit code that is not 0 is a fault of
// this program, or something that it could not read. One log, one certificate log and one time are demanded, and every
// timestamp that is there must verify. A statement must be about the artifact: that is the caller's part in sigstore-js.
'use strict';
const { createHash } = require('crypto');
const { readFileSync } = require('fs');
const path = require('path');
const modules = process.env.HALLMARK_JUDGE_MODULES || path.join(__dirname, 'node_modules');
const from = (name) => require(path.join(modules, name));

const [root, artifact, subject, issuer, ...bundles] = process.argv.slice(2);
if (root === '--version') {
  console.log(JSON.parse(readFileSync(path.join(modules, '@sigstore/verify/package.json'))).version);
  process.exit(0);
}
const { bundleFromJSON } = from('@sigstore/bundle');
const { TrustedRoot } = from('@sigstore/protobuf-specs');
const { toSignedEntity, toTrustMaterial, Verifier } = from('@sigstore/verify');

const trust = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(readFileSync(root))));
const verifier = new Verifier(trust, { ctlogThreshold: 1, tlogThreshold: 1, tsaThreshold: 1 });
const content = readFileSync(artifact);
const digest = createHash('sha256').update(content).digest('hex');

function judge(text) {
  const bundle = bundleFromJSON(JSON.parse(text));
  const isEnvelope = bundle.content.$case === 'dsseEnvelope';
  const entity = toSignedEntity(bundle, isEnvelope ? undefined : content);
  verifier.verify(entity, { subjectAlternativeName: subject, extensions: { issuer } });
  if (!isEnvelope) return;
  const statement = JSON.parse(bundle.content.dsseEnvelope.payload.toString());
  if (!statement.subject.some((one) => one.digest.sha256 === digest)) {
    throw new Error('the statement is about something else');
  }
}

for (const text of bundles.map((bundle) => readFileSync(bundle))) {
  try {
    judge(text);
    console.log('accepted');
  } catch (error) {
    console.log(`refused: ${error.code || error.name}: ${error.message}`.split('\n')[0]);
  }
}
