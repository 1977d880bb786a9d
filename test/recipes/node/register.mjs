// node register.mjs SERVERS NAMESPACE SERVICE ID ADDRESS PORT: an instance that is there for as long as this program runs.
import { connect } from "@nats-io/transport-node";
import { request } from "./rollcall.mjs";

const [servers, namespace, service, id, address, port] = process.argv.slice(2);
const nc = await connect({ servers: servers.split(","), maxReconnectAttempts: -1 });
const session = await request(nc, namespace, "sessions.create", { ttl: "10s", on_end: "delete" });
await request(nc, namespace, "instances.put", { service, id, address, port: Number(port), session: session.id });
console.log("registered with session", session.id);

// Three times within the TTL, so that one may fail. A session that is gone stays so: begin again then.
const timer = setInterval(async () => {
  try {
    await request(nc, namespace, "sessions.keepalive", { id: session.id });
    console.log("kept alive");
  } catch (err) {
    if (err.status === 404) throw err;
    console.error(`not kept alive: ${err.message}`);
  }
}, 3000);

process.once("SIGTERM", async () => {
  clearInterval(timer);
  await request(nc, namespace, "sessions.end", { id: session.id }); // and with it the instance
  await nc.close();
});
