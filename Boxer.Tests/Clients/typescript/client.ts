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
console.log("all endpoints");
