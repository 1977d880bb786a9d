// node read.mjs SERVERS NAMESPACE PREFIX: prints all keys below a prefix at one revision, and then what changes behind it.
import { connect } from "@nats-io/transport-node";
import { follow, request } from "./rollcall.mjs";

const [servers, namespace, prefix] = process.argv.slice(2);
const nc = await connect({ servers: servers.split(",") });
const state = new Map();
let page, at;
do {
  page = await request(nc, namespace, "kv.list", { prefix, limit: 500, ...(page && { at, after: page.next }) });
  at = page.revision;
  for (const { key, value } of page.entries) state.set(key, value);
} while (page.next);
await nc.close();
console.log("read", at, JSON.stringify(Object.fromEntries(state)));

const subject = `kv.${prefix.replace(/\/$/, "").replaceAll("/", ".")}.>`; // of a prefix that ends in / and needs no percent-encoding
await follow(servers.split(","), namespace, subject, at, ({ type, data }, revision) => {
  if (type === "rollcall.kv.put") state.set(data.key, data.value);
  else if (type !== "rollcall.kv.release") state.delete(data.key);
  console.log("now", revision, JSON.stringify(Object.fromEntries(state)));
});
