/** A job's progress. */

import { get } from "./api.js";
import { announce, button, h } from "./dom.js";

const EVERY = 1000; // ms between two looks at a job
const PATIENCE = 5; // looks at a waiting job before the painter is asked after

export const isActive = (job) => job.status === "queued" || job.status === "running";

/** Show `job` in `place` until it ends, or until `signal` says that the view is gone; then `done`. */
export async function follow(job, place, signal, done) {
  const words = h("p", { class: "words", role: "status" });
  const meter = h("progress", { max: job.total, value: 0, "aria-label": "Painting" });
  const row = h("section", { class: "card job", "aria-label": "Job" }, words, meter);
  place.append(row);
  for (let looks = 0; isActive(job); looks += 1) {
    show(job, words, meter, looks);
    await wait(signal);
    if (signal.aborted) return;
    job = await get(`/v1/jobs/${job.id}`).catch(() => job);
  }
  if (job.status === "done") {
    await done();
    row.remove();
  } else failed(job, row);
}

async function show(job, words, meter, looks) {
  meter.value = job.done + (job.message === "judging" ? 0 : 0.03);
  const text = stage(job);
  if (words.textContent !== text) words.textContent = text;
  if (job.status !== "queued" || looks !== PATIENCE) return;
  const { painter } = await get("/healthz").catch(() => ({ painter: true }));
  if (!painter) words.textContent = "Waiting: no painter runs. Start the service without --no-painter.";
}

function stage(job) {
  if (job.status === "queued") return "Waiting for the painter";
  if (job.message === "painting") return `Painting ${Math.min(job.done + 1, job.total)} of ${job.total}`;
  return { describing: "Writing descriptions", judging: "Judging the ads" }[job.message] ?? "Reading the photo";
}

function failed(job, row) {
  row.classList.add("bad");
  row.replaceChildren(h("p", { role: "alert" }, `Not done. ${job.message}`), button("Dismiss", () => row.remove(), { class: "quiet" }));
  announce("The job failed.");
}

/** EVERY ms, less when the view is left. */
export function wait(signal, ms = EVERY) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
