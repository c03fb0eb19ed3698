// openid-client as LibreChat uses it, told what to do by lines of JSON: tests/web/openid_clients.py is at the other end.
import { createInterface } from "node:readline";
import * as client from "openid-client";

const { ISSUER, SERVED, CLIENT_ID, CLIENT_SECRET, CALLBACK } = process.env;

// The issuer has TLS by its name; what is tested is served by this machine without.
const options = { [client.customFetch]: (url, asked) => fetch(url.replace(ISSUER, SERVED), asked) };
const config = await client.discovery(new URL(ISSUER), CLIENT_ID, CLIENT_SECRET, undefined, options);
const real = Date.now;
let asked = {};

const does = {
  clock: async ({ ahead }) => {
    Date.now = () => real() + ahead * 1000;
  },
  secret: async ({ secret }) => {
    const other = await client.discovery(new URL(ISSUER), CLIENT_ID, secret, undefined, options);
    Object.assign(does, calls(other));
  },
};

function calls(of) {
  return {
    ask: async ({ more }) => {
      const verifier = client.randomPKCECodeVerifier();
      asked = { pkceCodeVerifier: verifier, expectedState: client.randomState(), expectedNonce: client.randomNonce() };
      const parameters = {
        redirect_uri: CALLBACK,
        scope: "openid profile email",
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
        state: asked.expectedState,
        nonce: asked.expectedNonce,
        ...more,
      };
      return client.buildAuthorizationUrl(of, parameters).href;
    },
    redeem: async ({ url, verifier }) => {
      const known = verifier ? { ...asked, pkceCodeVerifier: verifier } : asked;
      return told(await client.authorizationCodeGrant(of, new URL(url), known));
    },
    refresh: async ({ token }) => told(await client.refreshTokenGrant(of, token)),
    userinfo: async ({ token, subject }) => client.fetchUserInfo(of, token, subject),
    end: async ({ hint, after }) =>
      client.buildEndSessionUrl(of, { id_token_hint: hint, post_logout_redirect_uri: after }).href,
  };
}

const told = (tokens) => ({ ...tokens, claims: tokens.claims() });

Object.assign(does, calls(config));
for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...given } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ done: (await does[call](given)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ refused: error.error ?? error.code ?? error.name }));
  }
}
