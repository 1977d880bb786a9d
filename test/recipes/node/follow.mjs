// node follow.mjs SERVERS NAMESPACE SUBJECT FILE: prints every event of a subject, over restarts of itself and of the servers.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { follow } from "./rollcall.mjs";

const [servers, namespace, subject, file] = process.argv.slice(2);
const seen = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0;
await follow(servers.split(","), namespace, subject, seen, (event, revision) => {
  console.log(revision, event.type, event.subject);
  writeFileSync(`${file}.new`, String(revision));
  renameSync(`${file}.new`, file);
});
