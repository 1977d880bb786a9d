// What the recipes share: requests, and a walk along the ledger that survives connections and servers.
import { connect } from "@nats-io/transport-node";
import { DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";

// request makes one, and throws what the server refuses.
export async function request(nc, namespace, operation, body) {
  const answer = await nc.request(`rollcall-api.${namespace}.${operation}`, JSON.stringify(body), { timeout: 5000 });
  const problem = answer.headers?.get("Nats-Service-Error");
  if (problem) {
    throw Object.assign(new Error(problem), { status: Number(answer.headers.get("Rollcall-Status")) });
  }
  return answer.json();
}

// follow hands every event of a subject behind revision seen to handle, once and in order, until that throws.
export async function follow(servers, namespace, subject, seen, handle) {
  const take = async (event, revision) => {
    try {
      await handle(event, revision);
    } catch (cause) {
      throw Object.assign(new Error("handle", { cause }), { final: true });
    }
    seen = revision;
  };
  for (;;) {
    let nc;
    try {
      nc = await connect({ servers, reconnect: false, pingInterval: 5000 });
      await connection(nc);
    } catch (err) {
      if (err.final) throw err.cause;
      console.error(`at revision ${seen}: ${err.message}; going on in a moment`);
    } finally {
      await nc?.close();
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }

  async function connection(nc) {
    const jsm = await jetstreamManager(nc);
    await fill(nc, jsm);
    const consumer = await jetstream(nc).consumers.get(`rollcall_${namespace}`, {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: seen + 1,
      filter_subjects: [`rollcall.${namespace}.${subject}`],
    });
    const messages = await consumer.consume();
    nc.closed().then(() => messages.stop());
    for await (const m of messages) {
      // What is between is of other subjects, unless this reader is so slow that it has left the stream.
      if (m.seq > seen + 1) await fill(nc, jsm);
      if (m.seq > seen) await take(m.json(), m.seq);
    }
    throw new Error("the connection ended");
  }

  // fill asks the ledger for what the stream does not hold any more.
  async function fill(nc, jsm) {
    const last = (await jsm.streams.info(`rollcall_${namespace}`)).state.first_seq - 1;
    while (seen < last) {
      const page = await request(nc, namespace, "events", { from: seen + 1, to: last, subject, limit: 1000 });
      for (const event of page.events) await take(event, Number(event.revision));
      seen = page.next ? page.next - 1 : last;
    }
  }
}
