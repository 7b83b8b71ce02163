// Verifies Sigstore bundles with @sigstore/verify. Standard input: one JSON object,
//   {"keys": {hint: {"spki": base64, "alg": "ecdsa-p256" | "ed25519"}}, "thresholds": {…}, "bundles": [text, …],
//    "trustedRoot": a trusted root as JSON, or absent,
//    "policy": {"subjectAlternativeName": …, "extensions": {"issuer": …}}, or absent}
// Standard output: one JSON array, {"ok": true} or {"ok": false, "code": …, "message": …} for each bundle.
"use strict";
const { readFileSync } = require("node:fs");
const { bundleFromJSON } = require("@sigstore/bundle");
const { PublicKeyDetails, TrustedRoot } = require("@sigstore/protobuf-specs");
const { toSignedEntity, toTrustMaterial, Verifier } = require("@sigstore/verify");

const DETAILS = {
  "ecdsa-p256": PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
  ed25519: PublicKeyDetails.PKIX_ED25519,
};
const EMPTY = { tlogs: [], certificateAuthorities: [], ctlogs: [], timestampAuthorities: [] };

const asked = JSON.parse(readFileSync(0, "utf-8"));
const keys = {};
for (const [hint, { spki, alg }] of Object.entries(asked.keys ?? {})) {
  keys[hint] = {
    rawBytes: Buffer.from(spki, "base64"),
    keyDetails: DETAILS[alg],
    validFor: { start: new Date(0), end: undefined },
  };
}
const root = asked.trustedRoot ? TrustedRoot.fromJSON(asked.trustedRoot) : EMPTY;
const verifier = new Verifier(toTrustMaterial(root, keys), asked.thresholds ?? {});

const outcomes = asked.bundles.map((text) => {
  try {
    verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(text))), asked.policy);
    return { ok: true };
  } catch (error) {
    return { ok: false, code: String(error.code ?? error.name), message: String(error.message) };
  }
});
process.stdout.write(JSON.stringify(outcomes));
