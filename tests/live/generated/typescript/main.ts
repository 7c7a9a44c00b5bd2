// Calls Goldcrest with the types that openapi-typescript made.
import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const home = process.env.GOLDCREST_TEST_WORKDIR!;
const api = createClient<paths>({
    baseUrl: process.env.GOLDCREST_TEST_URL!,
    headers: { Authorization: `Bearer ${process.env.GOLDCREST_TEST_TOKEN}` },
});
const path = { system_name: "local" };

const { data: systems } = await api.GET("/status/systems");
assert.equal(systems?.systems[0]?.name, "local");

const job = { workingDirectory: home, name: "typescript", standardOutput: "typescript.out", script: "#!/bin/sh\necho from typescript\n" };
const { data: submitted } = await api.POST("/compute/{system_name}/jobs", { params: { path }, body: { job } });
const job_id = submitted?.jobId;
assert(job_id);

let state: string | undefined;
for (let tries = 0; tries < 100 && state !== "COMPLETED" && state !== "FAILED"; tries++) {
    await setTimeout(100);
    const { data } = await api.GET("/compute/{system_name}/jobs/{job_id}", { params: { path: { ...path, job_id } } });
    state = data?.jobs?.[0]?.status.state;
}
assert.equal(state, "COMPLETED");

const view = (name: string) => api.GET("/filesystem/{system_name}/ops/view", { params: { path, query: { path: `${home}/${name}` } } });
assert.equal((await view("typescript.out")).data?.output, "from typescript\n");
const missing = await view("none");
assert.match(missing.error?.message ?? "", /No such file/);
console.log("typescript: 5 calls answered");
