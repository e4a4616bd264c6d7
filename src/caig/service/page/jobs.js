/** A job's progress. */

import { get } from "./api.js";
import { announce, button, h } from "./dom.js";

const EVERY = 1000; // ms between two looks at a job
const PATIENCE = 3; // looks at a waiting job before the painter is asked after
const NOBODY = "Waiting: no painter runs. Start the service without --no-painter.";

export const isActive = (job) => job.status === "queued" || job.status === "running";

/** Show `job` in `place` until it ends, or until `signal` says that the view is gone; then `done`. */
export async function follow(job, place, signal, done) {
  const words = h("p", { class: "words", role: "status" });
  const meter = h("progress", { max: job.total, value: 0, "aria-label": "Painting" });
  const row = h("section", { class: "card job", "aria-label": "Job" }, words, meter);
  place.append(row);
  for (let looks = 0; isActive(job); looks += 1) {
    show(job, await stage(job, looks), words, meter);
    await wait(signal);
    if (signal.aborted) return;
    job = await get(`/v1/jobs/${job.id}`).catch(() => job);
  }
  if (job.status === "done") {
    await done();
    row.remove();
  } else failed(job, row);
}

function show(job, text, words, meter) {
  meter.value = job.done + (job.message === "judging" ? 0 : 0.03);
  if (words.textContent !== text) words.textContent = text; // said again only when it changes
}

async function stage(job, looks) {
  if (job.status === "queued") return looks < PATIENCE || (await painterRuns()) ? "Waiting for the painter" : NOBODY;
  if (job.message === "painting") return `Painting ${Math.min(job.done + 1, job.total)} of ${job.total}`;
  return { describing: "Writing descriptions", judging: "Judging the ads" }[job.message] ?? "Reading the photo";
}

const painterRuns = () =>
  get("/healthz").then(
    ({ painter }) => painter,
    () => true,
  );

function failed(job, row) {
  row.classList.add("bad");
  row.replaceChildren(
    h("p", { role: "alert" }, `Not done. ${job.message}`),
    button("Dismiss", () => row.remove(), { class: "quiet" }),
  );
  announce("The job failed.");
}

/** EVERY ms, less when the view is left. */
export function wait(signal, ms = EVERY) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
