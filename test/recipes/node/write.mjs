// node write.mjs SERVERS NAMESPACE KEY VALUE: changes a key only while nobody else has.
import { connect } from "@nats-io/transport-node";
import { request } from "./rollcall.mjs";

const [servers, namespace, key, value] = process.argv.slice(2);
const nc = await connect({ servers: servers.split(",") });
let before = 0; // a key that is not there is at revision 0, for a condition too
try {
  before = (await request(nc, namespace, "kv.get", { key })).revision;
} catch (err) {
  if (err.status !== 404) throw err;
}
try {
  const after = await request(nc, namespace, "kv.put", { key, value, if: [{ revision: before }] });
  console.log(`${key} went from revision ${before} to ${after.revision}`);
} catch (err) {
  if (err.status !== 412) throw err;
  console.log(`somebody else has changed ${key}: ${err.message}`);
}
await nc.close();
