// In a browser, or node --experimental-eventsource browser.mjs HTTP SUBJECT: EventSource resumes by itself, with the id of the last event.
const [http, subject] = globalThis.process?.argv.slice(2) ?? [location.origin, "kv.app.>"];
const source = new EventSource(`${http}/v1/default/events?subject=${encodeURIComponent(subject)}`);
source.onmessage = (m) => {
  const event = JSON.parse(m.data);
  console.log(m.lastEventId, event.type, event.subject);
};
source.addEventListener("bookmark", (m) => console.log("complete up to", JSON.parse(m.data).revision));
