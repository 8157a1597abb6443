// Calls every endpoint with the types that openapi-typescript generated: node client.js ADDRESS KEY
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
const [, , address, key] = process.argv;
const client = createClient<paths>({ baseUrl: address!, headers: { Authorization: `Bearer ${key}` } });

function require(condition: boolean, what: string): void {
  if (!condition) {
    throw new Error(`${what} did not come as the description says.`);
  }
}

require((await client.GET("/healthz")).data?.ok === true, "healthz");
require((await client.GET("/health/ready")).data?.checks["boxer"]?.status === "healthy", "ready");

const form = new FormData();
form.append("file", new Blob(["print(6 * 7)"]), "main.py");
form.append("path", "job/main.py");
const uploaded = await client.POST("/files", {
  body: { file: "", path: "job/main.py" },
  bodySerializer: () => form,
});
require(uploaded.data?.path === "job/main.py", "upload");
const file = await client.GET("/files", { params: { query: { path: "job/main.py" } }, parseAs: "text" });
require((file.data as unknown) === "print(6 * 7)", "download");

const request: components["schemas"]["RunRequest"] = {
  image: "python:3.12-slim",
  cmd: ["python3", "/job/main.py"],
  files: ["job/main.py"],
  persist: true,
  env: { GREETING: "hello" },
  limits: { memory_mb: 128, wall_clock_secs: 20 },
  outputs: "none",
};
const run = await client.POST("/run", { body: request });
const termination: "exited" | "signaled" | undefined = run.data?.termination === "exited" ? "exited" : undefined;
require(run.data?.exit_code === 0 && run.data.stdout === "42\n" && termination === "exited", "run");
require(run.data?.usage.cpu_ms === undefined || run.data.usage.cpu_ms > 0, "usage");

const stream = await client.POST("/run/stream", { body: { ...request, cmd: ["python3", "-c", "print(1)"] }, parseAs: "text" });
const events = (stream.data ?? "").split("\n\n").filter((event) => event.startsWith("event: "));
const last = JSON.parse(events.at(-1)?.split("\ndata: ")[1] ?? "{}") as components["schemas"]["RunEnd"];
require(events[0]?.startsWith("event: started") === true && last.status === 200, "stream");

require((await client.DELETE("/files", { params: { query: { path: "job/main.py" } } })).data?.path === "job/main.py", "delete");
const bad = await client.POST("/run", { body: { image: "python:3.12-slim", cmd: [] } });
require(bad.response.status === 400 && bad.error?.error === "cmd: is empty; list the program and its arguments.", "bad request");

const opened = await client.POST("/sessions", { body: { image: "python:3.12-slim", workspace: {}, labels: { who: "client" }, idle_timeout_secs: 60 } });
require(opened.response.status === 201 && opened.data?.ended === null && opened.data.labels["who"] === "client", "session");
const id = opened.data?.id ?? "";
const ofSession = { path: { id } };
require((await client.GET("/sessions", {})).data?.[0]?.id === id, "sessions");
const exec = await client.POST("/sessions/{id}/exec", { params: ofSession, body: { cmd: ["sh", "-c", "cat; echo made >file"], stdin: "in" } });
require(exec.data?.stdout === "in" && exec.data.left_behind === 0, "exec");
const streamed = await client.POST("/sessions/{id}/exec/stream", { params: ofSession, body: { cmd: ["echo", "streamed"] }, parseAs: "text" });
const text = JSON.parse((streamed.data ?? "").split("event: stdout\ndata: ")[1]?.split("\n")[0] ?? "{}") as components["schemas"]["RunText"];
const end = JSON.parse((streamed.data ?? "").split("event: end\ndata: ")[1] ?? "{}") as components["schemas"]["RunEnd"];
require(text.text === "streamed\n" && end.status === 200, "exec stream");

const started = await client.POST("/sessions/{id}/processes", { params: ofSession, body: { cmd: ["sh", "-c", "read line; echo $line; exit 3"] } });
require(started.response.status === 201 && started.data?.ended === null, "process");
const ofProcess = { path: { id, pid: started.data?.pid ?? 0 } };
const input = await client.POST("/sessions/{id}/processes/{pid}/stdin", {
  params: { ...ofProcess, query: { end: true } },
  body: "typed\n",
  bodySerializer: (body: unknown) => body as string,
  headers: { "Content-Type": "application/octet-stream" },
});
require(input.data?.pid === ofProcess.path.pid, "input");
const printed = await client.GET("/sessions/{id}/processes/{pid}/events", { params: { ...ofProcess, query: { offset: 0 } }, parseAs: "text" });
const output = JSON.parse((printed.data ?? "").split("event: stdout\ndata: ")[1]?.split("\n")[0] ?? "{}") as components["schemas"]["ProcessOutput"];
const ended = JSON.parse((printed.data ?? "").split("event: ended\ndata: ")[1] ?? "{}") as components["schemas"]["ProcessEnd"];
require(output.text === "typed\n" && ended.exit_code === 3 && ended.termination === "exited", "events");

const ofFile = { params: { path: { id }, query: { path: "a b", mode: "0600" } } };
const put = await client.PUT("/sessions/{id}/files", { ...ofFile, body: "text", bodySerializer: (body: unknown) => body as string, headers: { "Content-Type": "application/octet-stream" } });
require(put.data?.path === "a b", "put");
const got = await client.GET("/sessions/{id}/files", { params: { path: { id }, query: { path: "a b" } }, parseAs: "text" });
require((got.data as unknown) === "text", "get");
const list = await client.GET("/sessions/{id}/files/list", { params: ofSession });
require(list.data?.map((entry) => `${entry.path} ${entry.type} ${entry.mode}`).sort().join() === "a b file 0600,file file 0644", "list");

require((await client.POST("/sessions/{id}/files/mkdir", { params: ofSession, body: { path: "d/e" } })).data?.path === "d/e", "mkdir");
require((await client.POST("/sessions/{id}/files/move", { params: ofSession, body: { from: "a b", to: "d/e/f" } })).data?.path === "d/e/f", "move");
const ofPath = (path: string) => ({ params: { path: { id }, query: { path } } });
const stat = await client.GET("/sessions/{id}/files/stat", ofPath("d/e/f"));
require(stat.data?.type === "file" && stat.data.size === 4 && stat.data.mode === "0600", "stat");
const archive = await client.GET("/sessions/{id}/files/tar", { ...ofPath("d"), parseAs: "arrayBuffer" });
const unpacked = await client.PUT("/sessions/{id}/files/tar", {
  ...ofPath("copy"),
  body: "",
  bodySerializer: () => archive.data as unknown as ArrayBuffer,
  headers: { "Content-Type": "application/x-tar" },
});
require(unpacked.data?.path === "copy", "tar");
const copied = await client.GET("/sessions/{id}/files", { ...ofPath("copy/e/f"), parseAs: "text" });
require((copied.data as unknown) === "text", "get from the archive");
require((await client.DELETE("/sessions/{id}/files", ofPath("copy"))).data?.path === "copy", "remove");
const removed = await client.GET("/sessions/{id}/files/stat", ofPath("copy"));
require(removed.response.status === 404 && removed.error?.reason === "not_found", "not found");

require((await client.POST("/sessions/{id}/pause", { params: ofSession })).data?.state === "paused", "pause");
const refused = await client.POST("/sessions/{id}/exec", { params: ofSession, body: { cmd: ["true"] } });
require(refused.response.status === 409 && refused.error !== undefined, "paused");
require((await client.POST("/sessions/{id}/resume", { params: ofSession })).data?.state !== "paused", "resume");
require((await client.PATCH("/sessions/{id}", { params: ofSession, body: { lifetime_secs: 7200 } })).data?.lifetime_secs === 7200, "extend");
require((await client.DELETE("/sessions/{id}", { params: ofSession })).data?.ended === "closed", "close");
const gone = await client.GET("/sessions/{id}", { params: ofSession });
require(gone.response.status === 410 && gone.error?.ended === "closed", "gone");
console.log("all endpoints");
